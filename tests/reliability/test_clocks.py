"""The clocks that trust, leases and decisions are counted on."""

from __future__ import annotations

import sqlite3
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from election_sdk import Runner
from election_sdk._clock import trust_clock
from election_sqlite._clock import SystemClock
from election_sqlite._lane import Lane
from sqlite_clock import NOW, ManualClock

linux = pytest.mark.skipif(sys.platform != "linux", reason="each system has clocks of its own")


@linux
def test_trust_is_counted_on_a_clock_that_runs_on_in_suspend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A laptop that wakes after hours finds that they have passed."""
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: 7.0}.__getitem__)
    runner = Runner("http://localhost", group="g", name="a", token="secret")
    assert runner._clock is trust_clock
    assert trust_clock() == 7.0


@linux
def test_leases_are_counted_on_a_clock_that_runs_on_in_suspend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store on a laptop that slept does not take its leases for fresh."""
    monkeypatch.setattr(time, "clock_gettime_ns", {time.CLOCK_BOOTTIME: 7_000_000_000}.__getitem__)
    assert SystemClock().elapsed() == timedelta(seconds=7)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_transaction_is_dated_when_it_has_its_lock(tmp_path: Path) -> None:
    """Time that it waited for the lock has passed in what it decides."""
    path, clock = tmp_path / "election.db", ManualClock()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)

    def wait_for_the_lock(statement: str) -> None:
        if statement.startswith("BEGIN"):
            clock.advance(60)

    connection.set_trace_callback(wait_for_the_lock)
    lane = Lane(path, connection, clock.wall, begin=["BEGIN IMMEDIATE"])
    try:
        assert await lane.run(lambda transaction: transaction.at) == NOW + timedelta(seconds=60)
    finally:
        await lane.stop()
