"""What every group of calls is made with: send a body, read a type."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar, overload

from typing_extensions import override

from election_core import Page
from election_sdk._http import Call, Http

__all__ = ["Calls", "given", "seconds", "wait_header"]

T = TypeVar("T")


def given(**fields: object) -> dict[str, object]:
    """A body with the fields that are not ``None``."""
    return {name: value for name, value in fields.items() if value is not None}


def seconds(duration: timedelta | None) -> float | None:
    """A duration as it is told on the wire."""
    return None if duration is None else duration.total_seconds()


def wait_header(hold: timedelta | None) -> dict[str, str]:
    """The header that lets the server hold its answer (RFC 7240)."""
    return {} if not hold else {"Prefer": f"wait={hold.total_seconds():.3f}"}


class Calls:
    """Connections to a control API, and how calls are made over them.

    Args:
        url: Where the control API listens.
        token: The bearer token; it appears in no text that this library makes.
        timeout: How long one attempt of a call may take.
        retries: How often a call is repeated when its answer does not come.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: timedelta = timedelta(seconds=10),
        retries: int = 3,
    ) -> None:
        self._http = Http(url, token=token, timeout=timeout)
        self._retries = retries
        self._streams: list[AsyncGenerator[object, None]] = []

    @override
    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._http.address!r})"

    @property
    def address(self) -> str:
        """Where the control API is, without what may be secret in its URL."""
        return self._http.address

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        streams, self._streams = self._streams, []
        for stream in streams:
            with contextlib.suppress(RuntimeError):  # somebody still reads it
                await stream.aclose()
        await self._http.__aexit__(exc_type, exc, tb)

    def _opened(self, stream: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Keep a stream, to close it with the client if its reader does not."""
        self._streams = [kept for kept in self._streams if getattr(kept, "ag_frame", None)]
        self._streams.append(stream)
        return stream

    def use_token(self, token: str | None) -> None:
        """Send another token from the next call on."""
        self._http.with_token(token)

    async def reconnect(self) -> None:
        """Leave every connection behind: what hung once is not asked again."""
        await self._http.renew_connections()

    @overload
    async def _ask(self, call: Call) -> None: ...
    @overload
    async def _ask(self, call: Call, cls: type[T], *, field: str = "") -> T: ...
    async def _ask(self, call: Call, cls: type[T] | None = None, *, field: str = "") -> T | None:
        response = await self._http.send(
            call, retries=self._retries, gone_is_fine=call.method == "DELETE"
        )
        if cls is None or response is None:
            return None
        return self._http.read(cls, response, call, field)

    async def _page(
        self,
        path: str,
        cls: type[Page[T]],
        *,
        limit: int,
        headers: Mapping[str, str] | None = None,
        **params: str | int | None,
    ) -> Page[T]:
        found = {name: value for name, value in params.items() if value is not None}
        call = Call(method="GET", path=path, params={"limit": limit, **found})
        return await self._ask(call, cls)
