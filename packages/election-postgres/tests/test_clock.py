"""The store's time goes on, whatever the server's clock does."""

from __future__ import annotations

from datetime import timedelta

from election_postgres import PostgresStore
from postgres_fleet import Fleet, connected, shift_clock

TICK = timedelta(seconds=1)


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
