"""A store whose server is killed, restarted and frozen under it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import asyncpg
import pytest

from election_core import ElectionError, OutcomeUnknown, Plan, Pulse, RegisterRunner, Unavailable
from election_core.ports import Topic
from election_postgres import PostgresStore, migrate
from postgres_fleet import DEADLINE, Fleet, connected, fresh, waiting
from postgres_server import PostgresServer

LIMIT = timedelta(seconds=1)


@pytest.fixture
def anyio_backend() -> str:
    """The driver is of asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that the tests of this module disturb, and leave running."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
async def store(server: PostgresServer) -> AsyncIterator[PostgresStore]:
    """A store with short limits, over a database of the test's own."""
    dsn = server.create_database()
    await migrate(dsn)
    async with PostgresStore.open(
        dsn, statement_timeout=LIMIT, lock_timeout=LIMIT, connect_timeout=LIMIT
    ) as opened:
        yield opened


async def repeated(fleet: Fleet, name: str) -> None:
    """Add a runner, and repeat the commit under its id until its outcome is known."""
    planned = await answered(fleet, name)
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await fleet.commit(planned, f"commit of {name}")
                break
            except (Unavailable, OutcomeUnknown):
                await asyncio.sleep(0.02)


async def answered(fleet: Fleet, name: str) -> Plan:
    """A plan, once the server answers."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                return await fleet.plan(RegisterRunner(runner_id=name, name=name))
            except Unavailable:
                await asyncio.sleep(0.02)


async def test_a_commit_is_recognised_after_a_crash(
    store: PostgresStore, server: PostgresServer
) -> None:
    """Killed at any moment of a commit: repeated, it is written once."""
    fleet = Fleet(store)
    await fleet.create("a")
    revision = (await store.load("g")).revision
    for number in range(6):
        name = f"r{number}"
        committing = asyncio.create_task(repeated(fleet, name))
        await asyncio.sleep(0.001 * number)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await committing

        snapshot = await store.load("g")
        assert snapshot.revision == revision + number + 1
        assert snapshot.runner(name) is not None
    kinds = [event.kind for event in await store.events("g", limit=1000)]
    assert kinds.count("runner-registered") == 7


async def test_a_commit_under_way_when_the_server_dies_is_told(
    store: PostgresStore, server: PostgresServer
) -> None:
    """Its caller learns that it may have been written, in time."""
    fleet = Fleet(store)
    await fleet.create("a")
    planned = await fleet.plan(RegisterRunner(runner_id="r", name="r"))
    own = await asyncpg.connect(own_dsn(store))
    await own.execute("BEGIN; SELECT election.share('g')")
    committing = asyncio.create_task(fleet.commit(planned))
    async with connected(own_dsn(store)) as watcher:
        await waiting(watcher)
    await asyncio.to_thread(server.kill)
    try:
        with pytest.raises(OutcomeUnknown, match="repeat the call"):
            await committing
        with pytest.raises(Unavailable):
            await store.load("g")
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await fleet.beat("a")
    finally:
        await asyncio.to_thread(server.start)
        own.terminate()

    await fleet.commit(planned)


def own_dsn(store: PostgresStore) -> str:
    """Where the store's database is."""
    return store._listen_dsn or ""


@pytest.mark.parametrize("how", ["restart", "kill"])
async def test_a_server_that_comes_back_is_used_again(
    how: str, store: PostgresStore, server: PostgresServer
) -> None:
    """Nothing has to be opened anew: at most one call on each lost connection fails."""
    fleet = Fleet(store)
    await fleet.create("a")
    await asyncio.gather(*(store.load("g") for _ in range(10)))
    if how == "kill":
        await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.restart)

    await asyncio.gather(*(store.load("g") for _ in range(10)), return_exceptions=True)
    for _ in range(20):
        await store.load("g")
    assert isinstance(await fleet.beat("a"), Pulse)
    await fleet.decide()


async def test_a_frozen_server_is_told_in_time(
    store: PostgresStore, server: PostgresServer
) -> None:
    """While it stands still each call ends with an error of the port; after that all goes on."""
    fleet = Fleet(store)
    await fleet.create("a")
    planned = await fleet.plan(RegisterRunner(runner_id="r", name="r"))
    server.freeze()
    try:
        began = time.monotonic()
        found = await asyncio.gather(
            store.load("g"),
            fleet.beat("a"),
            fleet.commit(planned),
            store.mark(timedelta(seconds=1)),
            store.due(1),
            fleet.enqueue(),
            *(store.load("g") for _ in range(20)),
            return_exceptions=True,
        )
        took = time.monotonic() - began
    finally:
        server.thaw()
    assert {isinstance(error, Unavailable | OutcomeUnknown) for error in found} == {True}, found
    assert took < 20

    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await store.load("g")
                await fleet.beat("a")
                break
            except ElectionError:
                await asyncio.sleep(0.05)
    await asyncio.gather(*(store.load("g") for _ in range(20)))


async def test_a_frozen_server_is_told_by_opening_and_listening(
    store: PostgresStore, server: PostgresServer
) -> None:
    """Neither waits for ever for a server that lets in and says nothing."""
    server.freeze()
    try:
        with pytest.raises(Unavailable):
            async with PostgresStore.open(server.dsn(), connect_timeout=LIMIT):
                pass
        with pytest.raises(Unavailable):
            async with store.changes():
                pass
    finally:
        server.thaw()


async def test_who_listens_learns_of_a_restart(
    store: PostgresStore, server: PostgresServer
) -> None:
    """Listening ends with the server, and goes on anew."""
    async with store.changes() as changes:
        waits = asyncio.ensure_future(anext(changes))
        await asyncio.to_thread(server.restart)
        with pytest.raises(Unavailable):
            await waits
    end: Topic = ("jobs", fresh())
    async with store.changes() as changes:
        async with PostgresStore.open(own_dsn(store)) as other:
            await other.announce([end])
        async with asyncio.timeout(DEADLINE):
            assert await anext(changes) == frozenset({end})
