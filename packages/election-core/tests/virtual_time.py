"""Event loops in which no time passes by itself: when everybody waits, the clock jumps ahead."""

from __future__ import annotations

import asyncio
import selectors
from datetime import datetime, timedelta

import anyio
from typing_extensions import override

from election_cases import NOW


class JumpingLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with a clock that jumps to the next timer, as trio's `MockClock` does."""

    def __init__(self) -> None:
        self._ahead = 0.0
        super().__init__(_JumpingSelector(self))

    @override
    def time(self) -> float:
        """Seconds that have been jumped."""
        return self._ahead

    def jump(self, seconds: float) -> None:
        """Move the clock ahead."""
        self._ahead += seconds


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout:
            self._loop.jump(timeout)
        return ready


def store_clock() -> datetime:
    """The virtual time as a store tells it."""
    return NOW + timedelta(seconds=anyio.current_time())
