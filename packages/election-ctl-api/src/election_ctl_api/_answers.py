"""Writing answers: one encoder for every value, and problem details (RFC 9457) for every error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from litestar import Response

from election_core import ElectionError, encode

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

__all__ = [
    "API_VERSION",
    "PROBLEM_MEDIA_TYPE",
    "PROBLEM_TYPE",
    "Header",
    "Reply",
    "json_reply",
    "problem",
    "problem_reply",
]

API_VERSION = "1.0"
"""The version of the HTTP contract, as every answer names it."""
PROBLEM_MEDIA_TYPE = "application/problem+json"
PROBLEM_TYPE = "urn:election:problem:"
"""A problem's ``type`` is this and its code."""

Header = tuple[bytes, bytes]

_JSON: Header = (b"content-type", b"application/json")
_PROBLEM: Header = (b"content-type", PROBLEM_MEDIA_TYPE.encode())
_PRIVATE: Header = (b"cache-control", b"no-store")
_LONGEST_TEXT = 1000


class Reply:
    """An answer that is complete, as an ASGI application that sends it."""

    __slots__ = ("_body", "_headers", "status")

    def __init__(self, body: bytes, *, status: int, headers: Sequence[Header]) -> None:
        self.status = status
        self._body = body
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        headers = list(self._headers)
        if self.status != 204:
            headers.append((b"content-length", str(len(self._body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})

    def response(self) -> Response[bytes]:
        """The same for where Litestar wants one of its own kind."""
        headers = {name.decode(): value.decode() for name, value in self._headers}
        kind = headers.pop("content-type")
        return Response(self._body, status_code=self.status, headers=headers, media_type=kind)


def json_reply(value: object, *, status: int = 200, headers: Sequence[Header] = ()) -> Reply:
    """The answer that holds a value; ``204`` holds none."""
    if status == 204:
        return Reply(b"", status=status, headers=(_PRIVATE, *headers))
    body = msgspec.json.encode(encode(value))
    return Reply(body, status=status, headers=(_JSON, _PRIVATE, *headers))


def problem(error: ElectionError) -> dict[str, object]:
    """An error as problem details: what a program needs beside what a person reads."""
    return {
        **{name: _clipped(fact) for name, fact in error.facts.items() if fact != ""},
        "type": PROBLEM_TYPE + error.code,
        "title": error.title,
        "status": error.status,
        "detail": _clipped(error.detail),
        "code": error.code,
    }


def _clipped(value: object) -> object:
    """The value, without most of a text that somebody made very long."""
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"{value[:_LONGEST_TEXT]}…"
    return value


def problem_reply(error: ElectionError, *, headers: Sequence[Header] = ()) -> Reply:
    """The answer that tells an error."""
    found = [_PROBLEM, _PRIVATE, *headers]
    if error.status == 503:
        found.append((b"retry-after", b"1"))
    # Escaped, as a detail may quote what is not UTF-8.
    body = json.dumps(problem(error), separators=(",", ":")).encode("ascii")
    return Reply(body, status=error.status, headers=found)
