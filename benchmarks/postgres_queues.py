"""Queues on one Postgres server to measure beside each other: the store's, a bare one, a peer's.

Each claims a batch of jobs and settles it again, one transaction for the claim and one for the
settlement. All of them keep what they commit, take turns on one server, have as many connections
as there are workers, and get jobs of the same kind and payload.
"""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import asyncpg
from pgqueuer import AsyncpgDriver, Queries, QueueManager
from pgqueuer import Job as PeersJob
from pgqueuer.domain.types import QueueEntrypoint, QueueExecutionMode, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter
from queues import PAYLOAD, FencedQueue, Queue, fresh_tokens
from stores import Databases, Member, fill, postgres_store
from typing_extensions import override

from election_core import JobSpec
from election_core.ports import JobStore
from election_postgres import PostgresStore

__all__ = ["postgres_queues"]

_JOB = """
j.seq, j.id, j.group_id, j.runner_id, j.kind, j.payload, j.priority, j.max_attempts, j.created_at,
j.state, j.attempts, j.available_at, j.started_at, j.finished_at, j.claimed_by, j.epoch,
j.cancel_requested, j.result, j.error
"""
_PLANNED = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""As the store has it; without them the bare statements are planned anew each time, and slower."""
_SET_UP = """
CREATE SCHEMA bare;
CREATE TABLE bare.job (LIKE election.job INCLUDING ALL);
CREATE TABLE bare.pattern AS SELECT * FROM election.job;
"""
_REFILL = """
INSERT INTO {0}.job SELECT (json_populate_record(p, json_build_object(
    'seq', n, 'id', 'job-' || md5(n::text)
))).* FROM bare.pattern AS p, generate_series(1, $1::integer) AS n
"""
_BARE_CLAIM = f"""
WITH picked AS MATERIALIZED (
    SELECT seq FROM bare.job
    WHERE group_id = $1 AND runner_id IS NULL AND state = 'queued'
        AND available_at <= clock_timestamp()
    ORDER BY priority DESC, seq LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
), given AS (
    SELECT seq, ($3::text[])[row_number() OVER ()] AS token FROM picked
)
UPDATE bare.job AS j SET
    state = 'running', attempts = attempts + 1, started_at = clock_timestamp(), claimed_by = $4,
    epoch = $5, claim_token = g.token, claim_id = $6, claim_runner_id = $4, claim_session_id = $7,
    claim_epoch = $5
FROM given AS g WHERE j.group_id = $1 AND j.seq = g.seq
RETURNING {_JOB}, j.claim_token
"""
_BARE_SETTLE = f"""
UPDATE bare.job AS j SET
    state = 'succeeded', finished_at = clock_timestamp(), result = a.result, error = NULL,
    settled_token = a.token, settled_outcome = 'succeeded'
FROM unnest($1::text[], $2::text[], $3::text[]) AS a(id, token, result)
WHERE j.id = a.id AND j.claim_token = a.token AND coalesce(j.state, '') = 'running'
RETURNING {_JOB}
"""


_PEERS_PAYLOAD = json.dumps(PAYLOAD).encode()


class _Fenced(FencedQueue):
    def __init__(
        self, store: JobStore, leader: Member, connection: asyncpg.Connection, *, handled: bool
    ) -> None:
        super().__init__(store, leader, handled=handled)
        self._connection = connection

    @override
    async def refill(self, jobs: int) -> None:
        await _refill(self._connection, "election", jobs)
        await self._connection.execute("TRUNCATE election.claim")


class _Bare(Queue):
    """What is left of that without the checks of session, epoch and lease: two statements."""

    def __init__(self, connections: list[asyncpg.Connection], leader: Member) -> None:
        self._connections = connections
        self._leader = leader

    @override
    async def refill(self, jobs: int) -> None:
        await _refill(self._connections[0], "bare", jobs)

    @override
    async def work(self, worker: int, most: int) -> int:
        connection = self._connections[worker]
        rows = await self._claim(connection, most)
        if rows:
            await self._settle(connection, rows)
        return len(rows)

    async def _claim(self, connection: asyncpg.Connection, most: int) -> list[asyncpg.Record]:
        return await connection.fetch(
            _BARE_CLAIM,
            self._leader.group_id,
            most,
            fresh_tokens(most),
            self._leader.runner_id,
            self._leader.epoch,
            secrets.token_hex(10),
            self._leader.session_id,
        )

    async def _settle(self, connection: asyncpg.Connection, rows: list[asyncpg.Record]) -> None:
        done = await connection.fetch(
            _BARE_SETTLE,
            [row["id"] for row in rows],
            [row["claim_token"] for row in rows],
            [json.dumps(None)] * len(rows),
        )
        assert len(done) == len(rows)


class _Own(_Bare):
    """The bare statements in transactions of a program's own, which begin with the fence or not."""

    def __init__(
        self, connections: list[asyncpg.Connection], leader: Member, store: PostgresStore | None
    ) -> None:
        super().__init__(connections, leader)
        self._store = store

    @override
    async def work(self, worker: int, most: int) -> int:
        connection = self._connections[worker]
        async with connection.transaction():
            await self._fence(connection)
            rows = await self._claim(connection, most)
        if rows:
            async with connection.transaction():
                await self._fence(connection)
                await self._settle(connection, rows)
        return len(rows)

    async def _fence(self, connection: asyncpg.Connection) -> None:
        if self._store is not None:
            assert self._leader.epoch is not None
            await self._store.fence(connection, self._leader.group_id, self._leader.epoch)


class _Peer(Queue):
    """PgQueuer's own statements by its own functions, without its manager around them."""

    def __init__(self, connections: list[asyncpg.Connection]) -> None:
        self._connections = connections
        self._queries = [Queries(AsyncpgDriver(connection)) for connection in connections]
        self._entrypoints = {QueueEntrypoint("work"): EntrypointExecutionParameter(0)}
        self._managers = [QueueManagerId(uuid.uuid4()) for _ in connections]

    async def install(self) -> None:
        await self._queries[0].install()

    @override
    async def refill(self, jobs: int) -> None:
        await self._connections[0].execute("TRUNCATE pgqueuer, pgqueuer_log")
        for first in range(0, jobs, 1000):
            count = min(1000, jobs - first)
            await self._queries[0].enqueue(["work"] * count, [_PEERS_PAYLOAD] * count, [0] * count)
        await self._connections[0].execute("ANALYZE pgqueuer")

    @override
    async def work(self, worker: int, most: int) -> int:
        queries = self._queries[worker]
        jobs = await queries.dequeue(
            batch_size=most,
            entrypoints=self._entrypoints,
            queue_manager_id=self._managers[worker],
            global_concurrency_limit=None,
            heartbeat_timeout=timedelta(seconds=30),
        )
        if jobs:
            await queries.log_jobs([(job, "successful", None) for job in jobs])
        return len(jobs)


class _PeersWorker(_Peer):
    """PgQueuer's own worker on one connection, with a handler that does nothing."""

    @override
    async def rate(self, *, jobs: int, workers: int, batch: int) -> float:
        assert workers == 1
        manager = QueueManager(self._queries[0])
        began: list[float] = []

        @manager.entrypoint("work")
        async def handle(job: PeersJob) -> None:
            if not began:
                began.append(time.perf_counter())
            assert job.payload == _PEERS_PAYLOAD

        await self.refill(jobs)
        await manager.run(batch_size=batch, mode=QueueExecutionMode.drain)
        return jobs / (time.perf_counter() - began[0])


async def _refill(connection: asyncpg.Connection, schema: str, jobs: int) -> None:
    await connection.execute(f"TRUNCATE {schema}.job")
    await connection.execute(_REFILL.format(schema), jobs)
    await connection.execute(f"VACUUM ANALYZE {schema}.job")


@asynccontextmanager
async def postgres_queues(server: Databases, workers: int) -> AsyncIterator[dict[str, Queue]]:
    """The store's queue, a bare one and PgQueuer's on a fresh database, by their names."""
    async with AsyncExitStack() as stack:
        store, dsn = await stack.enter_async_context(postgres_store(server, connections=workers))
        (leader,) = await fill(store, groups=1, runners=1)
        await store.enqueue(
            leader.group_id, JobSpec(kind="work", payload=PAYLOAD), job_id="pattern"
        )
        bare = [await _connected(dsn, stack, **_PLANNED) for _ in range(workers)]
        peer = [await _connected(dsn, stack) for _ in range(workers)]
        await bare[0].execute(_SET_UP)
        await peer[0].execute("SET client_min_messages = warning")
        peers = _Peer(peer)
        await peers.install()
        yield {
            "calls": _Fenced(store, leader, bare[0], handled=False),
            "handled": _Fenced(store, leader, bare[0], handled=True),
            "bare": _Bare(bare, leader),
            "own": _Own(bare, leader, None),
            "own with the fence": _Own(bare, leader, store),
            "PgQueuer's statements": peers,
            "PgQueuer": _PeersWorker(peer),
        }


async def _connected(dsn: str, stack: AsyncExitStack, **settings: str) -> asyncpg.Connection:
    connection: asyncpg.Connection = await asyncpg.connect(dsn, server_settings=settings)
    stack.push_async_callback(connection.close)
    return connection
