"""Queues on SQLite to measure beside each other: the store's, and a bare one.

Each has a file of its own, with a write-ahead log and full syncs; a transaction for each claim and
one for each settlement, in a thread beside the event loop, for there is no other way to wait for
SQLite.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
from queues import PAYLOAD, FencedQueue, Queue
from stores import Member, fill
from typing_extensions import override

from election_core import JobSpec
from election_sqlite import SqliteStore

__all__ = ["sqlite_queues"]

_SETTINGS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
_SCHEMA = "SELECT sql FROM sqlite_schema WHERE tbl_name = 'election_job' AND sql NOT NULL"
_COPY = """
INSERT INTO {table}
SELECT {columns} FROM (
    WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < ?)
    SELECT n FROM count
), pattern
"""
_CLAIM = """
UPDATE election_job SET
    state = 'running', attempts = attempts + 1, started_at = ?1, claimed_by = ?2, epoch = ?3,
    claim_token = lower(hex(randomblob(24))), claim_id = ?4, claim_runner_id = ?2,
    claim_session_id = ?5, claim_epoch = ?3
WHERE seq IN (
    SELECT seq FROM election_job
    WHERE group_id = ?6 AND runner_id IS NULL AND state = 'queued' AND available_at <= ?1
    ORDER BY priority DESC, seq LIMIT ?7
) RETURNING *
"""
_SETTLE = """
UPDATE election_job SET
    state = 'succeeded', finished_at = ?1, result = ?2, error = NULL, settled_token = ?3,
    settled_outcome = 'succeeded'
WHERE id = ?4 AND claim_token = ?3 AND state = 'running'
"""


class _Fenced(FencedQueue):
    def __init__(self, store: SqliteStore, leader: Member, filler: sqlite3.Connection) -> None:
        super().__init__(store, leader)
        self._filler = filler

    @override
    async def refill(self, jobs: int) -> None:
        _refill(self._filler, jobs)
        self._filler.execute("DELETE FROM election_claim")


class _Bare(Queue):
    def __init__(self, connection: sqlite3.Connection, leader: Member) -> None:
        self._connection = connection
        self._leader = leader
        self._thread = ThreadPoolExecutor(1)

    @override
    async def refill(self, jobs: int) -> None:
        _refill(self._connection, jobs)

    @override
    async def work(self, worker: int, most: int) -> int:
        loop = asyncio.get_running_loop()
        rows = await loop.run_in_executor(self._thread, self._claim, most)
        if rows:
            await loop.run_in_executor(self._thread, self._settle, rows)
        return len(rows)

    def _claim(self, most: int) -> list[Any]:
        self._connection.execute("BEGIN IMMEDIATE")
        rows = self._connection.execute(_CLAIM, _wanted(self._leader, most)).fetchall()
        self._connection.execute("COMMIT")
        return rows

    def _settle(self, rows: list[Any]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        done = self._connection.executemany(_SETTLE, _done(rows))
        assert done.rowcount == len(rows)
        self._connection.execute("COMMIT")


class _Own(Queue):
    """The bare statements in transactions of a program's own, which begin with the fence or not.

    By `aiosqlite`, on a table beside the store's.
    """

    def __init__(
        self,
        connection: aiosqlite.Connection,
        leader: Member,
        filler: sqlite3.Connection,
        store: SqliteStore | None,
    ) -> None:
        self._connection = connection
        self._leader = leader
        self._filler = filler
        self._store = store

    @override
    async def refill(self, jobs: int) -> None:
        _refill(self._filler, jobs, "own_job")

    @override
    async def work(self, worker: int, most: int) -> int:
        await self._begin()
        rows = list(
            await self._connection.execute_fetchall(_own(_CLAIM), _wanted(self._leader, most))
        )
        await self._connection.execute("COMMIT")
        if rows:
            await self._begin()
            await self._connection.executemany(_own(_SETTLE), _done(rows))
            await self._connection.execute("COMMIT")
        return len(rows)

    async def _begin(self) -> None:
        await self._connection.execute("BEGIN IMMEDIATE")
        if self._store is not None:
            assert self._leader.epoch is not None
            await self._store.fence(self._connection, self._leader.group_id, self._leader.epoch)


def _own(statement: str) -> str:
    """The statement on a program's own table."""
    return statement.replace("election_job", "own_job")


def _wanted(leader: Member, most: int) -> tuple[object, ...]:
    """The values of a claim."""
    by = (leader.runner_id, leader.epoch, "claim", leader.session_id)
    return (_now(), *by, leader.group_id, most)


def _done(rows: list[Any]) -> list[tuple[object, ...]]:
    """The values of the settlements of claimed rows."""
    at, result = _now(), json.dumps(None)
    return [(at, result, row["claim_token"], row["id"]) for row in rows]


def _now() -> int:
    return time.time_ns() // 1000


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)
    connection.row_factory = sqlite3.Row
    connection.executescript(_SETTINGS)
    return connection


def _refill(connection: sqlite3.Connection, jobs: int, table: str = "election_job") -> None:
    columns = [row["name"] for row in connection.execute("PRAGMA table_info(election_job)")]
    made = {"seq": "n", "id": "'job-' || hex(randomblob(16))"}
    copied = ", ".join(made.get(column, column) for column in columns)
    connection.execute(f"DELETE FROM {table}")  # noqa: S608 - one of two names
    connection.execute(_COPY.format(table=table, columns=copied), (jobs,))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


@asynccontextmanager
async def sqlite_queues() -> AsyncIterator[dict[str, Queue]]:
    """The store's queue and a bare one, each on a fresh file, by their names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store.db")
        async with SqliteStore.open(path) as store:
            (leader,) = await fill(store, groups=1, runners=1)
            spec = JobSpec(kind="work", payload=PAYLOAD)
            await store.enqueue(leader.group_id, spec, job_id="pattern")
            filler, bare = _connected(path), _connected(Path(folder, "bare.db"))
            for (statement,) in filler.execute(_SCHEMA).fetchall():
                bare.execute(statement)
                filler.execute(_own(statement))
            bare.execute("ATTACH ? AS store", (str(path),))
            for connection in (filler, bare):
                source = "main" if connection is filler else "store"
                connection.execute(
                    f"CREATE TEMP TABLE pattern AS SELECT * FROM {source}.election_job"  # noqa: S608
                )
            bare.execute("DETACH store")
            async with store.connect() as own:
                own.row_factory = sqlite3.Row
                yield {
                    "calls": _Fenced(store, leader, filler),
                    "bare": _Bare(bare, leader),
                    "own": _Own(own, leader, filler, None),
                    "own with the fence": _Own(own, leader, filler, store),
                }
            filler.close()
            bare.close()
