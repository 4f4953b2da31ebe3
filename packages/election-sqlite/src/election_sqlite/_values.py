"""Values as columns hold them: times and durations as microseconds, the rest as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeVar, overload

from election_core import Invalid, decode, encode

__all__ = ["compact", "dump", "micros", "moment", "parse", "span"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
T = TypeVar("T")


@overload
def micros(value: datetime | timedelta) -> int: ...
@overload
def micros(value: datetime | timedelta | None) -> int | None: ...
def micros(value: datetime | timedelta | None) -> int | None:
    """A time as microseconds since 1970, or a duration in microseconds."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        return value // _MICROSECOND
    return (value - _EPOCH) // _MICROSECOND


@overload
def moment(value: int) -> datetime: ...
@overload
def moment(value: int | None) -> datetime | None: ...
@lru_cache(maxsize=1024)
def moment(value: int | None) -> datetime | None:
    """The time that `micros` wrote."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


@lru_cache(maxsize=1024)
def span(value: int) -> timedelta:
    """The duration that `micros` wrote."""
    return timedelta(microseconds=value)


def compact(document: object) -> str:
    """A document as JSON without blanks."""
    return _COMPACT.encode(document)


def dump(value: object) -> str:
    """A value as compact JSON, in the form that [`encode`][election_core.encode] gives it.

    Raises:
        Invalid: A string holds NUL, which `parse` would not read back.
    """
    text = compact(encode(value))
    if "\\u0000" in text and "\0" in str(json.loads(text, object_hook=_flat)):
        raise Invalid("no NUL may be in a text that is kept")
    return text


def _flat(value: dict[str, object]) -> str:
    return "".join(f"{key}{inner}" for key, inner in value.items())


def parse(cls: type[T], text: str) -> T:
    """The value that `dump` wrote."""
    return decode(cls, json.loads(text))
