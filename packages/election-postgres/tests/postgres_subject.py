"""The Postgres store as a conformance suite is given it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Self

import asyncpg
from typing_extensions import override

from election_postgres import PostgresStore
from election_testkit import START, FullStore, Subject

__all__ = ["PostgresSubject", "StoppedClock"]

_STOP = """
CREATE TABLE IF NOT EXISTS test_clock (at timestamptz NOT NULL);
TRUNCATE test_clock;
CREATE OR REPLACE FUNCTION election.clock() RETURNS timestamptz LANGUAGE sql VOLATILE
AS 'SELECT at FROM public.test_clock';
"""


class StoppedClock:
    """The clock of a database, which stands until it is moved."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def of(cls, dsn: str, at: datetime = START) -> AsyncIterator[Self]:
        """Stop the clock of a database at a time, for good."""
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(_STOP)
            await connection.execute("INSERT INTO test_clock VALUES ($1)", at)
            yield cls(connection)
        finally:
            await connection.close()

    async def set(self, at: datetime) -> None:
        """Move it to a time."""
        await self._connection.execute("UPDATE test_clock SET at = $1", at)

    async def advance(self, seconds: float) -> None:
        """Move it on; back, if negative."""
        await self._connection.execute(
            "UPDATE test_clock SET at = at + $1::interval", timedelta(seconds=seconds)
        )


class PostgresSubject(Subject):
    """Stores over one database, whose clock stands until it is moved."""

    packages = ("election_postgres", "asyncpg")

    def __init__(self, dsn: str, clock: StoppedClock, stack: AsyncExitStack) -> None:
        self._dsn = dsn
        self._clock = clock
        self._stack = stack
        self._open = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str) -> AsyncIterator[Self]:
        """A subject on a migrated database, for the time of a block."""
        async with AsyncExitStack() as stack:
            subject = cls(dsn, await stack.enter_async_context(StoppedClock.of(dsn)), stack)
            await subject.reopen()
            stack.push_async_callback(subject._open.aclose)
            yield subject

    @override
    async def advance(self, seconds: float) -> None:
        await self._clock.advance(seconds)

    @override
    async def reopen(self) -> FullStore:
        await self._open.aclose()
        self.store = await self._open.enter_async_context(PostgresStore.open(self._dsn))
        return self.store

    @override
    async def sibling(self) -> FullStore:
        return await self._stack.enter_async_context(PostgresStore.open(self._dsn))
