"""A way to wait for the next change of something, and for a condition to hold."""

from __future__ import annotations

from collections.abc import Callable

import anyio

__all__ = ["News"]


class News:
    """Wakes everybody who waits, each time there is news."""

    def __init__(self) -> None:
        self._next = anyio.Event()
        self._listeners: list[Callable[[], None]] = []

    def tell(self) -> None:
        """There is news: listeners are called, then those who wait are woken."""
        told, self._next = self._next, anyio.Event()
        for listener in tuple(self._listeners):
            listener()
        told.set()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` at once with each news, before anybody else can run."""
        self._listeners.append(listener)

    def ignore(self, listener: Callable[[], None]) -> None:
        """Call it no more."""
        self._listeners.remove(listener)

    async def wait(self, limit: float | None = None) -> None:
        """Wait for news, at most `limit` seconds."""
        with anyio.move_on_after(limit):
            await self._next.wait()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds that can change with news only."""
        while not holds():
            await self._next.wait()
