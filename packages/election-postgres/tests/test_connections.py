"""Connections that are few, slow, cut off or refused, and calls that are cancelled."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from election_core import (
    EndedSession,
    Invalid,
    JobSpec,
    Pulse,
    RegisterRunner,
    Unavailable,
)
from election_core.ports import Beat
from election_postgres import PostgresStore, migrate, redacted
from guarded_process import folder_of_user, free_port, remove
from postgres_fixtures import StartPostgres
from postgres_fleet import DEADLINE, Fleet, connected, fresh, until, waiting
from postgres_server import Databases

SHORT = timedelta(milliseconds=300)


@pytest.fixture
async def own(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own."""
    async with connected(database) as connection:
        yield connection


# Few and slow.


async def test_renewals_have_connections_of_their_own(
    database: str, own: asyncpg.Connection
) -> None:
    """When all other connections are taken, calls are told so in time, and renewals go on."""
    async with PostgresStore.open(database, connections=1, connect_timeout=SHORT) as store:
        fleet = Fleet(store)
        await fleet.create("a", "b")
        old = fleet.renewal("b")
        await fleet.reopen("b")
        async with own.transaction():
            await own.fetch("SELECT election.have_alone('g')")
            stuck = asyncio.create_task(fleet.enqueue())
            async with connected(database) as watcher:
                await waiting(watcher)
            with pytest.raises(Unavailable, match="no connection was free in time"):
                await store.load("g")
            never = Beat(runner_id=fleet.runner("b"), session_id="never")
            answers = await store.beat([fleet.renewal("a"), old])
            answers += await store.beat([never])
            await store.mark(timedelta(seconds=1))
            await store.due(1, hold=timedelta(seconds=1))
            assert [type(answer) for answer in answers] == [Pulse, EndedSession, type(None)]
        await stuck


async def test_who_waits_for_a_connection_is_served(database: str) -> None:
    """One connection that is never at rest serves all in turn, those too who had to wait for it."""
    async with PostgresStore.open(database, connections=1) as store:
        served = [0] * 4
        all_served = asyncio.Event()

        async def call(number: int) -> None:
            while not all_served.is_set():
                await store.census()
                served[number] += 1
                if min(served) >= 20:
                    all_served.set()

        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
            for number in range(len(served)):
                tasks.create_task(call(number))


async def test_a_connection_that_ends_while_nobody_uses_it_is_replaced(
    database: str, own: asyncpg.Connection
) -> None:
    """Calls find another one, as soon as the end has been told."""
    others = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )

    async def answered() -> bool:
        try:
            await store.census()
        except Unavailable:
            return False
        return True

    async with PostgresStore.open(database) as store:
        await store.census()
        assert await own.fetch(f"SELECT pg_terminate_backend(pid) FROM ({others}) AS o")
        await until(answered)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"statement_timeout": SHORT}, "a statement took too long"),
        ({"lock_timeout": SHORT}, "a lock was not to be had in time"),
    ],
)
async def test_no_statement_takes_longer_than_it_may(
    limits: dict[str, timedelta], sentence: str, database: str, own: asyncpg.Connection
) -> None:
    """A commit that waits for a lock ends in time, has done nothing, and may be repeated."""
    async with PostgresStore.open(
        database,
        statement_timeout=limits.get("statement_timeout", timedelta(seconds=30)),
        lock_timeout=limits.get("lock_timeout", timedelta(seconds=30)),
    ) as store:
        fleet = Fleet(store)
        await fleet.create("a")
        planned = await fleet.plan(RegisterRunner(runner_id="g-b", name="b"))
        async with own.transaction():
            await own.fetch("SELECT election.share('g')")
            with pytest.raises(Unavailable, match=sentence):
                await fleet.commit(planned)
        assert (await store.load("g")).revision == planned.before.revision
        await fleet.commit(planned)


# Cancelled.


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancelled_call_leaves_nothing(
    steps: int, store: PostgresStore, own: asyncpg.Connection
) -> None:
    """Wherever a call is cancelled, no transaction and no lock is left, and all is or none."""
    fleet = Fleet(store)
    await fleet.create("a")
    await store.mark(timedelta(seconds=1))
    planned = await fleet.plan(RegisterRunner(runner_id="g-b", name="b"))
    calls = [
        fleet.commit(planned),
        fleet.beat("a"),
        fleet.enqueue(),
        fleet.claim("a", 1),
        store.load("g"),
        store.due(5, hold=timedelta(seconds=1)),
        store.prune(),
    ]
    for call in calls:
        task = asyncio.ensure_future(call)
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    async def quiet() -> bool:
        busy = await own.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND state <> 'idle'"
        )
        locks = await own.fetchval(
            "SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid() AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return bool(busy == locks == 0)

    await until(quiet)
    snapshot = await store.load("g")
    written = snapshot.runner("g-b") is not None
    assert snapshot.revision == planned.before.revision + written
    for _ in range(15):  # no connection was lost for good
        await store.load("g")
    await asyncio.gather(*(store.load("g") for _ in range(20)))


# Durable.


async def test_what_is_answered_is_durable_whatever_the_database_says(
    database: str, own: asyncpg.Connection
) -> None:
    """A database that asks for commits that may be lost gets none from here."""
    name = database.rpartition("/")[2]
    await own.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    await own.execute("CREATE TABLE seen (of text, setting text)")
    await own.execute(
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO seen VALUES (tg_table_name, current_setting('synchronous_commit'));"
        " RETURN NULL; END $$"
    )
    for table in ("runner_group", "runner", "job", "claim", "event", "meta", "upkeep"):
        await own.execute(
            f"CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON election.{table}"
            " EXECUTE FUNCTION see()"
        )
    async with PostgresStore.open(database) as store:
        fleet = Fleet(store)
        await fleet.create("a")
        await fleet.enqueue()
        await fleet.claim("a", 1)
        await fleet.beat("a", ready=False)
        await store.due(3, hold=timedelta(seconds=1))
        await store.mark(timedelta(seconds=1))

    rows = await own.fetch("SELECT DISTINCT of, setting FROM seen ORDER BY of")
    assert {row["setting"] for row in rows} == {"on"}
    assert len(rows) == 7


# Refused.


async def opened(dsn: str) -> Exception:
    """The error that opening raises; none of its texts has the password."""
    with pytest.raises((Unavailable, Invalid)) as refused:
        async with PostgresStore.open(dsn, connect_timeout=timedelta(seconds=2)):
            pass
    error = refused.value
    assert "s3cret" not in "".join(traceback.format_exception(error))
    with pytest.raises((Unavailable, Invalid)) as refused:
        await migrate(dsn)
    assert "s3cret" not in "".join(traceback.format_exception(refused.value))
    return error


async def test_a_wrong_password_is_told(start_postgres: StartPostgres) -> None:
    """The sentence says where to look, and does not show what was tried."""
    server = await asyncio.to_thread(start_postgres)
    server.create_role("locked", "right")

    error = await opened(server.dsn(user="locked", password="s3cret"))

    assert "the password is wrong" in str(error)


async def test_the_environment_says_what_it_says_to_libpq(
    start_postgres: StartPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password, a file of them, a service, a socket and several hosts, for each connection."""
    sockets = folder_of_user("sockets-")
    server = await asyncio.to_thread(start_postgres, unix_socket_directories=str(sockets))
    dsn = server.create_role("locked", "s3cret/@?")
    server.execute("ALTER ROLE locked SUPERUSER")
    without = server.dsn(user="locked")
    await migrate(dsn)
    place = f"127.0.0.1:{server.port}:postgres:locked"
    (tmp_path / "pass").write_text(f"{place}:s3cret/@?\n")
    (tmp_path / "pass").chmod(0o600)
    (tmp_path / "services").write_text(
        f"[there]\nhost=127.0.0.1\nport={server.port}\ndbname=postgres\nuser=locked\n"
        "password=s3cret/@?\n"
    )
    here = f"127.0.0.1:{server.port}"
    for url, environment in (
        (dsn, {}),
        (without, {"PGPASSWORD": "s3cret/@?"}),
        (without, {"PGPASSFILE": str(tmp_path / "pass")}),
        (f"{without}?passfile={tmp_path / 'pass'}", {}),
        ("postgresql://?service=there", {"PGSERVICEFILE": str(tmp_path / "services")}),
        (f"postgresql:///postgres?host={sockets}&port={server.port}&user=postgres", {}),
        (dsn.replace(here, f"127.0.0.1:{free_port()},{here}"), {}),
    ):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            async with PostgresStore.open(url) as store:
                await store.mark(timedelta(seconds=1))
                async with store.changes():
                    pass
    for url, sentence in (
        (f"{dsn}?sslmode=require", "it has no TLS where sslmode wants it"),
        (f"{dsn}?sslmode=verify-full", "a file that sslmode needs is missing"),
        (f"{dsn}?channel_binding=require", "a parameter of the URL is neither"),
        (f"{dsn}?connect_timeout=5", "a parameter of the URL is neither"),
    ):
        assert sentence in str(await opened(url))
    remove(sockets)


async def test_a_wrong_place_is_told(postgres: Databases) -> None:
    """User, database, host and port that are not there are each told."""
    for dsn, sentence in (
        (postgres.dsn(user="nobody_here", password="s3cret"), "refuses this user"),
        (postgres.dsn("not_there", user="postgres", password="s3cret"), "does not exist"),
        (f"postgresql://u:s3cret@127.0.0.1:{free_port()}/x", "is the server running"),
        ("postgresql://u:s3cret@host.invalid/x", "is the server running"),
    ):
        assert sentence in str(await opened(dsn))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"N", b"\0" * 64, b""])
async def test_what_is_no_postgres_is_told(answer: bytes) -> None:
    """Another server on that port, whatever it says, is not available."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert isinstance(await opened(f"postgresql://u:s3cret@127.0.0.1:{port}/x"), Unavailable)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:s3cret#x@127.0.0.1/d", "postgresql://u:s3cret/x@127.0.0.1/d",
        "postgresql://u:s3cret?x@127.0.0.1/d", "postgresql://u:s3cret[@127.0.0.1/d",
        "postgresql://u:s3cret@127.0.0.1:99999/d", "postgresql://u:s3cret@127.0.0.1:port/d",
        "mysql://u:s3cret@127.0.0.1/d", "host=127.0.0.1 password=s3cret", "s3cret",
        "postgresql://u:s3cret@127.0.0.1/d?sslmode=bogus", "postgresql://u:s3cret",
        "postgresql://127.0.0.1:1/d?password=s3cret&user=u", "postgresql://u:a@s3cret@127.0.0.1:1/",
    ],
)  # fmt: skip
async def test_no_url_shows_its_password(dsn: str) -> None:
    """However a URL is misspelt, what is said of it has no part of its password."""
    assert "s3cret" not in redacted(dsn)
    await opened(dsn)


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://u:p@h:1/d?x=y", "postgresql://u@h:1/d"),
        ("postgres://h/d", "postgres://h/d"),
        ("postgresql://u@[::1]:5432/d", "postgresql://u@[::1]:5432/d"),
        ("postgresql://u:p@one:1,two:2/d", "postgresql://u@one:1,two:2/d"),
        ("postgresql:///d", "postgresql:///d"),
    ],
)
def test_what_is_shown_of_a_url(dsn: str, shown: str) -> None:
    """Enough to know which database it is."""
    assert redacted(dsn) == shown


async def test_what_cannot_be_kept_is_invalid(store: PostgresStore) -> None:
    """Lone surrogates, NUL and numbers without end are refused, and nothing is written."""
    fleet = Fleet(store)
    await fleet.create("a")
    before = await store.load("g")
    for name in ("\udc80", "\0"):
        with pytest.raises(Invalid):
            await fleet.do(RegisterRunner(runner_id=fresh(), name=name))
        with pytest.raises(Invalid):
            await store.enqueue("g", JobSpec(kind=name), job_id=fresh())
        with pytest.raises(Invalid):
            await store.enqueue("g", JobSpec(kind="k"), job_id=fresh(), idempotency_key=name)
        with pytest.raises(Invalid):
            await store.load(name)
        with pytest.raises(Invalid):
            await store.beat([Beat(runner_id=name, session_id="s")])
    with pytest.raises(Invalid):
        await store.beat([Beat(runner_id="g-a", session_id="g-a1", seq=2**70)])
    with pytest.raises(Invalid):
        await fleet.claim("a", 2**70)
    with pytest.raises(Invalid):
        await store.events("g", after=2**70)

    async with asyncio.timeout(DEADLINE):
        assert (await store.load("g")).revision == before.revision
    assert await store.job_counts() == {}
