"""The store: what the port promises, over one SQLite file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self

import aiosqlite
from typing_extensions import override

from election_core import (
    Changes,
    Claimed,
    EndedSession,
    Event,
    GroupInfo,
    Job,
    JobSpec,
    JobState,
    Mark,
    Page,
    RunnerInfo,
    Settlement,
    Snapshot,
    Token,
    Unavailable,
)
from election_core.ports import (
    AccessStore,
    Beat,
    Beaten,
    Census,
    Committed,
    Due,
    Enqueued,
    JobStore,
    Store,
    StoredToken,
)
from election_sqlite import _groups, _jobs, _pages, _prune, _renewals, _tokens
from election_sqlite._backup import back_up
from election_sqlite._clock import Clock, SystemClock
from election_sqlite._errors import mapped
from election_sqlite._fence import check_fence
from election_sqlite._incarnation import HighWater
from election_sqlite._lane import Lane, Transaction, Urgency, outlast
from election_sqlite._lock import locked
from election_sqlite._opening import Opened, opened, persist
from election_sqlite._schema import SETTINGS, check

__all__ = ["SqliteStore"]

BUSY_TIMEOUT = timedelta(seconds=5)
"""How long a transaction waits for one of another connection, unless chosen."""


class SqliteStore(Store, JobStore, AccessStore):
    """Groups, jobs and tokens in one SQLite file; see :mod:`election_core.ports` for each method.

    Use :meth:`open`. Every commit is on the disk before it is answered. Reads have a connection of
    their own and never wait for a write; among those that wait for the writing connection, renewals
    go first.
    """

    def __init__(self, path: Path, database: Opened, busy_timeout: timedelta) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._time = database.time
        self._inode = database.inode
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
        busy_timeout: timedelta = BUSY_TIMEOUT,
        clock: Clock | None = None,
    ) -> AsyncIterator[Self]:
        """Open a database for the time of an ``async with`` block; make it if there is none.

        Args:
            path: The file. Beside it live its log (``-wal``, ``-shm``), ``.lock`` and
                ``.high-water``.
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

    # Groups, runners, sessions, events and the mark.

    @override
    async def load(self, group_id: str) -> Snapshot:
        return await self._reader.run(partial(_groups.load, group_id=group_id))

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        def work(transaction: Transaction) -> tuple[Committed, HighWater | None]:
            committed = _groups.commit(
                transaction, changes, expected_revision=expected_revision, commit_id=commit_id
            )
            if not (changes.granted or changes.ended_terms):
                return committed, None
            return committed, HighWater.of(transaction.connection, transaction.at)

        committed, _ = await self._writer.run(work, then=self._note)
        return committed

    @override
    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        return await self._writer.run(partial(_renewals.beat, beats=tuple(beats)), Urgency.RENEWAL)

    @override
    async def pulse(self, runner_id: str, session_id: str) -> Beaten:
        return await self._reader.run(
            partial(_renewals.pulse, runner_id=runner_id, session_id=session_id), Urgency.RENEWAL
        )

    @override
    async def due(self, limit: int) -> Due:
        return await self._reader.run(partial(_renewals.due, limit=limit), Urgency.RENEWAL)

    @override
    async def mark(self, tick: timedelta) -> Mark:
        def work(transaction: Transaction) -> tuple[Mark, HighWater | None]:
            self._check_file()
            refreshed = _renewals.mark(transaction, tick)
            return refreshed, HighWater.of(transaction.connection, transaction.at)

        refreshed, _ = await self._writer.run(work, Urgency.RENEWAL, then=self._note)
        return refreshed

    def _note(self, result: tuple[object, HighWater | None]) -> None:
        """Note beside the database what was committed to it."""
        if result[1] is not None:
            result[1].write(self._path)

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

    @override
    async def find_runner(self, runner_id: str) -> RunnerInfo:
        return await self._reader.run(partial(_pages.find_runner, runner_id=runner_id))

    @override
    async def ended_session(
        self, runner_id: str, *, session_id: str | None = None, key: str | None = None
    ) -> EndedSession | None:
        return await self._reader.run(
            lambda transaction: _renewals.find_ended(
                transaction.connection, runner_id, session_id=session_id, key=key
            )
        )

    @override
    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        return await self._reader.run(
            partial(_pages.groups, cursor=cursor, limit=limit), Urgency.BULK
        )

    @override
    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        return await self._reader.run(
            partial(_pages.runners, group_id=group_id, cursor=cursor, limit=limit), Urgency.BULK
        )

    @override
    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        return await self._reader.run(
            partial(_pages.events, group_id=group_id, after=after, limit=limit), Urgency.BULK
        )

    @override
    async def census(self) -> Census:
        return await self._reader.run(_pages.census, Urgency.BULK)

    @override
    async def prune(self, limit: int = 1000) -> int:
        return await self._writer.run(partial(_prune.prune, limit=limit), Urgency.BULK)

    @override
    async def ready(self) -> None:
        def work(transaction: Transaction) -> None:
            self._check_file()
            check(transaction.connection, self._path)

        # On the writing connection: a store that cannot write is not ready.
        await self._writer.run(work)

    # Jobs.

    @override
    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        return await self._writer.run(
            partial(
                _jobs.enqueue,
                group_id=group_id,
                spec=spec,
                job_id=job_id,
                idempotency_key=idempotency_key,
            )
        )

    @override
    async def claim(
        self,
        runner_id: str,
        session_id: str,
        *,
        claim_id: str,
        epoch: int | None,
        limit: int,
        tokens: Sequence[str],
    ) -> Claimed:
        return await self._writer.run(
            partial(
                _jobs.claim,
                runner_id=runner_id,
                session_id=session_id,
                claim_id=claim_id,
                epoch=epoch,
                limit=limit,
                tokens=tuple(tokens),
            )
        )

    @override
    async def settle(self, job_id: str, token: str, settlement: Settlement) -> Job:
        return await self._writer.run(
            partial(_jobs.settle, job_id=job_id, token=token, settlement=settlement)
        )

    @override
    async def cancel(self, job_id: str) -> Job:
        return await self._writer.run(partial(_jobs.cancel, job_id=job_id))

    @override
    async def job(self, job_id: str) -> Job:
        return await self._reader.run(partial(_jobs.find_job, job_id=job_id))

    @override
    async def jobs(
        self,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        return await self._reader.run(
            partial(_pages.jobs, group_id=group_id, state=state, cursor=cursor, limit=limit),
            Urgency.BULK,
        )

    @override
    async def job_counts(self) -> dict[str, int]:
        return await self._reader.run(_pages.job_counts, Urgency.BULK)

    # Tokens.

    @override
    async def add_token(self, token: StoredToken, *, ttl: timedelta | None) -> Token:
        return await self._writer.run(partial(_tokens.add_token, stored=token, ttl=ttl))

    @override
    async def find_token(self, digest: bytes) -> Token | None:
        return await self._reader.run(partial(_tokens.find_token, digest=digest))

    @override
    async def tokens(self, *, cursor: str | None = None, limit: int = 100) -> Page[Token]:
        return await self._reader.run(
            partial(_tokens.tokens, cursor=cursor, limit=limit), Urgency.BULK
        )

    @override
    async def revoke_token(self, token_id: str) -> None:
        await self._writer.run(partial(_tokens.revoke_token, token_id=token_id))

    # What SQLite offers beyond the port.

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[aiosqlite.Connection]:
        """A connection to the same file, for tables of your own beside the store's.

        It is set up as the store's own is: explicit transactions, full syncs, foreign keys. While
        one of its transactions is open that wrote, or began with ``BEGIN IMMEDIATE``, nothing else
        is written, renewals included: keep them short.
        """
        with mapped(self._path):
            timeout = self._busy_timeout.total_seconds()
            async with aiosqlite.connect(
                self._path, isolation_level=None, timeout=timeout
            ) as connection:
                for pragma in SETTINGS:
                    await connection.execute(pragma)
                yield connection

    async def fence(self, connection: aiosqlite.Connection, group_id: str, epoch: int) -> datetime:
        """Check, inside a transaction of your own, that `epoch` still leads its group.

        What the transaction writes is committed only if no other leader was elected before its
        commit: begun with ``BEGIN IMMEDIATE`` it holds the lock that an election needs. A leader
        that is stepping down passes while its term's lease lasts: it is finishing.

        Args:
            connection: A connection to the store's file, in a transaction; see :meth:`connect`.
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
        await back_up(self._path, Path(path).absolute(), self._busy_timeout)
