"""Calls over HTTP: one attempt with a deadline, or several with a wait between them."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit

import anyio
import httpx2
from attrs import frozen
from typing_extensions import override

from election_core import ElectionError, Invalid, NotFound, OutcomeUnknown, Unavailable, decode
from election_sdk._backoff import Backoff
from election_sdk._problems import again, no_answer, problem, read_json, unreadable

__all__ = ["Call", "Http", "path"]

T = TypeVar("T")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_GRACE = timedelta(seconds=2)
"""How long closing connections may take."""


def path(*parts: str) -> str:
    """The path of a resource, with identifiers quoted.

    Raises:
        Invalid: A part is empty, or means another resource.
    """
    for part in parts:
        if part in ("", ".", ".."):
            raise Invalid(f"{part!r} is no identifier")
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


@frozen(kw_only=True)
class Call:
    """One call of the control API."""

    method: str
    path: str
    body: Mapping[str, object] | None = None
    params: Mapping[str, str | int] = {}
    headers: Mapping[str, str] = {}
    hold: timedelta = timedelta()
    """How long the server was asked to hold the answer; the deadline is that much later."""

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.method != "GET"


class Http:
    """Connections to one control API.

    Args:
        url: Where it listens, with the path before ``/v1`` if there is one.
        token: The bearer token.
        timeout: How long one attempt may take, the time that an answer is held apart.
        connections: How many connections at most.
    """

    def __init__(
        self, url: str, *, token: str | None, timeout: timedelta, connections: int = 100
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not a URL of a control API: {_address(url)!r}")
        if "@" in parts.netloc:
            # The HTTP library would log it, and send it in place of the token.
            raise ValueError(f"the URL of {_address(url)!r} names a user; give a token instead")
        if token is not None and not _TOKEN.fullmatch(token):
            # Checked here, because the HTTP library would show it in the error it raises.
            raise ValueError("the token is empty or has characters that no token has")
        self.address = _address(url)
        self.timeout = timeout
        self._url = url.rstrip("/")
        self._token = token
        self._connections = connections
        self._ssl: ssl.SSLContext | bool = (
            httpx2.create_ssl_context() if parts.scheme == "https" else False
        )
        self._client: httpx2.AsyncClient | None = None

    @override
    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"

    def with_token(self, token: str | None) -> None:
        """Use another token from the next call on."""
        if token is not None and not _TOKEN.fullmatch(token):
            raise ValueError("the token is empty or has characters that no token has")
        self._token = token

    async def __aenter__(self) -> Self:
        self._client = self._make()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        client, self._client = self._client, None
        if client is not None:
            await _close(client)

    async def renew_connections(self) -> None:
        """Leave every connection behind: what hung once is not asked again."""
        client = self._client
        if client is not None:
            self._client = self._make()
            await _close(client)

    def _make(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            verify=self._ssl,
            timeout=None,
            limits=httpx2.Limits(
                max_connections=self._connections,
                max_keepalive_connections=self._connections,
                keepalive_expiry=60.0,
            ),
        )

    def _request(self, call: Call, timeout: httpx2.Timeout | None = None) -> httpx2.Request:
        client = self._client
        if client is None:
            raise RuntimeError("not open: use `async with`")
        headers = {"Accept": "application/json, application/problem+json", **call.headers}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            return client.build_request(
                call.method,
                self._url + call.path,
                json=call.body,
                params=dict(call.params) or None,
                headers=headers,
                timeout=timeout,
            )
        except (TypeError, ValueError, RecursionError) as error:
            raise Invalid(f"not a JSON value ({error})") from error

    async def once(self, call: Call, *, limit: timedelta | None = None) -> httpx2.Response:
        """One attempt.

        Args:
            call: What to call.
            limit: How long it may take at most; otherwise the usual timeout and what is held.

        Raises:
            ElectionError: What the server answered.
            Unavailable, OutcomeUnknown: It did not answer.
        """
        request = self._request(call)
        client = self._client
        assert client is not None  # noqa: S101 - the request was built with it
        allowed = limit if limit is not None else self.timeout + call.hold
        try:
            with anyio.fail_after(allowed.total_seconds()):
                response = await client.send(request)
        except TimeoutError as error:
            late = TimeoutError(f"no answer within {allowed.total_seconds():.3g} s")
            raise no_answer(late, self.address, writes=call.writes) from error
        except httpx2.HTTPError as error:
            raise no_answer(error, self.address, writes=call.writes) from error
        if not response.is_success:
            raise problem(response, writes=call.writes)
        return response

    async def send(
        self, call: Call, *, retries: int = 0, gone_is_fine: bool = False
    ) -> httpx2.Response | None:
        """A call, repeated when its answer did not come or says that it may come yet.

        Args:
            call: What to call; safe to repeat, as every call of the contract.
            retries: How many times more than once.
            gone_is_fine: Answer ``None`` instead of `NotFound` when an earlier attempt, whose
                answer was lost, may have deleted it.

        Raises:
            ElectionError: What the server answered.
        """
        backoff = Backoff(timedelta(seconds=0.1), timedelta(seconds=5))
        unknown = False
        while True:
            try:
                return await self.once(call)
            except NotFound:
                if gone_is_fine and unknown:
                    return None
                raise
            except ElectionError as error:
                unknown = unknown or isinstance(error, OutcomeUnknown)
                if not again(error):
                    raise
                if backoff.failures >= retries:
                    if unknown and type(error) is Unavailable:
                        raise OutcomeUnknown(error.detail, **error.facts) from error
                    raise
                asked = error.facts.get("retry_after_seconds")
                least = timedelta(seconds=asked if isinstance(asked, int | float) else 0)
                await anyio.sleep(backoff.next(at_least=least).total_seconds())

    def read(self, cls: type[T], response: httpx2.Response, call: Call, field: str = "") -> T:
        """The body of an answer as a type of the core.

        Raises:
            Unavailable, OutcomeUnknown: It is something else.
        """
        try:
            value = read_json(response)
            if field:
                value = value[field] if isinstance(value, dict) else None
            return decode(cls, value, lenient=True)
        except (ValueError, KeyError, Invalid) as error:
            raise unreadable(self.address, error, writes=call.writes) from error

    @asynccontextmanager
    async def stream(self, call: Call, *, silence: timedelta) -> AsyncIterator[httpx2.Response]:
        """An answer that is read while it arrives.

        Args:
            call: What to call.
            silence: After that long without a byte the connection counts as lost.

        Raises:
            ElectionError: What the server answered.
            Unavailable: It did not answer, or stopped.
        """
        seconds = self.timeout.total_seconds()
        timeout = httpx2.Timeout(seconds, read=silence.total_seconds())
        request = self._request(call, timeout)
        client = self._client
        assert client is not None  # noqa: S101 - the request was built with it
        try:
            response = await client.send(request, stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    raise problem(response, writes=False)
                yield response
            finally:
                with anyio.move_on_after(_GRACE.total_seconds(), shield=True):
                    await response.aclose()
        except httpx2.HTTPError as error:
            raise no_answer(error, self.address, writes=False) from error


async def _close(client: httpx2.AsyncClient) -> None:
    with anyio.move_on_after(_GRACE.total_seconds(), shield=True):
        await client.aclose()


def _address(url: str) -> str:
    """A URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
