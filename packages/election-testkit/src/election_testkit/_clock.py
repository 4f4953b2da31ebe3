"""A clock that stands until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["START", "ManualClock"]

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""The time that a [`ManualClock`][election_testkit.ManualClock] starts from unless told."""


class ManualClock:
    """Store time, moved by hand.

    Call it for the time, so that it fits wherever a function is wanted that tells the time:
    `MemoryStore(clock=ManualClock())`.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = start

    def __call__(self) -> datetime:
        """The time."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass; back, if negative."""
        self._now += timedelta(seconds=seconds)

    def set(self, now: datetime) -> None:
        """Set the time."""
        self._now = now
