"""Time in the hands of tests: the store's, and that of a client whose clock is wrong."""

from __future__ import annotations

import datetime as dt
import sys
import time
from datetime import UTC, timedelta
from types import ModuleType

import pytest

from election_core.memory import MemoryStore
from election_testkit import START, ManualClock
from memory_subject import MemorySubject


def test_manual_clock_stands() -> None:
    """The clock tells the same time until it is moved, ahead or back or to a time."""
    clock = ManualClock()
    assert clock() == clock() == START
    clock.advance(1.5)
    assert clock() == START + timedelta(seconds=1.5)
    clock.advance(-2)
    assert clock() == START - timedelta(seconds=0.5)
    clock.set(START + timedelta(days=1))
    assert clock() == START + timedelta(days=1)


async def test_manual_clock_is_a_stores_time() -> None:
    """A store that is given the clock tells its time."""
    clock = ManualClock(START + timedelta(hours=1))
    store = MemoryStore(clock=clock)
    clock.advance(5)
    assert (await store.due(0)).at == START + timedelta(hours=1, seconds=5)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of a driver's, which took its clocks by name."""
    module = ModuleType("slow_driver.clocks")
    vars(module).update(datetime=dt.datetime, now=time.time, now_ns=time.time_ns)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


class _Driven(MemorySubject):
    packages = ("slow_driver",)


@pytest.mark.parametrize("hours", [1, -1])
def test_client_clock_is_off_within_the_block(driver: ModuleType, hours: int) -> None:
    """Within the block the client reads a wrong wall clock, by whatever name; then a right one."""
    began, right = time.monotonic(), time.time()
    with _Driven().client_clock(3600 * hours):
        wrong = {
            "time": time.time(),
            "time_ns": time.time_ns() / 1e9,
            "by name": driver.now(),
            "by name in ns": driver.now_ns() / 1e9,
            "now": driver.datetime.now(UTC).timestamp(),
            "now here": driver.datetime.now().timestamp(),
            "today": driver.datetime.today().timestamp(),
            "utcnow": driver.datetime.utcnow().replace(tzinfo=UTC).timestamp(),
        }
    took = time.monotonic() - began
    for name, read in wrong.items():
        assert -0.001 <= read - right - 3600 * hours <= took + 0.001, name

    assert driver.datetime is dt.datetime
    assert (driver.now, driver.now_ns) == (time.time, time.time_ns)
    assert abs(time.time() - right) < 3600


def test_client_clock_leaves_others_alone(driver: ModuleType) -> None:
    """Modules of other packages keep their `datetime`, and what stands for it is one still."""
    with _Driven().client_clock(3600):
        assert dt.datetime is not driver.datetime
        assert isinstance(START, driver.datetime)
        assert isinstance(driver.datetime.now(UTC), dt.datetime)
        assert not isinstance("now", driver.datetime)
