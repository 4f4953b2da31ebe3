"""A URL that leads to a standby: it shows the past, and nothing is decided by that."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from election_core import Unavailable
from election_postgres import PostgresStore, migrate
from postgres_fleet import Fleet, connected
from postgres_server import PostgresServer

STANDBY = "it is a standby; decisions need the primary"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that the tests of this module make a standby."""
    with PostgresServer() as server:
        yield server


async def demoted(server: PostgresServer) -> None:
    """Have a server come back as a standby, on the same port."""
    await asyncio.to_thread(server.stop)
    (server._data / "standby.signal").touch()
    await asyncio.to_thread(server.start)


async def test_a_store_whose_server_becomes_a_standby_decides_nothing(
    server: PostgresServer,
) -> None:
    """Every call that anything is decided by is refused with a sentence, and so is opening."""
    dsn = await asyncio.to_thread(server.create_database, "seen")
    await migrate(dsn)
    async with PostgresStore.open(dsn) as store:
        fleet = Fleet(store)
        await fleet.create("a", "b")
        await demoted(server)
        for call in (
            store.load("g"),
            fleet.beat("a"),
            store.pulse("g-a", "g-a1"),
            store.due(5, hold=timedelta(seconds=1)),
            store.mark(timedelta(seconds=1)),
            fleet.claim("a", 1),
            store.events("g"),
            store.ready(),
        ):
            with pytest.raises(Unavailable, match=STANDBY):
                await call
        with pytest.raises(Unavailable, match=STANDBY):
            async with store.changes():
                pass
    with pytest.raises(Unavailable, match=STANDBY):
        async with PostgresStore.open(dsn):
            pass

    # Nor where the driver cannot see it, because a pooler is in between.
    async with connected(dsn) as connection:
        for statement in (
            "SELECT election.now(NULL)",
            "SELECT election.beat(NULL, '{g-a}', '{g-a1}', '{NULL}', '{NULL}')",
        ):
            with pytest.raises(
                (asyncpg.ObjectNotInPrerequisiteStateError, asyncpg.ReadOnlySQLTransactionError)
            ):
                await connection.execute(statement)


async def test_of_several_hosts_the_primary_is_found(server: PostgresServer) -> None:
    """A URL may name all servers there are, in any order."""
    with PostgresServer() as primary:
        dsn = await asyncio.to_thread(primary.create_database, "seen")
        await migrate(dsn)
        both = f"postgresql://postgres@127.0.0.1:{server.port},127.0.0.1:{primary.port}/seen"
        async with PostgresStore.open(both) as store:
            await Fleet(store).create("a")
            assert (await store.load("g")).group.epoch == 1
            async with store.changes():
                pass


async def test_a_host_that_is_switched_off_is_passed_over(database: str) -> None:
    """One that does not even refuse takes its share of the time, and no more."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent, ExitStack() as stack:
        place = silent.getsockname()
        for _ in range(4):  # nobody else gets through to it
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(place)
        parts = urlsplit(database)
        user, _, host = parts.netloc.rpartition("@")
        both = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{place[1]},{host}"))
        async with PostgresStore.open(both, connect_timeout=timedelta(seconds=2)) as store:
            await Fleet(store).create("a")
            assert (await store.load("g")).group.epoch == 1
            async with store.changes():
                pass


async def test_a_standby_is_not_migrated(server: PostgresServer) -> None:
    """What there is to do is done at the primary."""
    await demoted(server)
    with pytest.raises(Unavailable, match="connect to the primary"):
        await migrate(server.dsn("postgres"))
