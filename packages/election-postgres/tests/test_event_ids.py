"""Events under many writers: who has read up to one has missed none before it."""

from __future__ import annotations

import asyncio

import asyncpg

from election_core import Event, RegisterRunner
from election_postgres import PostgresStore
from postgres_fleet import DEADLINE, Fleet, connected, waiting

APPEND = """
INSERT INTO election.event (id, group_id, happened_at, kind, epoch, reason, actor, details)
VALUES (nextval('election.event_id'), 'slow', now(), 'group-created', 0, '', '', '{}')
"""


async def followed(store: PostgresStore, done: asyncio.Event) -> list[int]:
    """The ids of all events, read as they come; each reading goes on behind the one before."""
    ids: list[int] = []
    while True:
        last = done.is_set()
        found: list[Event] = await store.events(None, after=ids[-1] if ids else 0, limit=7)
        ids += [event.id for event in found]
        if last and not found:
            return ids


async def slowly(connection: asyncpg.Connection) -> None:
    """Append an event in a transaction that takes its time, as a commit that is held up does."""
    async with connection.transaction():
        await connection.execute("SELECT election.begin_events()")
        await asyncio.sleep(0.01)
        await connection.execute(APPEND)
        await asyncio.sleep(0.02)


async def test_a_commit_under_way_hides_what_comes_behind_it(
    store: PostgresStore, database: str
) -> None:
    """An event is shown once no event with a lower id can come any more."""
    fleet = Fleet(store)
    await fleet.create()
    before = await store.events(None)
    async with connected(database) as slow:
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute("SELECT election.begin_events()")
        await slow.execute(APPEND)
        await fleet.do(RegisterRunner(runner_id="a", name="a"))

        assert await store.events(None) == before
        await transaction.commit()
        after = await store.events(None)

    assert [event.id for event in after] == [1, 2, 3]
    assert [event.group_id for event in after] == ["g", "slow", "g"]


async def test_a_commit_that_fails_leaves_a_gap_and_no_wait(
    store: PostgresStore, database: str
) -> None:
    """An id that was taken and not used holds nobody up."""
    fleet = Fleet(store)
    await fleet.create()
    async with connected(database) as failing:
        transaction = failing.transaction()
        await transaction.start()
        await failing.execute("SELECT election.begin_events()")
        await failing.execute(APPEND)
        await fleet.do(RegisterRunner(runner_id="a", name="a"))
        await transaction.rollback()

    assert [event.id for event in await store.events(None)] == [1, 3]


async def test_no_reader_sees_a_gap_fill_later(store: PostgresStore, database: str) -> None:
    """Readers that follow many committers, some of them slow, read every event once."""
    fleets = [Fleet(store, name) for name in ("g", "h", "i", "j")]
    for fleet in fleets:
        await fleet.create()
    done = asyncio.Event()

    async def commits(fleet: Fleet) -> None:
        for number in range(25):
            await fleet.do(RegisterRunner(runner_id=fleet.runner(str(number)), name=str(number)))

    async def delays() -> None:
        async with connected(database) as connection:
            for _ in range(8):
                await slowly(connection)

    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        readers = [group.create_task(followed(store, done)) for _ in range(2)]
        writers = [group.create_task(commits(fleet)) for fleet in fleets]
        writers += [group.create_task(delays()) for _ in range(3)]
        await asyncio.gather(*writers)
        done.set()

    async with connected(database) as connection:
        rows = await connection.fetch("SELECT id FROM election.event ORDER BY id")
    everything = [row["id"] for row in rows]
    assert len(everything) == 4 + 4 * 25 + 3 * 8
    for reader in readers:
        assert reader.result() == everything


async def test_a_commit_announces_its_own_events(store: PostgresStore, database: str) -> None:
    """A commit that has taken its ids and is held up hides those of others behind it."""
    one, two = Fleet(store, "g"), Fleet(store, "h")
    await one.create()
    await two.create()
    async with connected(database) as own, connected(database) as watcher:
        transaction = own.transaction()
        await transaction.start()
        await own.execute(APPEND.replace("nextval('election.event_id')", "3"))
        held = asyncio.create_task(one.do(RegisterRunner(runner_id="a", name="a")))
        await waiting(watcher)
        await two.do(RegisterRunner(runner_id="b", name="b"))

        assert [event.id for event in await store.events(None)] == [1, 2]
        await transaction.rollback()
        await held

    assert [event.id for event in await store.events(None)] == [1, 2, 3, 4]
