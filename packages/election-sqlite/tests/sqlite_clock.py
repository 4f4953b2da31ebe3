"""A clock that stands until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from typing_extensions import override

from election_sqlite import Clock

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""The time that a [`ManualClock`][sqlite_clock.ManualClock] starts from."""


class ManualClock(Clock):
    """Wall clock and elapsed time of one machine, moved by hand."""

    def __init__(self) -> None:
        self._wall = NOW
        self._elapsed = timedelta(hours=1)
        self._boot: str | None = "first boot"

    @override
    def wall(self) -> datetime:
        return self._wall

    @override
    def elapsed(self) -> timedelta:
        return self._elapsed

    @override
    def origin(self) -> str | None:
        return self._boot

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._wall += timedelta(seconds=seconds)
        self._elapsed += timedelta(seconds=seconds)

    def step(self, seconds: float) -> None:
        """Set the wall clock ahead or back, as a person or a time server does."""
        self._wall += timedelta(seconds=seconds)

    def reboot(self, name: str | None) -> None:
        """Start the machine again, or move to another: elapsed time counts anew."""
        self._boot = name
        self._elapsed = timedelta(seconds=1)
