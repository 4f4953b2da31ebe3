"""An open database: its two connections, and what it offers to programs that embed it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import aiosqlite

from election_core import Unavailable
from election_sqlite._backup import back_up
from election_sqlite._clock import Clock, SystemClock
from election_sqlite._errors import mapped
from election_sqlite._fence import check_fence
from election_sqlite._incarnation import HighWater
from election_sqlite._lane import Lane, outlast
from election_sqlite._lock import locked
from election_sqlite._opening import Opened, opened, persist
from election_sqlite._schema import SETTINGS

__all__ = ["Database"]

_BUSY_TIMEOUT = timedelta(seconds=5)


class Database:
    """A database that is open in this process and no other."""

    def __init__(self, path: Path, database: Opened, busy_timeout: timedelta) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._time = database.time
        self._inode = database.inode
        # Which groups an elector has in hand; no other process has the file open.
        self._held: dict[str, tuple[datetime, int]] = {}
        self._writer = Lane(
            path,
            database.writer,
            database.time.now,
            begin=["BEGIN IMMEDIATE"],
            before_commit=lambda transaction: persist(transaction, database.time),
        )
        # The first read fixes what a deferred transaction sees; the time is taken after it, so
        # that nothing is seen of a time to come.
        self._reader = Lane(
            path,
            database.reader,
            database.time.now,
            begin=["BEGIN", "SELECT id FROM election_meta"],
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        busy_timeout: timedelta = _BUSY_TIMEOUT,
        clock: Clock | None = None,
    ) -> AsyncIterator[Self]:
        """Open a database for the time of an `async with` block; make it if there is none.

        Args:
            path: The file. Beside it live its log (`-wal`, `-shm`), `.lock` and
                `.high-water`.
            busy_timeout: How long a transaction waits for one of another connection.
            clock: Where the time comes from; the machine's clocks unless given.

        Raises:
            Unavailable: Another process has it open, or it cannot be read or written.
            SchemaMismatch: It is not a database, another application's, or of a newer schema.
        """
        file = Path(path).resolve()  # noqa: ASYNC240 - once, before anything runs
        with locked(file):
            opening = asyncio.ensure_future(
                asyncio.to_thread(opened, file, busy_timeout, clock or SystemClock())
            )
            try:
                database = await outlast(opening)
            except asyncio.CancelledError:
                if not opening.cancelled() and opening.exception() is None:
                    opening.result().reader.close()
                    opening.result().writer.close()
                raise
            store = cls(file, database, busy_timeout)
            try:
                yield store
            finally:
                await outlast(asyncio.ensure_future(store._close()))

    async def _close(self) -> None:
        await self._reader.stop()
        await self._writer.stop()

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[aiosqlite.Connection]:
        """A connection to the same file, for tables of your own beside the store's.

        It is set up as the store's own is: explicit transactions, full syncs, foreign keys. While
        one of its transactions is open that wrote, or began with `BEGIN IMMEDIATE`, nothing else
        is written, renewals included: keep them short.

        Raises:
            Unavailable: The file cannot be opened.
        """
        timeout = self._busy_timeout.total_seconds()
        with mapped(self._path):
            self._check_file()
            connection = await aiosqlite.connect(self._path, isolation_level=None, timeout=timeout)
        try:
            with mapped(self._path):
                for pragma in SETTINGS:
                    await connection.execute(pragma)
            yield connection
        finally:
            await outlast(asyncio.ensure_future(connection.close()))

    async def fence(self, connection: aiosqlite.Connection, group_id: str, epoch: int) -> datetime:
        """Check, inside a transaction of your own, that `epoch` still leads its group.

        What the transaction writes is committed only if no other leader was elected before its
        commit: begun with `BEGIN IMMEDIATE` it holds the lock that an election needs. A leader
        that is stepping down passes while its term's lease lasts: it is finishing.

        Args:
            connection: A connection to the store's file, in a transaction; see `connect`.
            group_id: The group.
            epoch: The epoch under which the caller leads.

        Returns:
            When the term's lease ends, by the store's clock.

        Raises:
            StaleEpoch: Another epoch is current, or the term has ended.
            LeaseExpired: The term's lease is over, and nothing was decided yet.
            NotFound: There was never a group of that id.
            Invalid: The connection is in no transaction, or to another file.
        """
        with mapped(self._path):
            return await check_fence(
                connection, group_id, epoch, path=self._path, now=self._time.now
            )

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a copy of the store, as of now, to a new file while the store goes on.

        The file appears complete or not at all. It is marked as a copy: whoever opens or restores
        it gets a store whose terms have ended and whose epochs are far ahead.

        Raises:
            Invalid: The file exists.
            Unavailable: It cannot be written.
        """
        await back_up(self._path, Path(path), self._busy_timeout)

    def _note(self, results: Sequence[tuple[object, HighWater | None]]) -> None:
        """Note beside the database what was committed to it last."""
        known = [high_water for _, high_water in results if high_water is not None]
        if known:
            known[-1].write(self._path)

    def _check_file(self) -> None:
        """Whether the open file is still the one of its name; what another gets is lost."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._inode:
            raise Unavailable(
                f"{self._path}: the file was moved, deleted or replaced while it was open;"
                " stop this process before touching it, and start it again now"
            )
