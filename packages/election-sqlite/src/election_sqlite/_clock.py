"""The store's time: it never goes back, neither with the wall clock nor across restarts."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Protocol

from attrs import frozen
from typing_extensions import override

from election_sqlite._values import micros, moment

__all__ = ["Clock", "Persisted", "StoreTime", "SystemClock"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """What a store reads the time from; tests bring one that they can move."""

    def wall(self) -> datetime:
        """The time of day, aware. It may step either way; it is read when a store opens."""
        ...

    def elapsed(self) -> timedelta:
        """The time since a fixed point in the past. It never steps, and runs on in suspend."""
        ...

    def origin(self) -> str | None:
        """A name of that fixed point, or `None` if it lasts no longer than the process.

        Elapsed times of one origin can be compared, also by different processes.
        """
        ...


class SystemClock(Clock):
    """The clocks of this machine.

    Elapsed time is that of `CLOCK_BOOTTIME`, which counts suspend, since the boot that the kernel
    names; where there is none, of the monotonic clock, for this process alone.
    """

    def __init__(self) -> None:
        self._boottime: int | None = getattr(time, "CLOCK_BOOTTIME", None)
        try:
            boot = _BOOT_ID.read_text().strip()
        except OSError:
            boot = ""
        self._origin = boot if boot and self._boottime is not None else None

    @override
    def wall(self) -> datetime:
        return datetime.now(UTC)

    @override
    def elapsed(self) -> timedelta:
        if self._boottime is not None:
            return timedelta(microseconds=time.clock_gettime_ns(self._boottime) // 1000)
        return timedelta(microseconds=time.monotonic_ns() // 1000)

    @override
    def origin(self) -> str | None:
        return self._origin


@frozen(kw_only=True)
class Persisted:
    """What of the time a database keeps with every write, in microseconds."""

    high_water: int
    """The store's time of then."""
    wall_offset: int
    """How far the store's time was ahead of the wall clock when it was opened."""
    origin: str | None
    elapsed: int
    """The elapsed time since `origin` of then."""


class StoreTime:
    """A store's time: the wall clock when it opened, plus an offset, plus the time elapsed since.

    Args:
        clock: Where the time comes from.
        kept: What the database kept, or `None` for a new one.
        at_least: A time that is known to have been told before, if there is one.
    """

    def __init__(self, clock: Clock, kept: Persisted | None, *, at_least: int = 0) -> None:
        self._clock = clock
        self._lock = Lock()
        self._origin = clock.origin()
        self._began = clock.elapsed() // timedelta(microseconds=1)
        wall = micros(clock.wall())
        floor = at_least
        offset = 0
        if kept is not None:
            floor = max(floor, kept.high_water)
            if kept.origin is not None and kept.origin == self._origin:
                # The machine ran on meanwhile, so what readers were told since the last write is
                # not taken back either.
                floor = max(floor, kept.high_water + self._began - kept.elapsed)
            offset = kept.wall_offset
        if wall >= floor:
            offset = 0  # the clock has caught up
        elif wall + offset < floor:
            offset = floor - wall
        self._offset = offset
        self._base = wall + offset
        self._last = self._base

    def now(self) -> datetime:
        """The store's time; the same or a later one than any told before, on any thread."""
        with self._lock:
            passed = self._clock.elapsed() // timedelta(microseconds=1) - self._began
            self._last = max(self._last, self._base + passed)
            return moment(self._last)

    def persisted(self, at: datetime) -> Persisted:
        """What to keep with a write at `at`."""
        high_water = micros(at)
        return Persisted(
            high_water=high_water,
            wall_offset=self._offset,
            origin=self._origin,
            elapsed=self._began + high_water - self._base,
        )
