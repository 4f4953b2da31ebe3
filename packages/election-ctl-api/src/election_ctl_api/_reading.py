"""Reading what came with a request: one reader for every body, and the parameters.

The limits stand here, before anything is interpreted: how large a body may be, how deep it may
nest, and that it is JSON in the strict sense (UTF-8, no ``NaN``, no name twice).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from election_core import Invalid, PayloadTooLarge

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Receive

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_BODY_NESTING",
    "MAX_LIMIT",
    "header",
    "preferred_wait",
    "query_of",
    "read_body",
    "read_document",
    "whole_number",
]

MAX_BODY_BYTES = 1024 * 1024
"""The most that a body may take."""
MAX_BODY_NESTING = 64
"""How deep a body may nest, what is ignored in it included."""
MAX_LIMIT = 500
"""The longest page."""

_MOST_DISCARDED = 16 * MAX_BODY_BYTES
_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
_WAIT = re.compile(r'\s*wait\s*=\s*"?([0-9]+(?:\.[0-9]+)?)"?\s*(?:;.*)?', re.IGNORECASE)
_LONGEST_WAIT = 3600.0
"""Seconds; no heartbeat is longer."""


def header(scope: HTTPScope, name: bytes) -> str | None:
    """The first header of that name, which is in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


async def read_body(scope: HTTPScope, receive: Receive) -> bytes:
    """The whole body.

    Of one that is too large the rest is read and thrown away, within reason, so that its sender
    gets to see the answer instead of a broken connection.

    Raises:
        PayloadTooLarge: It is over 1 MiB.
        Invalid: The connection ended before it did.
    """
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdecimal() and int(announced) > _MOST_DISCARDED:
        raise _too_large()
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Invalid("the connection ended before the body did")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            chunks.append(chunk)
        elif size > _MOST_DISCARDED:
            raise _too_large()
        if not message.get("more_body", False):
            break
    if size > MAX_BODY_BYTES:
        raise _too_large()
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the body is too large; at most {MAX_BODY_BYTES} bytes are taken", limit=MAX_BODY_BYTES
    )


def read_document(body: bytes) -> object:
    """The JSON value of a body; an empty one is an empty object.

    Raises:
        Invalid: It is not JSON in the strict sense, or nests too deep.
    """
    if not body or body.isspace():
        return {}
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"the body is not UTF-8 (at byte {error.start})") from None
    try:
        document: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Invalid(
            f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise Invalid("the body holds a number with too many digits") from None
    # As many brackets as levels at the least, so most bodies need no second look.
    if text.count("{") + text.count("[") > MAX_BODY_NESTING:
        _check_nesting(document)
    return document


def _too_deep() -> Invalid:
    return Invalid(f"the body nests more than {MAX_BODY_NESTING} deep")


def _check_nesting(document: object) -> None:
    level: list[object] = [document]
    for _ in range(MAX_BODY_NESTING):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    if any(isinstance(inner, dict | list) for inner in level):
        raise _too_deep()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"the body names {_short(twice)} twice in one object")
    return found


def _short(name: str) -> str:
    return repr(name if len(name) <= 64 else f"{name[:64]}…")


def _constant(name: str) -> object:
    raise Invalid(f"the body holds {name}, which is not JSON")


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise Invalid("the body holds a number that is out of range")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


def query_of(scope: HTTPScope) -> Mapping[str, str]:
    """The query's parameters; the last of a name counts, one without a value is empty.

    Raises:
        Invalid: There are too many.
    """
    raw = scope["query_string"]
    if not raw:
        return {}
    try:
        return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise Invalid("the query has too many parameters") from None


def whole_number(text: str, *, field: str, least: int, most: int) -> int:
    """A parameter that is a whole number within bounds.

    Raises:
        Invalid: It is not.
    """
    if text.isascii() and text.isdecimal() and len(text) <= 20 and least <= int(text) <= most:
        return int(text)
    raise Invalid(f"{field}: a whole number from {least} to {most} is wanted", field=field)


def preferred_wait(values: Iterable[str]) -> timedelta:
    """What the ``Prefer`` headers (RFC 7240) ask by ``wait``: the first counts, none is zero."""
    for value in values:
        for preference in _PREFERENCE.findall(value):
            found = _WAIT.fullmatch(preference)
            if found is not None:
                return timedelta(seconds=min(float(found[1]), _LONGEST_WAIT))
    return timedelta()
