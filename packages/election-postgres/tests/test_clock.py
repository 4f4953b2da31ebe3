"""The store's time goes on, whatever the server's clock does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta

import asyncpg
import pytest

from election_core import JobOutcome, LeaseExpired, RegisterRunner, Settings, Settlement
from election_core.ports import Settle
from election_postgres import PostgresStore
from postgres_fleet import Fleet, connected, shift_clock, until, waiting

TICK = timedelta(seconds=1)


async def test_times_are_exact(store: PostgresStore, database: str) -> None:
    """A time is to the microsecond the one that the database has, and goes back to it as that."""
    fleet = Fleet(store)
    await fleet.create("a")
    (job_id,) = await fleet.enqueue()
    async with connected(database) as own:
        kept = await own.fetchval("SELECT created_at FROM election.job WHERE id = $1", job_id)
        assert (await store.job(job_id)).created_at == kept
        await shift_clock(own, -600)
        seen = (await store.load("g")).at
        assert seen >= kept
        assert (await store.load("g")).at == seen  # as it was sent, for the clock is behind it


async def test_a_clock_that_is_set_back_takes_nobody_back(
    store: PostgresStore, database: str
) -> None:
    """Who has seen a time sees no earlier one, at once; and after the next mark nobody does."""
    fleet = Fleet(store)
    await fleet.create("a")
    async with connected(database) as own, PostgresStore.open(database) as other:
        await shift_clock(own, 600)
        first = await store.mark(TICK)
        seen = (await store.load("g")).at
        assert seen >= first.at
        await shift_clock(own, -600)

        times = [(await store.load("g")).at for _ in range(3)]
        assert times == sorted([seen, *times])[1:]
        assert (await other.load("g")).at >= first.at  # never before the mark

        again = await store.mark(TICK)
        assert again.at >= seen
        later = (await other.load("g")).at
        assert later > again.at  # it goes on, from there
        assert (await other.load("g")).at > later
        async with PostgresStore.open(database) as fresh:
            assert (await fresh.load("g")).at > later


async def test_a_lease_is_not_lengthened_by_a_clock_that_is_set_back(
    store: PostgresStore, database: str
) -> None:
    """A renewal neither shortens a lease nor gives more than one from the store's time."""
    fleet = Fleet(store)
    await fleet.create("a")
    async with connected(database) as own:
        await store.mark(TICK)
        before = (await store.load("g")).runners[0].session
        await shift_clock(own, -3600)
        await fleet.beat("a")
        snapshot = await store.load("g")
        after = snapshot.runners[0].session

    assert before is not None
    assert after is not None
    lease = snapshot.group.settings.lease
    assert before.lease_expires_at <= after.lease_expires_at <= snapshot.at + lease


async def test_time_goes_on_within_a_transaction(store: PostgresStore, database: str) -> None:
    """A caller whose lease runs out after its transaction has begun does not pass the fence."""
    fleet = Fleet(store)
    await fleet.create("a", settings=Settings(lease=timedelta(seconds=1)))
    async with connected(database) as own:
        transaction = own.transaction()
        await transaction.start()
        begun = await own.fetchval("SELECT now()")

        async def over() -> bool:
            return bool((await store.load("g")).at > begun + timedelta(seconds=1))

        await until(over)
        with pytest.raises(LeaseExpired):
            await store.fence(own, "g", 1)
        await transaction.rollback()


async def claimed(fleet: Fleet, own: asyncpg.Connection) -> None:
    """A claim of the leader's is refused: its lease ran out while it waited."""
    with pytest.raises(LeaseExpired):
        await fleet.claim("a", 1)


async def settled(fleet: Fleet, own: asyncpg.Connection) -> None:
    """So is a settlement."""
    row = await own.fetchrow("SELECT id, claim_token FROM election.job WHERE state = 'running'")
    assert row is not None
    done = Settlement(outcome=JobOutcome.SUCCEEDED)
    (answer,) = await fleet.store.settle(
        [Settle(job_id=row["id"], token=row["claim_token"], settlement=done)]
    )
    assert isinstance(answer, LeaseExpired)


async def fenced(fleet: Fleet, own: asyncpg.Connection) -> None:
    """So is a fence."""
    with pytest.raises(LeaseExpired):
        async with own.transaction():
            await fleet.store.fence(own, "g", 1)


async def committed(fleet: Fleet, own: asyncpg.Connection) -> None:
    """A commit is of the time at which it is made, and not of one that others have passed."""
    planned = await fleet.plan(RegisterRunner(runner_id="g-c", name="c"))
    done = await fleet.commit(planned)
    assert done.at >= planned.before.at + timedelta(minutes=1)


@pytest.mark.parametrize("call", [claimed, settled, fenced, committed])
async def test_time_is_read_once_nothing_is_waited_for(
    call: Callable[[Fleet, asyncpg.Connection], Coroutine[None, None, None]],
    store: PostgresStore,
    database: str,
) -> None:
    """Who waited for a lock is judged by the time of then, not by that at which it began."""
    fleet = Fleet(store)
    await fleet.create("a", "b")
    await fleet.enqueue(2)
    await fleet.claim("a", 1)
    async with connected(database) as blocker, connected(database) as own:
        async with blocker.transaction():
            await blocker.fetch("SELECT election.have_alone('g')")
            calling = asyncio.create_task(call(fleet, own))
            await waiting(blocker)
            async with connected(database) as other:
                await shift_clock(other, 60)
        await calling
