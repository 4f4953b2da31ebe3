"""Fresh stores to measure, as durable as those that people run, and groups to fill them with."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import anyio
from attrs import frozen

from election_core import Settings
from election_core.engine import Engine
from election_core.ports import Store
from election_postgres import PostgresStore, migrate
from election_sqlite import SqliteStore

sys.path.insert(0, str(Path(__file__).parents[1] / "packages/election-postgres/tests"))

from postgres_server import Databases, PostgresServer, databases

__all__ = [
    "Databases",
    "Member",
    "PostgresServer",
    "fill",
    "postgres_database",
    "postgres_server",
    "postgres_store",
    "server_version",
    "sqlite_store",
]

_LEASE = timedelta(hours=1)
"""No lease runs out while it is measured."""


@frozen
class Member:
    """A runner with a live session."""

    group_id: str
    runner_id: str
    session_id: str
    epoch: int | None
    """What it leads under, if it does."""


@contextmanager
def postgres_server() -> Iterator[Databases]:
    """A Postgres server that keeps what it has committed, also when the machine stops.

    That of ``ELECTION_TEST_POSTGRES_DSN`` as it is, else one of its own in the block.
    """
    with databases(fsync="on", full_page_writes="on", shared_buffers="256MB") as server:
        yield server


def server_version(server: Databases) -> str:
    """The version of a Postgres server, without who built it."""
    told: str = server.value("SHOW server_version")
    return told.split()[0]


@asynccontextmanager
async def postgres_database(server: Databases) -> AsyncIterator[str]:
    """The DSN of a fresh database with the schema, which is gone after the block."""
    dsn = server.create_database()
    try:
        await migrate(dsn)
        yield dsn
    finally:
        server.drop(dsn)


@asynccontextmanager
async def postgres_store(
    server: Databases, *, connections: int = 10
) -> AsyncIterator[tuple[PostgresStore, str]]:
    """A store on a fresh database, and the DSN of that."""
    async with (
        postgres_database(server) as dsn,
        PostgresStore.open(dsn, connections=connections) as store,
    ):
        yield store, dsn


@asynccontextmanager
async def sqlite_store() -> AsyncIterator[SqliteStore]:
    """A store on a fresh file in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        async with SqliteStore.open(Path(folder, "store.db")) as store:
            yield store


async def fill(store: Store, *, groups: int, runners: int) -> list[Member]:
    """Create groups with live runners; the first of each group leads it."""
    members: list[Member] = []

    async def group(engine: Engine, group_id: str, limiter: anyio.CapacityLimiter) -> None:
        async with limiter:
            await engine.create_group(group_id, Settings(lease=_LEASE))
            for number in range(runners):
                runner = (await engine.register(group_id, f"runner-{number}"))[0]
                standing = await engine.open_session(runner.id, session_key="key")
                leads = standing.leader_runner_id == runner.id
                members.append(
                    Member(
                        group_id=group_id,
                        runner_id=runner.id,
                        session_id=standing.session_id,
                        epoch=standing.epoch if leads else None,
                    )
                )

    limiter = anyio.CapacityLimiter(4)
    async with Engine(store) as engine, anyio.create_task_group() as tasks:
        for number in range(groups):
            tasks.start_soon(group, engine, f"group-{number}", limiter)
    return sorted(members, key=lambda member: (member.group_id, member.runner_id))
