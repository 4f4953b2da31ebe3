"""Durations on the command line."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from election_cli._durations import read_duration, write_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("8h", 28800),
        ("7d", 604800),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("0.5", 0.5),
        ("0", 0),
        (" 8H ", 28800),
    ],
)
def test_people_write_durations_as_they_are_used_to(text: str, seconds: float) -> None:
    """A number alone is seconds; units may be combined and have fractions."""
    assert read_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "h8", "-5s", "8 h", "1w", "5m3", "nan", "1e3", "1h-2m", "٣s", "9" * 20 + "d"]
)
def test_anything_else_is_refused(text: str) -> None:
    """What is no duration is refused, with an example of one where that helps."""
    with pytest.raises(ValueError, match=r"duration|counted"):
        read_duration(text)


@given(st.timedeltas(timedelta(), timedelta(days=40000)))
def test_what_is_written_is_read_again(duration: timedelta) -> None:
    """A duration is written in the form that is read, to the millisecond."""
    read = read_duration(write_duration(duration))

    assert abs(read - duration) <= timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (5400, "1h30m"), (0.25, "0.25s"), (90061, "1d1h1m1s"), (-60, "-1m")],
)
def test_durations_are_written_shortly(seconds: float, text: str) -> None:
    """Units without a count are left out."""
    assert write_duration(timedelta(seconds=seconds)) == text
