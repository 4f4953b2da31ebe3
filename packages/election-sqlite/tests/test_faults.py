"""Faults of disks and neighbours: an error that names the file, nothing lost, no lock left."""

# ruff: noqa: ASYNC240 - a test may block its loop

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from election_core import (
    ConflictError,
    InternalError,
    Invalid,
    JobSpec,
    OutcomeUnknown,
    RegisterRunner,
    SchemaMismatch,
    TaintRunner,
    Unavailable,
)
from election_core.ports import Beat
from election_sqlite import SqliteStore
from election_sqlite._errors import mapped, outcome_of_commit
from sqlite_clock import ManualClock
from sqlite_fleet import Fleet


def sqlite_error(code: int) -> sqlite3.Error:
    """An error as the driver raises it."""
    error = sqlite3.OperationalError("in words that nobody reads")
    error.sqlite_errorcode = code
    return error


async def fill(store: SqliteStore) -> int:
    """Enqueue jobs until there is no room; how many were accepted."""
    accepted = 0

    async def enqueue() -> None:
        nonlocal accepted
        while accepted < 10_000:
            spec = JobSpec(kind="fill", payload="x" * 60_000)
            await store.enqueue("g", spec, job_id=f"fill-{accepted}")
            accepted += 1

    with pytest.raises(Unavailable, match="disk is full") as caught:
        await enqueue()
    assert type(caught.value) is Unavailable
    assert str(store.path) in caught.value.detail
    return accepted


async def check_after_full_disk(fleet: Fleet, accepted: int) -> None:
    """What was accepted is there, and what takes no room goes on."""
    store = fleet.store
    assert sum((await store.job_counts()).values()) == accepted
    await fleet.beat("a")
    assert (await store.load("g")).group.epoch == 1


async def test_full_disk(store: SqliteStore) -> None:
    """When there is no room left the call is refused, and what was accepted before stays."""
    fleet = Fleet(store)
    await fleet.create()
    await fleet.join("a")
    await store._writer.run(lambda t: t.connection.execute("PRAGMA max_page_count=400").fetchall())

    accepted = await fill(store)

    await check_after_full_disk(fleet, accepted)
    await store._writer.run(
        lambda t: t.connection.execute("PRAGMA max_page_count=100000").fetchall()
    )
    await fleet.enqueue("more")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if not done or done.returncode:
        pytest.skip("mounting a small file system needs root; test_full_disk does it without")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_full_disk_for_real(small_disk: Path, clock: ManualClock) -> None:
    """On a file system without room the same holds, and after a restart too."""
    path = small_disk / "e.db"
    async with SqliteStore.open(path, clock=clock) as store:
        fleet = Fleet(store)
        await fleet.create()
        await fleet.join("a")
        accepted = await fill(store)
        assert sum((await store.job_counts()).values()) == accepted
        with pytest.raises(Unavailable, match="disk is full"):
            await store.backup(small_disk / "copy.db")
        left = {file.name for file in small_disk.iterdir()}
        assert left <= {"e.db", "e.db-wal", "e.db-shm", "e.db.lock", "e.db.high-water"}
    async with SqliteStore.open(path, clock=clock) as store:
        assert sum((await store.job_counts()).values()) == accepted
        assert (await store.load("g")).group.epoch == 1


async def test_neighbours_long_transaction(path: Path, clock: ManualClock) -> None:
    """A caller waits for another connection's transaction, then is told so; nothing took effect."""
    patience = timedelta(milliseconds=20)
    async with SqliteStore.open(path, busy_timeout=patience, clock=clock) as store:
        fleet = Fleet(store)
        await fleet.create()
        async with store.connect() as connection:
            await connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="another connection has locked it"):
                await fleet.enqueue("job")
            assert await store.job_counts() == {}
            await connection.execute("ROLLBACK")
        await fleet.enqueue("job")
        assert await store.job_counts() == {"queued": 1}


async def test_reads_go_on_during_a_neighbours_transaction(store: SqliteStore) -> None:
    """While another connection writes, everything can be read."""
    fleet = Fleet(store)
    await fleet.create()
    await fleet.join("a")
    async with store.connect() as connection:
        await connection.execute("BEGIN IMMEDIATE")
        await store.load("g")
        await store.pulse("a", "a1")
        await store.due(10)
        await store.groups()
        await connection.execute("ROLLBACK")


async def test_name_taken_meanwhile(store: SqliteStore) -> None:
    """What the schema forbids is a conflict, and nothing of the change is written."""
    one, other = Fleet(store, "g"), Fleet(store, "h")
    await one.create()
    await other.create()
    await one.join("a")
    before = await store.load("h")

    with pytest.raises(ConflictError) as caught:
        await store._writer.run(
            lambda t: t.connection.execute(
                "INSERT INTO election_runner SELECT * FROM election_runner WHERE id = 'a'"
            ).fetchall()
        )

    assert str(store.path) in caught.value.detail
    assert await store.load("h") == before


async def test_fault_of_the_program_is_no_drivers_error(store: SqliteStore) -> None:
    """A statement that SQLite refuses is an internal error, and the store goes on."""
    with pytest.raises(InternalError):
        await store._writer.run(lambda t: t.connection.execute("SELECT nothing").fetchall())
    await store.ready()


@pytest.mark.parametrize("text", ["\ud800", "a\0b"])
async def test_text_that_cannot_be_read_back_is_refused(store: SqliteStore, text: str) -> None:
    """No text is accepted that would keep its group from being loaded."""
    fleet = Fleet(store)
    await fleet.create()
    await fleet.join("a")
    command = await fleet.plan(RegisterRunner(runner_id="b", name="b", labels={"k": text}))

    with pytest.raises(Invalid):
        await store.commit(
            command.changes, expected_revision=command.before.revision, commit_id="x"
        )

    await fleet.do(TaintRunner(runner_id="a"))


async def test_number_that_is_too_large_is_refused(store: SqliteStore) -> None:
    """No number is accepted that a column cannot hold."""
    fleet = Fleet(store)
    await fleet.create()

    with pytest.raises(Invalid):
        await fleet.enqueue("job", priority=2**70)
    assert await store.job_counts() == {}


async def test_exception_inside_a_transaction_leaves_none_open(store: SqliteStore) -> None:
    """Whatever goes wrong inside, the transaction is rolled back."""
    fleet = Fleet(store)
    await fleet.create()

    def fail(transaction: object) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        await store._writer.run(fail)
    assert not await store._reader.run(lambda t: store._writer._connection.in_transaction)
    await fleet.join("a")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, Unavailable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Unavailable),
        (sqlite3.SQLITE_LOCKED, Unavailable),
        (sqlite3.SQLITE_READONLY, Unavailable),
        (sqlite3.SQLITE_READONLY_DBMOVED, Unavailable),
        (sqlite3.SQLITE_IOERR_READ, Unavailable),
        (sqlite3.SQLITE_IOERR_FSYNC, Unavailable),
        (sqlite3.SQLITE_CORRUPT_INDEX, Unavailable),
        (sqlite3.SQLITE_CANTOPEN, Unavailable),
        (sqlite3.SQLITE_FULL, Unavailable),
        (sqlite3.SQLITE_NOTADB, SchemaMismatch),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, ConflictError),
        (sqlite3.SQLITE_TOOBIG, Invalid),
        (sqlite3.SQLITE_ERROR, InternalError),
        (sqlite3.SQLITE_MISUSE, InternalError),
    ],
)
def test_errors_are_told_by_their_codes(code: int, kind: type[Exception]) -> None:
    """Each of SQLite's codes, extended ones included, has one error of the port."""
    with pytest.raises(kind) as caught, mapped(Path("some.db")):
        raise sqlite_error(code)
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, sqlite3.Error)


def test_other_exceptions_pass() -> None:
    """A bug is not dressed up as a fault of the disk."""
    with pytest.raises(ZeroDivisionError), mapped(Path("some.db")):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknown),
        (sqlite3.SQLITE_IOERR_WRITE, OutcomeUnknown),
        (sqlite3.SQLITE_FULL, Unavailable),
        (sqlite3.SQLITE_BUSY, Unavailable),
    ],
)
def test_commit_that_the_disk_broke_is_unknown(code: int, kind: type[Exception]) -> None:
    """Only an error of the disk during a commit leaves its outcome open."""
    with pytest.raises(Unavailable) as caught, mapped(Path("some.db")):
        raise outcome_of_commit(sqlite_error(code), Path("some.db"))
    assert type(caught.value) is kind


async def test_storm_of_cancellations_and_calls(store: SqliteStore) -> None:
    """Calls that are cancelled at any time leave no transaction and no lock behind."""
    fleet = Fleet(store)
    await fleet.create()
    await fleet.join("a", "b")
    for steps in range(60):
        number = f"job-{steps}"
        calls = [
            store.enqueue("g", JobSpec(kind="work"), job_id=number),
            store.beat([Beat(runner_id="a", session_id="a1")]),
            store.claim("a", "a1", claim_id=number, epoch=1, limit=1, tokens=[number]),
            store.load("g"),
            store.mark(timedelta(seconds=1)),
            store.prune(),
        ]
        tasks = [asyncio.ensure_future(call) for call in calls]
        for _ in range(steps % 15):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        # Another connection gets the lock, as soon as what had begun is over.
        await store.ready()
        async with store.connect() as connection:
            await connection.execute("BEGIN IMMEDIATE")
            await connection.execute("ROLLBACK")
    counts = await store.job_counts()
    records = (await store.jobs("g", limit=500)).items
    assert sum(counts.values()) == len(records)
    assert all((job.claimed_by == "a") == (job.attempts == 1) for job in records)
