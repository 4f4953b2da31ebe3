"""How long the store remembers what a claim was given."""

from __future__ import annotations

from datetime import timedelta

import pytest

from election_core import Claimed, JobOutcome, JobState, NotFound, Settings, Settlement
from election_sqlite import SqliteStore
from sqlite_clock import ManualClock
from sqlite_fleet import Fleet, settle

_DONE = Settlement(outcome=JobOutcome.SUCCEEDED)


@pytest.fixture
async def fleet(store: SqliteStore) -> Fleet:
    """A group led by runner a under epoch 1, with b standing by."""
    made = Fleet(store)
    await made.create()
    await made.join("a", "b")
    return made


async def claim(
    fleet: Fleet,
    runner_id: str = "a",
    session_id: str = "a1",
    *,
    claim_id: str = "c",
    epoch: int | None = 1,
    limit: int = 10,
) -> Claimed:
    """Claim jobs; their tokens are named for the claim."""
    tokens = [f"{claim_id}-{place}" for place in range(limit)]
    return await fleet.store.claim(
        runner_id, session_id, claim_id=claim_id, epoch=epoch, limit=limit, tokens=tokens
    )


def ids(claimed: Claimed) -> list[str]:
    """The ids of the claimed jobs, in order."""
    return [item.job.id for item in claimed.items]


async def test_claim_is_remembered_as_long_as_its_job_runs(
    store: SqliteStore, clock: ManualClock
) -> None:
    """Pruning does not make a late retry of a claim take other jobs while the first run."""
    fleet = Fleet(store)
    await fleet.create(Settings(retention=timedelta(seconds=1), lease=timedelta(hours=1)))
    await fleet.join("a")
    await fleet.enqueue("one", "two")
    first = await claim(fleet, limit=1)
    clock.advance(60)
    await store.prune()
    assert (await claim(fleet, limit=1)).items == first.items

    await settle(store, "one", "c-0", _DONE)
    assert (await claim(fleet, limit=1)).items == first.items
    clock.advance(60)
    await store.prune()
    with pytest.raises(NotFound):
        await store.job("one")
    assert ids(await claim(fleet, limit=1)) == ["two"]


async def test_repeated_claim_of_a_job_that_is_gone(fleet: Fleet) -> None:
    """A job that was pruned is left out of the answer, and no other is claimed in its place."""
    await fleet.enqueue("one", "two")
    await claim(fleet, limit=1)
    await fleet.store._writer.run(
        lambda t: t.connection.execute("DELETE FROM election_job WHERE id = 'one'").fetchall()
    )

    assert ids(await claim(fleet, limit=1)) == []
    assert (await fleet.store.job("two")).state is JobState.QUEUED
