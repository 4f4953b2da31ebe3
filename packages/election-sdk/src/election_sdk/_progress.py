"""Whether the work gets on: a runner whose handler is wedged should not lead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

__all__ = ["Progress"]


class Progress:
    """When the work last got on.

    Args:
        limit: Work that has not got on for longer is wedged; never, without one.
        clock: Seconds, on a clock that does not count suspend: nothing gets on in it.
    """

    def __init__(self, limit: timedelta | None, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._running = 0
        self._latest = clock()

    def began(self) -> None:
        """A handler started."""
        if self._running == 0:
            self._latest = self._clock()
        self._running += 1

    def ended(self) -> None:
        """A handler came to its end."""
        self._running -= 1
        self._latest = self._clock()

    def made(self) -> bool:
        """A handler says that it gets on; whether it counted as wedged until now."""
        wedged = self.left() == 0.0
        self._latest = self._clock()
        return wedged

    def left(self) -> float | None:
        """Seconds until the work counts as wedged, 0 if it does; ``None`` if it cannot be."""
        if self._limit is None or self._running == 0:
            return None
        return max(0.0, self._latest + self._limit.total_seconds() - self._clock())
