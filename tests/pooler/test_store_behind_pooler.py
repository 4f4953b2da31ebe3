"""The store behind a pooler that gives each transaction any connection there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import asyncpg
import pytest

from cutting_proxy import CuttingProxy
from election_core import (
    Conflict,
    JobOutcome,
    OutcomeUnknown,
    Pulse,
    RegisterRunner,
    Release,
    Settlement,
    StaleEpoch,
    Unavailable,
)
from election_core.ports import Settle, Topic
from election_postgres import PostgresStore, migrate
from pgbouncer import PgBouncer
from postgres_fleet import DEADLINE, Fleet, connected, fresh, until, waiting
from postgres_server import Databases

LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
STATE = """
SELECT name, setting FROM pg_settings
WHERE source = 'session' AND name <> 'application_name' AND name NOT LIKE '%encoding%'
"""


@pytest.fixture
def anyio_backend() -> str:
    """The driver is of asyncio."""
    return "asyncio"


@pytest.fixture
def pooler(postgres: Databases) -> Iterator[PgBouncer]:
    """A pooler with three connections to the server."""
    with PgBouncer(postgres, size=3) as pooler:
        yield pooler


@pytest.fixture
async def store(pooler: PgBouncer, database: str) -> AsyncIterator[PostgresStore]:
    """A store with more connections than the pooler has."""
    async with PostgresStore.open(pooler.dsn(database), connections=20) as opened:
        yield opened


async def test_a_pooler_is_noticed(store: PostgresStore, database: str) -> None:
    """The store knows by itself what is in between, and what is not."""
    async with PostgresStore.open(database) as direct:
        assert store._general.pooled
        assert not direct._general.pooled


async def cycle(fleet: Fleet, dsn: str) -> None:
    """Each call that writes, once."""
    store = fleet.store
    await fleet.create("a", "b")
    await fleet.enqueue(2)
    assert isinstance(await fleet.beat("a"), Pulse)
    item = (await fleet.claim("a", 1)).items[0]
    settle = Settle(
        job_id=item.job.id,
        token=item.claim_token,
        settlement=Settlement(outcome=JobOutcome.SUCCEEDED),
    )
    await store.settle([settle])
    await store.cancel((await store.jobs(fleet.group_id)).items[1].id)
    await store.mark(timedelta(seconds=1))
    await store.due(10, hold=timedelta(seconds=1))
    await store.prune()
    async with connected(dsn) as connection:
        async with connection.transaction():
            await store.fence(connection, fleet.group_id, 1)
        session = fleet.session("a")
        await fleet.do(Release(runner_id=fleet.runner("a"), session_id=session, epoch=1))
        with pytest.raises(StaleEpoch):
            async with connection.transaction():
                await store.fence(connection, fleet.group_id, 1)
    stale = await fleet.plan(RegisterRunner(runner_id=fleet.runner("c"), name="c"))
    await fleet.commit(stale)
    with pytest.raises(Conflict):
        await fleet.commit(stale)
    assert await fleet.epoch() == 2


async def test_many_clients_share_few_connections(store: PostgresStore, database: str) -> None:
    """Thirty groups at once do all there is to do over three connections, and leave no state."""
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(cycle(Fleet(store, f"g{number}"), database))

    async with connected(database) as own:
        prepared = await store._general.rows("SELECT count(*) AS n FROM pg_prepared_statements")
        assert prepared[0]["n"] == 0

        async def idle() -> bool:
            return not await own.fetch(
                "SELECT FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND state <> 'idle'"
            )

        await until(idle)
        assert not await own.fetch(
            "SELECT FROM pg_locks WHERE locktype = 'advisory' AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )


async def test_no_setting_is_left_on_a_connection(
    store: PostgresStore, pooler: PgBouncer, database: str
) -> None:
    """Who gets a connection next finds it as it was."""
    await cycle(Fleet(store), database)
    for _ in range(6):
        async with connected(pooler.dsn(database)) as other:
            async with other.transaction():
                found = await other.fetch(STATE)
            assert [tuple(row) for row in found] == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_a_cancelled_call_leaves_nothing(
    steps: int, store: PostgresStore, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever it is cancelled, its transaction is rolled back, quietly."""
    fleet = Fleet(store)
    await fleet.create("a")
    planned = await fleet.plan(RegisterRunner(runner_id="g-b", name="b"))
    await asyncio.gather(*(store.load("g") for _ in range(5)))  # enough are connected
    async with connected(database) as own:
        async with own.transaction():
            await own.fetch("SELECT election.share('g')")
            tasks = [asyncio.create_task(fleet.commit(planned)) for _ in range(3)]
            for _ in range(steps):
                await asyncio.sleep(0.002)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        async def quiet() -> bool:
            return not await own.fetch(
                "SELECT FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND state <> 'idle'"
            )

        await until(quiet)
    assert (await store.load("g")).revision == planned.before.revision
    await asyncio.gather(*(store.load("g") for _ in range(30)))
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("passing", range(3))
async def test_a_lost_answer_is_recognised(passing: int, pooler: PgBouncer, database: str) -> None:
    """Cut off behind any step of a commit, its outcome is unknown; repeated, it is written once."""
    async with (
        CuttingProxy.before(pooler.dsn(database)) as proxy,
        PostgresStore.open(proxy.dsn, connections=1) as store,
    ):
        fleet = Fleet(store)
        await fleet.create("a")
        planned = await fleet.plan(RegisterRunner(runner_id="g-b", name="b"))
        proxy.passing = passing  # answers: that it has begun, the statement's, that it has ended
        with pytest.raises(OutcomeUnknown):
            await fleet.commit(planned, "id")
        written = (await store.load("g")).revision == planned.before.revision + 1
        assert written == (passing == 2)

        revision = (await fleet.commit(planned, "id")).revision
        assert revision == (await store.load("g")).revision == planned.before.revision + 1


async def test_a_client_that_is_frozen_loses_its_transaction(
    pooler: PgBouncer, database: str
) -> None:
    """Between the steps of a transaction a caller may stop for good; its locks go all the same."""
    limit = timedelta(milliseconds=300)
    async with PostgresStore.open(
        pooler.dsn(database), statement_timeout=limit, lock_timeout=limit
    ) as store:
        await Fleet(store).create("a")
        begin = store._general._begin
    async with connected(pooler.dsn(database)) as frozen, connected(database) as own:
        await frozen.execute(begin)
        await frozen.execute("SELECT election.have_alone('g')")
        waiter = asyncio.create_task(own.fetch("SELECT election.have_alone('g')"))
        async with connected(database) as watcher:
            await waiting(watcher)
        async with asyncio.timeout(DEADLINE):
            await waiter
        with pytest.raises(LOST):
            await frozen.execute("SELECT 1")


async def test_listening_leads_around_it(
    store: PostgresStore, pooler: PgBouncer, database: str
) -> None:
    """Through the pooler there is none, and it is told; another URL leads to the server itself."""
    with pytest.raises(Unavailable, match="a transaction pooler is in between"):
        async with store.changes():
            pass
    end: Topic = ("jobs", fresh())
    async with (
        PostgresStore.open(pooler.dsn(database), listen_dsn=database) as listening,
        listening.changes() as changes,
    ):
        await store.announce([end])
        async with asyncio.timeout(DEADLINE):
            assert await anext(changes) == frozenset({end})


async def test_a_database_is_migrated_through_it(pooler: PgBouncer, empty_database: str) -> None:
    """Also by several at once."""
    done = await asyncio.gather(*(migrate(pooler.dsn(empty_database)) for _ in range(3)))
    assert sum(bool(each.steps) for each in done) == 1


async def test_a_pooler_that_lets_nobody_through_is_told(pooler: PgBouncer, database: str) -> None:
    """When it stands still, calls and opening end in time."""
    limit = timedelta(milliseconds=500)
    dsn = pooler.dsn(database)
    async with PostgresStore.open(
        dsn, statement_timeout=limit, lock_timeout=limit, connect_timeout=limit
    ) as store:
        await Fleet(store).create("a")
        pooler.freeze()
        try:
            async with asyncio.timeout(DEADLINE):
                with pytest.raises(Unavailable):
                    await store.load("g")
                with pytest.raises(Unavailable):
                    async with PostgresStore.open(dsn, connect_timeout=limit):
                        pass
        finally:
            pooler.thaw()
        await store.load("g")
