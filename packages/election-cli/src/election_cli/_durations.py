"""Durations as people write them: ``90``, ``90s``, ``15m``, ``8h``, ``7d``, ``1h30m``."""

from __future__ import annotations

import re
from datetime import timedelta

import click
from typing_extensions import override

__all__ = ["DURATION", "DurationType", "read_duration", "write_duration"]

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+|\d+(?:\.\d+)?", re.ASCII)


def read_duration(text: str) -> timedelta:
    """A duration; a number alone is seconds.

    Raises:
        ValueError: It is none.
    """
    text = text.strip().lower()
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write it as 90, 90s, 15m, 8h, 7d or 1h30m")
    parts = _PART.findall(text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else float(text)
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"{text!r} is longer than can be counted") from None


def write_duration(duration: timedelta) -> str:
    """A duration in the form that is read, to the millisecond: ``1h30m``."""
    rest = round(duration.total_seconds(), 3)
    written = ""
    if rest < 0:
        written, rest = "-", -rest
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        if unit == "s":
            count, rest = round(count + rest, 3), 0
        if count:
            written += f"{count:g}{unit}"
    return written if written.strip("-") else "0s"


class DurationType(click.ParamType[timedelta]):
    """A duration on the command line."""

    name = "duration"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """The value as a duration, or a usage error."""
        if isinstance(value, timedelta):
            return value
        try:
            return read_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = DurationType()
