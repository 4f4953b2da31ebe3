"""The fence: inside the caller's transaction, only the leader of the current epoch may write."""

# ruff: noqa: ASYNC240 - a test may block its loop

from __future__ import annotations

import asyncio
import sqlite3
from datetime import timedelta
from pathlib import Path

import aiosqlite
import pytest

from election_core import (
    Decide,
    DrainRunner,
    Invalid,
    LeaseExpired,
    NotFound,
    Release,
    StaleEpoch,
    Unavailable,
)
from election_sqlite import SqliteStore
from sqlite_clock import NOW, ManualClock
from sqlite_fleet import Fleet


@pytest.fixture
async def fleet(store: SqliteStore) -> Fleet:
    """A group led by runner a under epoch 1, with b standing by."""
    made = Fleet(store)
    await made.create()
    await made.join("a", "b")
    return made


async def ask(fleet: Fleet, epoch: int, group_id: str = "g") -> object:
    """Ask the fence in a transaction of its own."""
    async with fleet.store.connect() as connection:
        await connection.execute("BEGIN IMMEDIATE")
        return await fleet.store.fence(connection, group_id, epoch)


async def test_leader_passes(fleet: Fleet) -> None:
    """The leader is told when its lease ends."""
    assert await ask(fleet, 1) == NOW + timedelta(seconds=15)


async def test_leader_that_steps_down_passes(fleet: Fleet) -> None:
    """A leader that is handing over finishes its work."""
    await fleet.do(DrainRunner(runner_id="a"))
    assert (await fleet.store.load("g")).group.handover is not None

    assert await ask(fleet, 1) == NOW + timedelta(seconds=15)


@pytest.mark.parametrize("epoch", [0, 1, 3])
async def test_other_epoch_is_refused(fleet: Fleet, epoch: int) -> None:
    """Every epoch but the current one is stale, and the answer names the current one."""
    await fleet.do(Release(runner_id="a", session_id="a1", epoch=1))

    with pytest.raises(StaleEpoch) as caught:
        await ask(fleet, epoch)
    assert caught.value.facts == {"current_epoch": 2}
    assert await ask(fleet, 2)


async def test_lease_that_ran_out_is_refused(fleet: Fleet, clock: ManualClock) -> None:
    """At the end of its lease, sharp, the leader passes no more; a renewal lets it pass again."""
    clock.advance(14.999999)
    await ask(fleet, 1)
    clock.advance(0.000001)
    with pytest.raises(LeaseExpired):
        await ask(fleet, 1)

    await fleet.beat("a")
    await ask(fleet, 1)


async def test_unknown_group_is_refused(fleet: Fleet) -> None:
    """A group that never was has no leader to check against."""
    with pytest.raises(NotFound):
        await ask(fleet, 1, "other")


async def test_outside_a_transaction_it_is_refused(fleet: Fleet) -> None:
    """Without a transaction the answer could be stale before anything is written."""
    async with fleet.store.connect() as connection:
        with pytest.raises(Invalid, match="BEGIN IMMEDIATE"):
            await fleet.store.fence(connection, "g", 1)


async def test_other_file_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    """A transaction on another file, another store's or on none would be fenced by nothing."""
    async with SqliteStore.open(tmp_path / "store.db"):
        pass
    for name in (str(tmp_path / "other.db"), str(tmp_path / "store.db"), ":memory:"):
        async with aiosqlite.connect(name, isolation_level=None) as connection:
            await connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(Invalid, match="the store to"):
                await fleet.store.fence(connection, "g", 1)


async def test_callers_own_form_of_rows(fleet: Fleet) -> None:
    """It does not matter what rows look like on the caller's connection."""

    def as_dict(cursor: sqlite3.Cursor, row: tuple[object, ...]) -> dict[str, object]:
        return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}

    async with fleet.store.connect() as connection:
        for factory in (sqlite3.Row, as_dict):
            connection.row_factory = factory  # type: ignore[assignment]
            await connection.execute("BEGIN IMMEDIATE")
            await fleet.store.fence(connection, "g", 1)
            await connection.execute("ROLLBACK")


async def test_closed_connection_is_the_callers_to_see(fleet: Fleet) -> None:
    """A connection that the caller closed is a mistake of the caller, told in its own words."""
    async with fleet.store.connect() as connection:
        pass
    with pytest.raises(ValueError, match="no active connection"):
        await fleet.store.fence(connection, "g", 1)


async def test_no_election_between_fence_and_commit(fleet: Fleet, clock: ManualClock) -> None:
    """While a fenced transaction is open nobody else can be elected; after it, the next leads."""
    store = fleet.store
    async with store.connect() as connection:
        await connection.execute("CREATE TABLE work (epoch INTEGER)")
        await connection.execute("BEGIN IMMEDIATE")
        await store.fence(connection, "g", 1)
        clock.advance(20)  # the caller is slow
        electing = asyncio.ensure_future(fleet.do(Decide()))
        # Reads are answered meanwhile, so the loop turned; the election waits for the lock.
        for _ in range(20):
            assert (await store.load("g")).group.epoch == 1
        assert not electing.done()
        await connection.execute("INSERT INTO work VALUES (1)")
        await connection.execute("COMMIT")
        await electing
        await connection.execute("BEGIN IMMEDIATE")
        with pytest.raises((StaleEpoch, LeaseExpired)):
            await store.fence(connection, "g", 1)
        await connection.execute("ROLLBACK")


async def test_late_writer_in_a_deferred_transaction_is_refused(fleet: Fleet) -> None:
    """Begun without IMMEDIATE, a transaction that was overtaken cannot write: SQLite refuses it."""
    store = fleet.store
    async with store.connect() as connection:
        await connection.execute("CREATE TABLE work (epoch INTEGER)")
        await connection.execute("BEGIN")
        await store.fence(connection, "g", 1)
        await fleet.do(Release(runner_id="a", session_id="a1", epoch=1))
        with pytest.raises(sqlite3.OperationalError) as caught:
            await connection.execute("INSERT INTO work VALUES (1)")
        assert caught.value.sqlite_errorcode == sqlite3.SQLITE_BUSY_SNAPSHOT
        await connection.execute("ROLLBACK")


async def test_callers_own_errors_are_left_alone(store: SqliteStore) -> None:
    """What goes wrong in the caller's block is not taken for a fault of the store."""
    with pytest.raises(FileNotFoundError):
        async with store.connect():
            raise FileNotFoundError("mine")
    with pytest.raises(sqlite3.OperationalError):
        async with store.connect() as connection:
            await connection.execute("SELECT * FROM mine")


async def test_connection_to_a_file_that_is_gone(path: Path, clock: ManualClock) -> None:
    """No connection is handed out that would quietly make another file."""
    async with SqliteStore.open(path, clock=clock) as store:
        path.rename(path.with_name("moved.db"))
        with pytest.raises(Unavailable, match="moved, deleted or replaced"):
            async with store.connect():
                pass
    assert not path.exists()
