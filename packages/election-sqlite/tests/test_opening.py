"""Opening a database: made, migrated or refused with the file's name and what to do, untouched."""

# ruff: noqa: ASYNC220, ASYNC240 - a test may block its loop

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from election_core import ElectionError, InternalError, NotFound, SchemaMismatch, Unavailable
from election_sqlite import SqliteStore, _schema
from election_sqlite._schema import APPLICATION_ID, SCHEMA_VERSION
from sqlite_clock import ManualClock
from sqlite_fleet import Fleet

_HOLDER = """
import asyncio, sys
from election_sqlite import SqliteStore

async def main():
    async with SqliteStore.open(sys.argv[1]):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


def run_sql(path: Path, *statements: str) -> None:
    """Change a database behind the store's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def pragma(path: Path, name: str) -> object:
    """A property of a database file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


async def refusal(path: Path, kind: type[ElectionError]) -> str:
    """What opening is refused with; it names the file."""
    with pytest.raises(kind) as caught:
        async with SqliteStore.open(path):
            pass
    assert type(caught.value) is kind
    assert str(path) in caught.value.detail
    return caught.value.detail


async def test_new_file_is_made(path: Path) -> None:
    """A file that does not exist becomes a database of this version, in the safest mode."""
    async with SqliteStore.open(path) as store:
        await store.ready()
        with pytest.raises(NotFound):
            await store.load("g")

    assert pragma(path, "application_id") == APPLICATION_ID
    assert pragma(path, "user_version") == SCHEMA_VERSION
    assert pragma(path, "journal_mode") == "wal"


async def test_what_was_committed_is_there_again(path: Path, clock: ManualClock) -> None:
    """Closing and opening a store changes nothing that it holds."""
    async with SqliteStore.open(path, clock=clock) as store:
        fleet = Fleet(store)
        await fleet.create()
        await fleet.join("a", "b")
        before = await store.load("g")
    async with SqliteStore.open(path, clock=clock) as store:
        assert await store.load("g") == before


async def test_every_connection_syncs_fully(store: SqliteStore) -> None:
    """A commit is on the disk before it is answered, on connections for embedders too."""
    seen = await store._writer.run(
        lambda t: (
            t.connection.execute("PRAGMA synchronous").fetchone()[0],
            t.connection.execute("PRAGMA foreign_keys").fetchone()[0],
        )
    )
    assert seen == (2, 1)
    async with store.connect() as connection:
        for name, value in (("synchronous", 2), ("foreign_keys", 1)):
            (row,) = await connection.execute_fetchall(f"PRAGMA {name}")
            assert row[0] == value


async def test_newer_schema_is_refused(path: Path) -> None:
    """A database of a later version is refused, untouched, and says which version it is."""
    async with SqliteStore.open(path):
        pass
    run_sql(path, f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    before = path.read_bytes()

    detail = await refusal(path, SchemaMismatch)

    assert f"version {SCHEMA_VERSION + 1}" in detail
    assert "newer election-sqlite" in detail
    assert path.read_bytes() == before


async def test_what_is_no_database_is_refused(path: Path) -> None:
    """A file that is not a database is refused, untouched."""
    path.write_text("this is a shopping list, and a long one at that\n" * 100)
    before = path.read_bytes()

    assert "not an SQLite database" in await refusal(path, SchemaMismatch)

    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE bookmarks (url TEXT)", "PRAGMA application_id=7", "PRAGMA user_version=7"],
)
async def test_database_of_another_application_is_refused(path: Path, statement: str) -> None:
    """A database that something else made is refused, untouched."""
    run_sql(path, statement)
    before = path.read_bytes()

    assert "another application" in await refusal(path, SchemaMismatch)

    assert path.read_bytes() == before


async def test_older_schema_is_migrated(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database of an earlier version becomes one of this, with all it holds, in one step."""
    async with SqliteStore.open(path, clock=clock) as store:
        await Fleet(store).create()
        before = await store.load("g")
    scripts = _schema._migrations()
    later = "-- Two; statements\nCREATE TABLE election_later (x TEXT);\nDROP TABLE election_later"
    monkeypatch.setattr(_schema, "SCHEMA_VERSION", SCHEMA_VERSION + 1)

    monkeypatch.setattr(_schema, "_migrations", lambda: (*scripts, f"{later};\nNONSENSE;"))
    await refusal(path, InternalError)
    assert pragma(path, "user_version") == SCHEMA_VERSION
    run_sql(path, "CREATE TABLE election_later (x TEXT)", "DROP TABLE election_later")

    monkeypatch.setattr(_schema, "_migrations", lambda: (*scripts, later))
    async with SqliteStore.open(path, clock=clock) as store:
        assert await store.load("g") == before
    assert pragma(path, "user_version") == SCHEMA_VERSION + 1


def test_migrations_are_numbered() -> None:
    """Each migration's file has the number of the version that it makes."""
    names = sorted(file.name for file in (files("election_sqlite") / "migrations").iterdir())
    assert [int(name[:4]) for name in names] == list(range(1, SCHEMA_VERSION + 1))


async def test_too_old_sqlite_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that lacks what the schema needs is named, before anything is made."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(SchemaMismatch, match="too old"):
        async with SqliteStore.open(path):
            pass


async def test_own_tables_live_beside_the_store(path: Path) -> None:
    """A program that embeds the store may have tables in the same file."""
    async with SqliteStore.open(path) as store, store.connect() as connection:
        await connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY)")
    async with SqliteStore.open(path) as store, store.connect() as connection:
        await connection.execute("INSERT INTO jobs DEFAULT VALUES")
        await store.ready()
        names = await connection.execute_fetchall(
            "SELECT name FROM sqlite_schema"
            " WHERE name NOT GLOB 'election_*' AND name NOT GLOB 'sqlite_*'"
        )
    assert [row[0] for row in names] == ["jobs"]


async def test_missing_folder_is_named(tmp_path: Path) -> None:
    """A folder that does not exist is not made: the path may be a mistake."""
    assert "does not exist; create" in await refusal(tmp_path / "no" / "e.db", Unavailable)


async def test_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    """A path through a file is refused."""
    (tmp_path / "file").write_text("")

    assert "create" in await refusal(tmp_path / "file" / "e.db", Unavailable)


async def test_folder_in_place_of_the_file_is_named(path: Path) -> None:
    """A folder of the database's name is refused."""
    path.mkdir()

    assert "cannot be opened" in await refusal(path, Unavailable)


@pytest.fixture
def unwritable_folder() -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder in which this process may read only, and the way to become that process."""
    # Not below the folder of the tests, into which another user may not look.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        user = os.geteuid()

        def enter() -> None:
            folder.chmod(0o555)
            if user == 0:  # whom no mode stops
                os.seteuid(65534)

        yield folder, enter
        os.seteuid(user)
        folder.chmod(0o755)


async def test_read_only_folder_is_named(
    unwritable_folder: tuple[Path, Callable[[], None]],
) -> None:
    """A folder that cannot be written is refused, whether or not the file is in it."""
    folder, enter = unwritable_folder
    async with SqliteStore.open(folder / "old.db"):
        pass
    (folder / "old.db").chmod(0o644)
    old = (folder / "old.db").read_bytes()
    enter()

    for name in ("new.db", "old.db"):
        with pytest.raises(Unavailable, match=r"Permission denied; check the folder") as caught:
            async with SqliteStore.open(folder / name):
                pass
        assert str(folder / name) in caught.value.detail
    assert (folder / "old.db").read_bytes() == old


async def test_read_only_file_is_named(
    unwritable_folder: tuple[Path, Callable[[], None]],
) -> None:
    """A database that cannot be written is refused, also in a folder that can."""
    folder, enter = unwritable_folder
    path = folder / "e.db"
    async with SqliteStore.open(path):
        pass
    enter()
    os.seteuid(os.getuid())
    path.chmod(0o444)
    folder.chmod(0o777)
    (folder / "e.db.lock").chmod(0o666)
    if os.geteuid() == 0:
        os.seteuid(65534)

    assert "cannot be written" in await refusal(path, Unavailable)


async def test_second_process_is_refused_by_name(path: Path) -> None:
    """A second process is told who has the file, and may have it once that one is gone."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == "open\n"

        detail = await refusal(path, Unavailable)

        assert re.search(rf"process {holder.pid} on \S+ has it open", detail)
        holder.kill()
        holder.wait()
    async with SqliteStore.open(path):
        pass


async def test_second_store_in_one_process_is_refused(path: Path, store: SqliteStore) -> None:
    """Two stores of one process would not know of each other's renewals either."""
    assert f"process {os.getpid()}" in await refusal(path, Unavailable)


async def test_other_name_of_the_file_is_the_same_lock(path: Path, store: SqliteStore) -> None:
    """A symbolic link to an open database does not get around the lock."""
    link = path.with_name("link.db")
    link.symlink_to(path)

    with pytest.raises(Unavailable, match="has it open"):
        async with SqliteStore.open(link):
            pass


async def test_lock_file_without_a_name_still_locks(path: Path, store: SqliteStore) -> None:
    """What the lock file says is a courtesy; the lock holds without."""
    path.with_name("election.db.lock").write_text("")

    assert "another process has it open" in await refusal(path, Unavailable)


async def test_locked_file_says_so(path: Path) -> None:
    """A database that another program keeps locked is unavailable after the busy timeout."""
    async with SqliteStore.open(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="another connection has locked it"):
            async with SqliteStore.open(path, busy_timeout=timedelta(milliseconds=10)):
                pass


async def test_damaged_database_says_so(path: Path) -> None:
    """A database whose pages are damaged tells to restore a backup."""
    async with SqliteStore.open(path):
        pass
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)

    assert "restore a backup" in await refusal(path, Unavailable)


async def test_cancelled_opening_leaves_nothing_open(path: Path) -> None:
    """An opening that is cancelled at any step leaves neither lock nor connection behind."""
    for steps in range(12):
        opening = SqliteStore.open(path)
        task = asyncio.ensure_future(opening.__aenter__())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            await opening.__aexit__(None, None, None)
        async with SqliteStore.open(path) as store:
            await store.ready()


async def test_closed_store_says_so(path: Path) -> None:
    """A call of a store that was closed is refused, not left waiting."""
    async with SqliteStore.open(path) as store:
        pass

    with pytest.raises(Unavailable, match="closed"):
        await store.load("g")
    with pytest.raises(Unavailable, match="closed"):
        await store.mark(timedelta(seconds=1))


@pytest.mark.parametrize("replaced", [False, True])
async def test_file_replaced_while_open_is_noticed(
    path: Path, store: SqliteStore, replaced: bool
) -> None:
    """Once the file has another content under its name, what is written would be lost."""
    await store.mark(timedelta(seconds=1))
    path.rename(path.with_name("moved.db"))
    if replaced:
        shutil.copy(path.with_name("moved.db"), path)

    for call in (store.mark(timedelta(seconds=1)), store.ready()):
        with pytest.raises(Unavailable, match="moved, deleted or replaced"):
            await call


async def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    """Nobody else can read digests of tokens or what jobs carry, in the file or in its log."""
    path = tmp_path / "election.db"
    async with SqliteStore.open(path) as store:
        await store.mark(timedelta(seconds=1))
        modes = {file.name: file.stat().st_mode & 0o077 for file in tmp_path.glob("election.db*")}
    assert modes["election.db"] == modes["election.db-wal"] == 0
