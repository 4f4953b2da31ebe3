"""What becomes of jobs when leadership moves, in each store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from election_core import JobOutcome, JobState, Settlement
from election_core.memory import MemoryStore
from election_sqlite import SqliteStore
from sqlite_clock import ManualClock
from sqlite_fleet import Fleet, settle


@pytest.fixture
def anyio_backend() -> str:
    """SQLite runs on asyncio only."""
    return "asyncio"


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands until it is moved."""
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def fleet(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Fleet]:
    """A group with a job, in each store."""
    if request.param == "memory":
        found = Fleet(cast("SqliteStore", MemoryStore(clock=clock.wall)))
        await found.create()
        await found.enqueue("job")
        yield found
        return
    async with SqliteStore.open(tmp_path / "election.db", clock=clock) as store:
        found = Fleet(store)
        await found.create()
        await found.enqueue("job")
        yield found


async def test_a_finished_job_stays_as_it_is(fleet: Fleet, clock: ManualClock) -> None:
    """The end of the term under which it was finished does nothing to a job."""
    await fleet.join("a")
    await fleet.store.claim("a", "a1", claim_id="c", epoch=1, limit=1, tokens=["t"])
    await settle(fleet.store, "job", "t", Settlement(outcome=JobOutcome.SUCCEEDED, result=1))
    done = await fleet.store.job("job")
    clock.advance(60)
    assert (await fleet.decide()).after.group.term is None
    assert await fleet.store.job("job") == done
    assert done.state is JobState.SUCCEEDED


async def test_a_standby_is_given_nothing_of_the_groups(fleet: Fleet) -> None:
    """Who claims without an epoch gets what is addressed to it, and nothing else."""
    await fleet.join("a", "b")
    await fleet.enqueue("own", runner_id="b")
    claimed = await fleet.store.claim(
        "b", "b1", claim_id="c", epoch=None, limit=5, tokens=list("vwxyz")
    )
    assert [item.job.id for item in claimed.items] == ["own"]


async def test_jobs_wait_through_a_vacancy(fleet: Fleet, clock: ManualClock) -> None:
    """A dead leader's job is queued with the end of its term, before anybody else can lead."""
    await fleet.join("a")
    await fleet.store.claim("a", "a1", claim_id="c", epoch=1, limit=1, tokens=["t"])
    clock.advance(60)
    assert (await fleet.decide()).after.group.term is None
    job = await fleet.store.job("job")
    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    await fleet.join("b")
    claimed = await fleet.store.claim("b", "b1", claim_id="c", epoch=2, limit=1, tokens=["u"])
    assert [item.job.id for item in claimed.items] == ["job"]
