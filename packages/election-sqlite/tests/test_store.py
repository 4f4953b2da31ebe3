"""What of the store is its own, beside what every store promises."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from election_core import Mark, Snapshot
from election_core.ports import AccessStore, JobStore, Store
from election_sqlite import SqliteStore, _groups
from election_sqlite._lane import Transaction
from sqlite_clock import NOW, ManualClock
from sqlite_fleet import Fleet

_TICK = timedelta(seconds=1)
_LEASE = timedelta(seconds=15)


@pytest.fixture
async def fleet(store: SqliteStore) -> Fleet:
    """A group led by runner a under epoch 1, with b standing by."""
    made = Fleet(store)
    await made.create()
    await made.join("a", "b")
    return made


async def test_store_is_all_three_ports(store: SqliteStore) -> None:
    """One object is the store of groups, of jobs and of tokens."""
    groups: Store = store  # the type checker's test
    jobs: JobStore = store
    access: AccessStore = store
    assert len({id(port) for port in (groups, jobs, access)}) == 1


async def test_first_mark(store: SqliteStore, clock: ManualClock) -> None:
    """A new store has no outage, however late its first mark comes."""
    fleet = Fleet(store)
    await fleet.create()
    assert (await store.load("g")).mark == Mark(at=NOW)
    clock.advance(100)
    assert await store.mark(_TICK) == Mark(at=NOW + timedelta(seconds=100))


async def test_nothing_is_seen_of_a_time_to_come(fleet: Fleet, clock: ManualClock) -> None:
    """A snapshot shows nothing that was committed after the time it tells."""
    began, go_on = threading.Event(), threading.Event()

    def look(transaction: Transaction) -> Snapshot:
        began.set()
        assert go_on.wait(30)
        return _groups.load(transaction, "g")

    looking = asyncio.ensure_future(fleet.store._reader.run(look))
    assert await asyncio.to_thread(began.wait, 30)
    clock.advance(1)
    await fleet.beat("a")
    go_on.set()
    snapshot = await looking

    assert snapshot.at == NOW
    session = snapshot.runners[0].session
    assert session is not None
    assert session.lease_expires_at == NOW + _LEASE
    assert (await fleet.store.load("g")).at == NOW + _TICK
