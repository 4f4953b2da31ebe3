"""From what a server answers, or does not, to the errors of the core."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from election_core import (
    CODES,
    ElectionError,
    InternalError,
    Invalid,
    OutcomeUnknown,
    Unavailable,
)

__all__ = ["again", "no_answer", "problem", "read_json", "retry_after", "unreadable"]

_MEMBERS = {"type", "title", "status", "detail", "code", "instance"}
_MOST_SECONDS = 60.0
_PASSING = {408, 425, 429}

_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


def problem(response: httpx2.Response, *, writes: bool) -> ElectionError:
    """The error that an answer outside of 2xx stands for.

    Args:
        response: The answer, read.
        writes: Whether the call may have changed something before it failed.
    """
    status = response.status_code
    document = _document(response)
    code = document.get("code")
    if not isinstance(code, str):
        return _foreign(response, writes=writes)
    facts = {
        name: value
        for name, value in document.items()
        if name not in _MEMBERS and isinstance(value, str | int | float | bool | None)
    }
    detail = document.get("detail")
    said = detail if isinstance(detail, str) else str(document.get("title") or code)
    after = retry_after(response)
    if after is not None:
        facts.setdefault("retry_after_seconds", after)
    kind = CODES.get(code)
    if kind is None:
        # A code of a later version: what its status says is all that is known of it.
        facts.setdefault("code", code)
        kind = InternalError if status >= 500 else ElectionError
    if kind is Unavailable and writes and document.get("title") == OutcomeUnknown.title:
        kind = OutcomeUnknown
    return kind(said, **facts)


def _document(response: httpx2.Response) -> Mapping[str, object]:
    if "json" not in response.headers.get("content-type", ""):
        return {}
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _foreign(response: httpx2.Response, *, writes: bool) -> ElectionError:
    """Something between here and the control API answered in its place."""
    status = response.status_code
    kind = OutcomeUnknown if writes and status >= 500 else Unavailable
    facts: dict[str, str | int | float | bool | None] = {"status": status}
    after = retry_after(response)
    if after is not None:
        facts["retry_after_seconds"] = after
    address = f"{response.url.scheme}://{response.url.netloc.decode().rpartition('@')[2]}"
    return kind(
        f"{address} answered {status} to {response.request.method} {response.url.path} without a "
        "problem document; is this the control API?",
        **facts,
    )


def no_answer(error: httpx2.HTTPError | TimeoutError, address: str, *, writes: bool) -> Unavailable:
    """The error for a call whose answer did not arrive."""
    said = str(error) or type(error).__name__
    if isinstance(error, _NEVER_SENT) or not writes:
        return Unavailable(f"{address} does not answer: {said}")
    return OutcomeUnknown(f"the answer of {address} was lost: {said}; the call may be repeated")


def unreadable(address: str, why: Exception, *, writes: bool) -> Unavailable:
    """The error for an answer of 2xx that is not what the contract says.

    Asking again helps nothing, as its status tells.
    """
    kind = OutcomeUnknown if writes else Unavailable
    where = f" ({why.detail})" if isinstance(why, Invalid) else ""
    return kind(
        f"{address} gave an answer that cannot be read{where}; is this the control API?", status=200
    )


def again(error: ElectionError) -> bool:
    """Whether the same call may have another outcome in a moment."""
    status = error.facts.get("status")
    if isinstance(status, int) and status < 500:
        return status in _PASSING
    return isinstance(error, Unavailable | InternalError)


def retry_after(response: httpx2.Response) -> float | None:
    """The seconds that the server asks to be left alone, at most a minute."""
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        seconds = (at - datetime.now(UTC)).total_seconds()
    if not seconds > 0:
        return 0.0
    return min(seconds, _MOST_SECONDS)


def read_json(response: httpx2.Response) -> object:
    """The body of an answer.

    Raises:
        ValueError: It is no JSON.
    """
    return json.loads(response.content)
