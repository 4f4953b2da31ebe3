"""The fence, inside transactions of the caller's own, on tables of the caller's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Literal, cast

import asyncpg
import pytest

from election_core import (
    Conflict,
    Decide,
    DeleteGroup,
    Invalid,
    LeaseExpired,
    NotFound,
    Release,
    Settings,
    StaleEpoch,
    TaintRunner,
    Unavailable,
)
from election_postgres import PostgresStore
from postgres_fleet import DEADLINE, Fleet, connected, shift_clock, until, waiting

SETTLE = "UPDATE work SET done_by = $1 WHERE done_by IS NULL"


@pytest.fixture
async def fleet(store: PostgresStore, database: str) -> Fleet:
    """A group that `a` leads under epoch 1, and a table of jobs of the caller's own."""
    fleet = Fleet(store)
    await fleet.create("a", "b")
    async with connected(database) as connection:
        await connection.execute("CREATE TABLE work (id serial, done_by bigint)")
        await connection.execute("INSERT INTO work DEFAULT VALUES")
    return fleet


@pytest.fixture
async def own(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the caller's own."""
    async with connected(database) as connection:
        yield connection


def release(fleet: Fleet, epoch: int = 1, name: str = "a") -> Release:
    """The leader gives its epoch up, so that the other follows at once."""
    return Release(runner_id=fleet.runner(name), session_id=fleet.session(name), epoch=epoch)


# Answers.


async def test_the_leader_passes(fleet: Fleet, own: asyncpg.Connection) -> None:
    """The leader's transaction goes on, and is told when the lease ends."""
    async with own.transaction():
        ends = await fleet.store.fence(own, "g", 1)
        await own.execute(SETTLE, 1)

    runner = (await fleet.store.load("g")).runner(fleet.runner("a"))
    assert runner is not None
    assert runner.session is not None
    assert ends == runner.session.term_expires_at
    assert await own.fetchval("SELECT done_by FROM work") == 1


async def test_a_leader_that_steps_down_finishes(fleet: Fleet, own: asyncpg.Connection) -> None:
    """Who is asked to hand over may still write what it has in hand."""
    await fleet.do(TaintRunner(runner_id=fleet.runner("a")))
    assert (await fleet.store.load("g")).group.handover is not None

    async with own.transaction():
        await fleet.store.fence(own, "g", 1)


@pytest.mark.parametrize("epoch", [1, 3, -1, 2**62])
async def test_another_epoch_is_refused(epoch: int, fleet: Fleet, own: asyncpg.Connection) -> None:
    """An epoch that is over, or that never was, is refused, and the current one is told."""
    await fleet.do(release(fleet))

    with pytest.raises(StaleEpoch) as refused:
        async with own.transaction():
            await fleet.store.fence(own, "g", epoch)

    assert refused.value.facts["current_epoch"] == 2


async def test_an_ended_term_is_refused(fleet: Fleet, own: asyncpg.Connection) -> None:
    """The last epoch of a group that nobody leads is over, also when the group is deleted."""
    await fleet.do(release(fleet))
    await fleet.do(DeleteGroup(force=True))

    with pytest.raises(StaleEpoch):
        async with own.transaction():
            await fleet.store.fence(own, "g", 2)


async def test_a_lease_that_is_over_is_told(fleet: Fleet, own: asyncpg.Connection) -> None:
    """Between the end of the lease and the next decision, the leader may not write."""
    await shift_clock(own, 3600)

    with pytest.raises(LeaseExpired):
        async with own.transaction():
            await fleet.store.fence(own, "g", 1)


async def test_an_unknown_group_is_told(fleet: Fleet, own: asyncpg.Connection) -> None:
    """A group that never was is not found."""
    with pytest.raises(NotFound, match="no group 'x'"):
        async with own.transaction():
            await fleet.store.fence(own, "x", 1)


async def test_it_must_be_in_a_transaction(fleet: Fleet, own: asyncpg.Connection) -> None:
    """Without a transaction nothing would hold until the write, so it is refused."""
    with pytest.raises(Invalid, match="in no transaction"):
        await fleet.store.fence(own, "g", 1)


async def test_a_transaction_that_failed_before_is_told(
    fleet: Fleet, own: asyncpg.Connection
) -> None:
    """Nothing can be asked in it any more, and the sentence says what to do."""
    transaction = own.transaction()
    await transaction.start()
    with pytest.raises(asyncpg.DivisionByZeroError):
        await own.execute("SELECT 1 / 0")
    with pytest.raises(Invalid, match="roll it back"):
        await fleet.store.fence(own, "g", 1)
    await transaction.rollback()


async def test_a_connection_that_is_gone_is_told(fleet: Fleet, database: str) -> None:
    """One that was closed, or given back to its pool."""
    async with connected(database) as closed:
        pass
    async with asyncpg.create_pool(database, min_size=0) as pool:
        async with pool.acquire() as released:
            pass
        gone: list[asyncpg.Connection] = [closed, cast("asyncpg.Connection", released)]
        for connection in gone:
            with pytest.raises((Unavailable, Invalid)):
                await fleet.store.fence(connection, "g", 1)


async def test_what_cannot_be_an_epoch_is_refused(fleet: Fleet, own: asyncpg.Connection) -> None:
    """A number that no column holds, and a text that none holds, are invalid."""
    for group_id, epoch in (("g", 2**70), ("\0", 1), ("\udc80", 1)):
        with pytest.raises(Invalid):
            async with own.transaction():
                await fleet.store.fence(own, group_id, epoch)


# Against elections.


async def test_an_election_waits_for_a_fenced_transaction(
    fleet: Fleet, own: asyncpg.Connection, database: str
) -> None:
    """What was written under the fence is committed before anybody leads under the next epoch."""
    transaction = own.transaction()
    await transaction.start()
    await fleet.store.fence(own, "g", 1)
    electing = asyncio.create_task(fleet.do(release(fleet)))
    async with connected(database) as other:
        await waiting(other)
        assert await fleet.epoch() == 1
        await own.execute(SETTLE, 1)
        await transaction.commit()
        await electing

        assert await fleet.epoch() == 2
        async with other.transaction():
            await fleet.store.fence(other, "g", 2)
            assert await other.fetchval("SELECT done_by FROM work") == 1


async def test_a_fence_that_waited_for_an_election_is_refused(
    fleet: Fleet, own: asyncpg.Connection, database: str
) -> None:
    """It sees what was elected meanwhile, not what was there when it began to wait."""
    async with connected(database) as blocker, connected(database) as watcher:
        blocking = blocker.transaction()
        await blocking.start()
        await fleet.store.fence(blocker, "g", 1)
        electing = asyncio.create_task(fleet.do(release(fleet)))
        await waiting(watcher)

        async def fenced() -> None:
            async with own.transaction():
                await fleet.store.fence(own, "g", 1)
                await own.execute(SETTLE, 1)

        fencing = asyncio.create_task(fenced())
        await waiting(watcher, 2)
        await blocking.commit()
        await electing

        with pytest.raises(StaleEpoch):
            await fencing
    assert await own.fetchval("SELECT done_by FROM work") is None


Isolation = Literal["repeatable_read", "serializable"]


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_a_transaction_that_looks_back_fails_safe(
    isolation: Isolation, fleet: Fleet, own: asyncpg.Connection
) -> None:
    """A snapshot from before an election cannot pass for the present."""
    old = own.transaction(isolation=isolation)
    await old.start()
    await own.fetchval("SELECT count(*) FROM work")
    await fleet.do(release(fleet))
    with pytest.raises(Conflict):
        await fleet.store.fence(own, "g", 1)
    await old.rollback()

    async with own.transaction(isolation=isolation):
        await fleet.store.fence(own, "g", 2)


async def fence_on(store: PostgresStore, database: str, ready: asyncio.Queue[None]) -> None:
    """Hold the fence a moment, again and again, until it is refused."""
    async with connected(database) as connection:
        while True:
            try:
                async with connection.transaction():
                    await store.fence(connection, "g", 1)
                    ready.put_nowait(None)
                    await asyncio.sleep(0.05)
            except StaleEpoch:
                return


@pytest.mark.parametrize("how", ["release", "elector"])
async def test_a_stream_of_fences_starves_no_election(
    how: str, fleet: Fleet, database: str
) -> None:
    """Twenty that hold the fence in turn, so that it is never free, let an election through."""
    ready: asyncio.Queue[None] = asyncio.Queue()
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(fence_on(fleet.store, database, ready))
        for _ in range(60):
            await ready.get()
        if how == "release":
            await fleet.do(release(fleet))
        else:  # the group becomes due, and an elector finds it although the fence is held
            await fleet.beat("a", ready=False)
            hold = timedelta(seconds=1)
            await until(lambda: due(fleet, hold))
            await fleet.do(Decide())
            await fleet.do(release(fleet))

    assert await fleet.epoch() == 2


async def due(fleet: Fleet, hold: timedelta) -> bool:
    """Whether the group is answered to an elector that asks for work."""
    return "g" in (await fleet.store.due(10, hold=hold)).group_ids


async def test_upkeep_waits_for_no_fence(store: PostgresStore, own: asyncpg.Connection) -> None:
    """While a fenced transaction is open its group is pruned and given out to electors."""
    fleet = Fleet(store)
    await fleet.create("a", settings=Settings(retention=timedelta(microseconds=1)))
    async with own.transaction():
        await store.fence(own, "g", 1)
        await fleet.beat("a", ready=False)

        assert await store.prune() > 0
        found = await store.due(10, hold=timedelta(minutes=1))
        assert found.group_ids == ("g",)
        assert (await store.due(10, hold=timedelta(minutes=1))).group_ids == ()


# Heartbeats, and callers that stop.


async def test_heartbeats_go_on_under_a_fence(fleet: Fleet, own: asyncpg.Connection) -> None:
    """A long transaction of the leader keeps nobody from renewing, the leader least of all."""
    async with own.transaction():
        before = await fleet.store.fence(own, "g", 1)
        for name in "ab":
            await fleet.beat(name)
        after = await fleet.store.fence(own, "g", 1)

    assert after > before


async def test_a_caller_that_stops_is_thrown_out(database: str, own: asyncpg.Connection) -> None:
    """Who stands still in a fenced transaction loses it when its lease is over; others go on."""
    limit = timedelta(seconds=20)
    async with PostgresStore.open(database, lock_timeout=limit, statement_timeout=limit) as store:
        fleet = Fleet(store)
        await fleet.create("a", "b", settings=Settings(lease=timedelta(seconds=1)))
        await own.execute("CREATE TABLE work (id serial, done_by bigint)")
        transaction = own.transaction()
        await transaction.start()
        await store.fence(own, "g", 1)
        await own.execute("INSERT INTO work (done_by) VALUES (1)")

        async def release_once() -> None:  # the caller stands still, and this waits for it
            await fleet.do(release(fleet))

        electing = asyncio.create_task(release_once())
        async with asyncio.timeout(DEADLINE):
            while not electing.done():
                await fleet.beat("b")
                await asyncio.sleep(0.05)
        await electing

        assert await fleet.epoch() == 2
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await transaction.commit()
        async with connected(database) as other:
            assert await other.fetchval("SELECT count(*) FROM work") == 0


async def test_it_may_be_asked_of_several_groups(
    fleet: Fleet, store: PostgresStore, own: asyncpg.Connection
) -> None:
    """One transaction may write for several groups that its caller leads."""
    async with AsyncExitStack() as stack:
        other = Fleet(store, "h")
        await other.create("a")
        await stack.enter_async_context(own.transaction())
        for group_id in ("g", "h"):
            snapshot = await store.load(group_id)
            session = snapshot.runners[0].session
            assert session is not None
            assert await store.fence(own, group_id, 1) == session.term_expires_at


@pytest.mark.parametrize(("wanted", "limit"), [("0", "7s"), ("2s", "2s"), ("1h", "7s")])
async def test_nobody_may_stand_still_for_longer_than_the_shortest_lease(
    wanted: str, limit: str, fleet: Fleet, own: asyncpg.Connection
) -> None:
    """Of all groups that are fenced in one transaction, and of what its caller has asked for."""
    for name, seconds in (("h", 7), ("i", 30)):
        await Fleet(fleet.store, name).create(
            "a", settings=Settings(lease=timedelta(seconds=seconds))
        )
    await own.execute(f"SET idle_in_transaction_session_timeout = '{wanted}'")
    async with own.transaction():
        for name in ("g", "h", "i"):
            await fleet.store.fence(own, name, 1)
        assert await own.fetchval(
            "SELECT current_setting('idle_in_transaction_session_timeout')::interval"
            f" BETWEEN interval '{limit}' - interval '5s' AND interval '{limit}'"
        )
