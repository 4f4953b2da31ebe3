"""The SQLite store as a conformance suite is given it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

from typing_extensions import override

from election_sqlite import SqliteStore
from election_testkit import FullStore, Subject
from sqlite_clock import ManualClock

__all__ = ["ONE_PROCESS", "SqliteSubject"]

ONE_PROCESS = "one process at a time has the file open, and refuses a second store on it"


class SqliteSubject(Subject):
    """A store on a file, under a clock that stands until it is moved."""

    packages = ("election_sqlite", "aiosqlite")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clock = ManualClock()
        self._stack = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[Self]:
        """A subject on a new file, for the time of a block."""
        subject = cls(path)
        await subject.reopen()
        try:
            yield subject
        finally:
            await subject._stack.aclose()

    @override
    async def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)

    @override
    async def reopen(self) -> FullStore:
        await self._stack.aclose()
        self.store = await self._stack.enter_async_context(
            SqliteStore.open(self._path, clock=self._clock)
        )
        return self.store
