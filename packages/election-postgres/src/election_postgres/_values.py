"""Values in the JSON of commits and of columns of type json, and times as the driver has them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from election_core import decode, encode

__all__ = ["compact", "dump", "micros", "moment", "parse", "received", "sent", "span", "text"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WIRE_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
T = TypeVar("T")


def micros(value: datetime) -> int:
    """A time as microseconds since 1970."""
    return (value - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """The time that `micros` wrote."""
    return _EPOCH + timedelta(microseconds=value)


def sent(value: datetime) -> tuple[int]:
    """A time as the driver sends it."""
    return ((value - _WIRE_EPOCH) // _MICROSECOND,)


@lru_cache(maxsize=4096)
def received(value: tuple[int]) -> datetime:
    """The time that the driver received. Rows that are read together share most of theirs."""
    return _WIRE_EPOCH + timedelta(microseconds=value[0])


def span(value: timedelta) -> str:
    """A duration as Postgres reads it: in one unit, for a day of its own is no fixed time."""
    return f"{value // _MICROSECOND} microseconds"


def text(value: datetime | None) -> str | None:
    """A time as Postgres reads it in JSON."""
    return None if value is None else value.isoformat()


def compact(document: object) -> str:
    """A document as JSON without blanks."""
    return _COMPACT.encode(document)


def dump(value: object) -> str:
    """A value as compact JSON, in the form that [`encode`][election_core.encode] gives it."""
    return compact(encode(value))


def parse(cls: type[T], value: str) -> T:
    """The value that `dump` wrote."""
    return decode(cls, json.loads(value))
