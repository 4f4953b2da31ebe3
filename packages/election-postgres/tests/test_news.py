"""News across replicas: what one announces, the others hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from election_core import Unavailable
from election_core.ports import Topic
from election_postgres import PostgresStore
from postgres_fleet import DEADLINE, connected, until

LISTENERS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN%'"
)


@pytest.fixture
async def other(database: str) -> AsyncIterator[PostgresStore]:
    """Another replica's store over the same database."""
    async with PostgresStore.open(database) as opened:
        yield opened


@pytest.fixture
async def own(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own."""
    async with connected(database) as connection:
        yield connection


async def heard(changes: AsyncIterator[frozenset[Topic] | None]) -> frozenset[Topic] | None:
    """What comes next."""
    async with asyncio.timeout(DEADLINE):
        return await anext(changes)


def only(*topics: Topic) -> frozenset[Topic] | None:
    """These topics and no more."""
    return frozenset(topics)


END: Topic = ("events", "the end")
NAMES = ["g", "", "*", "ä", "😀", '"', "a b", "x" * 200]


async def test_others_hear_what_is_announced(store: PostgresStore, other: PostgresStore) -> None:
    """All kinds of topics arrive, of any name, and nobody hears its own."""
    topics = frozenset[Topic](
        topic
        for name in NAMES
        for topic in (("runner", name), ("jobs", name), ("events", name), ("tokens", name))
    )
    async with store.changes() as one, other.changes() as two, store.changes() as third:
        await store.announce([END])
        await other.announce(topics)
        await other.announce([END])
        await store.announce([])

        assert await heard(one) == topics
        assert await heard(two) == only(END)
        assert await heard(third) == topics
        assert await heard(one) == only(END)


async def test_many_topics_come_in_parts(store: PostgresStore, other: PostgresStore) -> None:
    """What is too long for one notification comes in several, and nothing is missing."""
    topics = frozenset[Topic](("runner", f"{number:06}-{'x' * 40}") for number in range(600))
    async with store.changes() as changes:
        await other.announce(topics)
        got: set[Topic] = set()
        parts = 0
        while got != topics:
            part = await heard(changes)
            assert part is not None
            got |= part
            parts += 1
            assert got <= topics
    assert parts > 1


async def test_too_many_topics_are_everything(store: PostgresStore, other: PostgresStore) -> None:
    """A flood is one notification, which says to look at everything."""
    async with store.changes() as changes:
        await other.announce([("runner", "é" * 100 + str(number)) for number in range(5000)])
        await other.announce([END])

        assert await heard(changes) is None
        assert await heard(changes) == only(END)


@pytest.mark.parametrize(
    "payload",
    [
        "", "x", "1", "null", "{}", "[]", '["only-a-sender"]', '"text"', "[[[[", '["a", 1, null]',
        '["a", ["r", "x"]]', '["a", {"r": 1}]', '["a", "q-of-a-newer-version"]', '["a", ""]',
        "[" * 3000, '{"0": 1}', "true",
    ],
)  # fmt: skip
async def test_garbage_is_ignored(
    payload: str, store: PostgresStore, other: PostgresStore, own: asyncpg.Connection
) -> None:
    """Whatever others write on the channel, listening goes on."""
    async with store.changes() as changes:
        await own.execute("SELECT pg_notify('election', $1)", payload)
        await other.announce([END])

        assert await heard(changes) == only(END)


async def test_a_lost_connection_is_told_and_replaced(
    store: PostgresStore, other: PostgresStore, own: asyncpg.Connection
) -> None:
    """Who listens learns that it cannot any more, and listening anew works."""
    async with store.changes() as changes:
        await other.announce([END])
        assert await heard(changes) == only(END)
        waits = asyncio.create_task(heard(changes))
        for row in await own.fetch(LISTENERS):
            await own.execute("SELECT pg_terminate_backend($1)", row["pid"])
        with pytest.raises(Unavailable, match="connection that listens was lost"):
            await waits

    async with store.changes() as changes:
        await other.announce([END])
        assert await heard(changes) == only(END)


async def test_listening_leaves_nothing_behind(
    store: PostgresStore, own: asyncpg.Connection
) -> None:
    """At the end of the block, also by cancellation, the connection is closed."""

    async def listen() -> None:
        async with store.changes() as changes:
            await heard(changes)

    listening = asyncio.create_task(listen())

    async def listens() -> bool:
        return bool(await own.fetch(LISTENERS))

    await until(listens)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening

    async def ended() -> bool:
        return not await own.fetch(LISTENERS)

    await until(ended)


async def test_a_database_is_alone(store: PostgresStore, empty_database: str) -> None:
    """What is said in another database of the server is not heard."""
    async with store.changes() as changes, connected(empty_database) as elsewhere:
        await elsewhere.execute("SELECT pg_notify('election', '[\"x\", \"*\"]')")
        async with connected(store._listen_dsn or "") as here:
            await here.execute("SELECT pg_notify('election', '[\"x\", \"ehere\"]')")

        assert await heard(changes) == only(("events", "here"))
