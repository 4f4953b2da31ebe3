"""Store time never goes back: not with the wall clock, not across restarts."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from election_core import Decide
from election_sqlite import SqliteStore, SystemClock
from election_sqlite._clock import StoreTime
from sqlite_clock import NOW, ManualClock
from sqlite_fleet import Fleet

_SECONDS = st.integers(0, 100_000)
_STEPS = st.integers(-100_000, 100_000)
_ACTS = st.one_of(
    st.tuples(st.just("advance"), _SECONDS),
    st.tuples(st.just("step"), _STEPS),
    st.tuples(st.just("read"), st.just(0)),
    st.tuples(st.just("write"), st.just(0)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("reboot"), _SECONDS),
)


@given(acts=st.lists(_ACTS))
def test_time_never_goes_back(acts: list[tuple[str, int]]) -> None:
    """No time is earlier than one kept before, nor, while the machine runs on, than one told.

    As a store does, each start keeps its first time.
    """
    clock = ManualClock()
    time = StoreTime(clock, None)
    told = noted = time.now()
    kept = time.persisted(noted)
    for number, (act, seconds) in enumerate(acts):
        if act == "advance":
            clock.advance(seconds)
        elif act == "step":
            clock.step(seconds)
        elif act == "write":
            noted = time.now()
            kept = time.persisted(noted)
        elif act in ("restart", "reboot"):
            if act == "reboot":
                clock.reboot(f"boot {number}")
                clock.step(seconds)
                told = noted
            time = StoreTime(clock, kept)
            assert time.now() >= told
            noted = time.now()
            kept = time.persisted(noted)
        assert time.now() >= told
        told = time.now()


def test_time_is_the_wall_clocks() -> None:
    """A new store tells the time of the wall clock, and goes on with the time that passes."""
    clock = ManualClock()
    time = StoreTime(clock, None)
    assert time.now() == NOW

    clock.advance(2.5)
    assert time.now() == NOW + timedelta(seconds=2.5)

    clock.step(3600)
    assert time.now() == NOW + timedelta(seconds=2.5)


def test_clock_that_caught_up_is_followed_again() -> None:
    """The offset is dropped once the wall clock is ahead by itself."""
    clock = ManualClock()
    kept = StoreTime(clock, None).persisted(NOW)
    clock.reboot("second boot")
    clock.step(-600)
    behind = StoreTime(clock, kept)
    assert behind.now() == NOW

    clock.advance(30)
    kept = behind.persisted(behind.now())
    assert kept.wall_offset == 600_000_000
    clock.reboot("third boot")
    clock.advance(60)
    assert StoreTime(clock, kept).now() == NOW + timedelta(seconds=90)
    clock.step(3600)
    caught_up = StoreTime(clock, kept)
    assert caught_up.now() == clock.wall()
    assert caught_up.persisted(caught_up.now()).wall_offset == 0


@pytest.mark.parametrize("boot", ["first boot", "second boot", None])
async def test_restart_with_the_wall_clock_set_back(
    path: Path, clock: ManualClock, boot: str | None
) -> None:
    """A lease that ran before a restart has not grown after it, whatever the wall clock says."""
    async with SqliteStore.open(path, clock=clock) as store:
        fleet = Fleet(store)
        await fleet.create()
        await fleet.join("a")
        clock.advance(4)
        await store.mark(timedelta(seconds=1))
        before = (await store.load("g")).at
    clock.step(-3600)
    if boot != "first boot":
        clock.reboot(boot)

    async with SqliteStore.open(path, clock=clock) as store:
        snapshot = await store.load("g")
        clock.advance(1)
        later = (await Fleet(store).do(Decide())).after

    assert snapshot.at >= before
    assert later.at == snapshot.at + timedelta(seconds=1)


async def test_what_readers_were_told_stands_after_a_restart(
    path: Path, clock: ManualClock
) -> None:
    """On a machine that runs on, time goes on from the last read, not only from the last write."""
    async with SqliteStore.open(path, clock=clock) as store:
        clock.advance(100)
        told = (await store.due(1)).at
    clock.step(-3600)

    async with SqliteStore.open(path, clock=clock) as store:
        assert (await store.due(1)).at >= told


async def test_downtime_counts_behind_a_wall_clock_that_was_set_back(
    path: Path, clock: ManualClock
) -> None:
    """With the offset kept, the time between two runs passes, across reboots too."""
    async with SqliteStore.open(path, clock=clock):
        pass
    clock.reboot("second boot")
    clock.step(-3600)
    async with SqliteStore.open(path, clock=clock) as store:
        first = (await store.due(1)).at
    clock.reboot("third boot")
    clock.step(120)

    async with SqliteStore.open(path, clock=clock) as store:
        assert (await store.due(1)).at == first + timedelta(seconds=120)


def test_system_clock_is_the_machines() -> None:
    """The clock that is used unless one is given tells the time of day and time that only grows."""
    clock = SystemClock()
    first = clock.elapsed()

    assert abs(clock.wall() - datetime.now(clock.wall().tzinfo)) < timedelta(seconds=5)
    assert clock.elapsed() >= first
    assert clock.origin() == SystemClock().origin()
