"""The JSON form of every type, in both directions, from their attrs fields alone.

One set of rules, so that the control API, the SDK and the storage adapters cannot disagree: names
are the fields', times are RFC 3339 in UTC, a [`timedelta`][datetime.timedelta] field `x` is
`x_seconds`, a number. Reading is strict: a wrong type, a missing field or an unknown one is refused
with the path of the field and what to write instead.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import attrs

from election_core._elect import Decision
from election_core._errors import Invalid
from election_core._names import UNFIT
from election_core._state import PolicySpec
from election_core._views import DecisionInfo

__all__ = ["MAX_INTEGER", "decode", "encode"]

MAX_INTEGER = 2**53 - 1
"""Integers stay exact in every JSON reader."""
_LONGEST = timedelta(days=36525)
_DAY = 86400.0
_DAYS = {"retention"}
T = TypeVar("T")
_JSON_SCALARS = frozenset({str, int, float, bool, type(None)})


def encode(value: object) -> object:
    """The JSON form of a value: attrs objects, enums, times, and containers of them."""
    kind: object = type(value)
    return value if kind in _JSON_SCALARS else _encoder(kind)(value)


_Encoder = Callable[[Any], object]


@cache
def _encoder(kind: type) -> _Encoder:
    """How values of a class are written."""
    if issubclass(kind, StrEnum):
        return lambda value: value.value
    if issubclass(kind, str | int | float):
        return lambda value: value
    if issubclass(kind, datetime):
        return _encode_time
    if issubclass(kind, PolicySpec):
        return lambda value: {"name": value.name, **_encode_mapping(value.options)}
    if issubclass(kind, Decision):
        return _encode_decision
    if issubclass(kind, Mapping):
        return _encode_mapping
    if issubclass(kind, tuple | list | frozenset):
        return lambda value: [encode(inner) for inner in value]
    if attrs.has(kind):
        return _object_encoder(kind)
    raise TypeError(f"{kind.__name__} has no JSON form")


def _encode_time(value: datetime) -> str:
    return f"{value.astimezone(UTC).isoformat()[:-6]}Z"


def _encode_mapping(value: Mapping[object, object]) -> dict[str, object]:
    return {str(key): encode(inner) for key, inner in value.items()}


def _encode_decision(value: Decision) -> object:
    return encode(
        DecisionInfo(
            outcome=value.outcome,
            leader_runner_id=value.leader_runner_id,
            successor_runner_id=value.successor_runner_id,
            reason=value.reason,
            look_again_at=value.look_again_at,
            ballot=value.ballot,
        )
    )


def _object_encoder(cls: type) -> _Encoder:
    names = _names(cls)

    def write(value: object) -> dict[str, object]:
        found: dict[str, object] = {}
        for name, wire in names:
            inner = getattr(value, name)
            if type(inner) in _JSON_SCALARS:
                found[wire] = inner
            elif isinstance(inner, timedelta):
                found[wire] = inner.total_seconds() / (_DAY if name in _DAYS else 1.0)
            else:
                found[wire] = encode(inner)
        return found

    return write


@cache
def _names(cls: type) -> tuple[tuple[str, str], ...]:
    """The fields of an attrs class with their names on the wire."""
    hints = get_type_hints(cls)
    return tuple(
        (field.name, _wire_name(field.name, hints[field.name]))
        for field in attrs.fields(cls)
        if not field.name.startswith("_")
    )


def _wire_name(name: str, hint: object) -> str:
    if hint is timedelta or timedelta in get_args(hint):
        return f"{name}_days" if name in _DAYS else f"{name}_seconds"
    return name


def decode(cls: type[T], value: object, *, lenient: bool = False, path: str = "") -> T:
    """Read a value from its JSON form.

    Args:
        cls: What it is to be; an attrs class, or any type that their fields have.
        value: JSON values.
        lenient: Ignore unknown fields, and keep unknown enum values as plain strings, so that older
            programs understand newer answers.
        path: The name of the value, for errors.

    Raises:
        Invalid: The value is not of that type; `facts["field"]` is the path of what is wrong.
    """
    hint: object = cls
    return cast("T", _decoder(hint)(value, lenient, path))


_Decoder = Callable[[object, bool, str], object]


def _wrong(path: str, wanted: str) -> Invalid:
    name = path or "the body"
    return Invalid(f"{name}: {wanted}", field=path)


@cache
def _decoder(hint: object) -> _Decoder:
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        inner = [arg for arg in get_args(hint) if arg is not type(None)]
        if len(inner) == 1:
            return _optional(_decoder(inner[0]))
        raise TypeError(f"{hint} has no JSON form")
    if origin is tuple:
        return _sequence(_decoder(get_args(hint)[0]))
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(_decoder(get_args(hint)[1]))
    if hint is PolicySpec:
        return _policy
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _enum(hint)
    if isinstance(hint, type) and attrs.has(hint):
        return _object(hint)
    if origin is not None and attrs.has(origin):
        return _object(origin, get_args(hint))
    raise TypeError(f"{hint} has no JSON form")


def _str(value: object, lenient: bool, path: str) -> object:
    if not isinstance(value, str):
        raise _wrong(path, "a string is wanted")
    if UNFIT.search(value):
        raise _wrong(path, "no NUL and no lone surrogate may be in it")
    return value


def _int(value: object, lenient: bool, path: str) -> object:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(path, "an integer is wanted")
    if abs(value) > MAX_INTEGER:
        raise _wrong(path, f"an integer of at most {MAX_INTEGER} is wanted")
    return value


def _float(value: object, lenient: bool, path: str) -> object:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong(path, "a number is wanted")
    if not abs(value) <= sys.float_info.max:
        raise _wrong(path, "a finite number is wanted")
    return float(value)


def _bool(value: object, lenient: bool, path: str) -> object:
    if not isinstance(value, bool):
        raise _wrong(path, "true or false is wanted")
    return value


def _timedelta(value: object, lenient: bool, path: str) -> object:
    scale = _DAY if path.endswith("_days") else 1.0
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong(path, "a number is wanted")
    limit = _LONGEST.total_seconds() / scale
    if not -limit <= value <= limit:
        raise _wrong(path, f"a number of at most {limit:.0f} is wanted")
    return timedelta(seconds=value * scale)


def _datetime(value: object, lenient: bool, path: str) -> object:
    if isinstance(value, str):
        try:
            read = datetime.fromisoformat(value)
            if read.tzinfo is not None:
                return read.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise _wrong(path, "an RFC 3339 time with its zone is wanted, as 2026-01-31T12:00:00Z")


def _anything(value: object, lenient: bool, path: str) -> object:
    return value


_PLAIN: dict[object, _Decoder] = {
    str: _str,
    int: _int,
    float: _float,
    bool: _bool,
    timedelta: _timedelta,
    datetime: _datetime,
    object: _anything,
}


def _optional(inner: _Decoder) -> _Decoder:
    def read(value: object, lenient: bool, path: str) -> object:
        return None if value is None else inner(value, lenient, path)

    return read


def _sequence(inner: _Decoder) -> _Decoder:
    def read(value: object, lenient: bool, path: str) -> object:
        if not isinstance(value, list | tuple):
            raise _wrong(path, "an array is wanted")
        return tuple(inner(item, lenient, f"{path}[{index}]") for index, item in enumerate(value))

    return read


def _mapping(inner: _Decoder) -> _Decoder:
    def read(value: object, lenient: bool, path: str) -> object:
        if not isinstance(value, Mapping):
            raise _wrong(path, "an object is wanted")
        return {
            _str(key, lenient, path): inner(item, lenient, _join(path, str(key)))
            for key, item in value.items()
        }

    return read


def _enum(cls: type[StrEnum]) -> _Decoder:
    known = {member.value: member for member in cls}
    choices = ", ".join(known)

    def read(value: object, lenient: bool, path: str) -> object:
        if isinstance(value, str):
            if value in known:
                return known[value]
            if lenient:
                return value
        raise _wrong(path, f"one of {choices} is wanted")

    return read


def _policy(value: object, lenient: bool, path: str) -> object:
    if not isinstance(value, Mapping):
        raise _wrong(path, "an object is wanted")
    options = dict(value)
    name = options.pop("name", "oldest-active")
    _str(name, lenient, _join(path, "name"))
    return PolicySpec(name=name, options=options)


def _object(cls: type, args: tuple[object, ...] = ()) -> _Decoder:
    hints = get_type_hints(cls)
    fields: dict[str, tuple[str, _Decoder, bool, bool]] = {}
    for field, (name, wire) in zip(
        (f for f in attrs.fields(cls) if not f.name.startswith("_")), _names(cls), strict=True
    ):
        fields[wire] = (
            name,
            _decoder(_filled(hints[name], args)),
            field.default is attrs.NOTHING,
            hints[name] is str and field.default is not attrs.NOTHING,
        )

    def read(value: object, lenient: bool, path: str) -> object:
        if not isinstance(value, Mapping):
            raise _wrong(path, "an object is wanted")
        if not lenient:
            for key in value:
                if key not in fields:
                    known = ", ".join(fields) or "none"
                    raise _wrong(_join(path, str(key)), f"unknown field; known: {known}")
        found = {}
        for wire, (name, inner, required, optional_text) in fields.items():
            # Many clients send null for a text they do not mean to give.
            if wire in value and not (optional_text and value[wire] is None):
                found[name] = inner(value[wire], lenient, _join(path, wire))
            elif required:
                raise _wrong(_join(path, wire), "it is required")
        return cls(**found)

    return read


def _filled(hint: object, args: tuple[object, ...]) -> object:
    """A generic's field type with its one parameter put in."""
    if args and get_origin(hint) is tuple and isinstance(get_args(hint)[0], TypeVar):
        return tuple[args[0], ...]  # type: ignore[valid-type]
    return hint


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
