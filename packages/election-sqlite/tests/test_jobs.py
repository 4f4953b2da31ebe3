"""Jobs in the store: order, claims that can be repeated, settlements that come once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from election_core import (
    Claimed,
    ConflictError,
    DrainRunner,
    Invalid,
    JobOutcome,
    JobSpec,
    JobState,
    LeaseExpired,
    Leave,
    NotFound,
    NotLeader,
    PayloadTooLarge,
    Release,
    SessionEnded,
    SessionSuperseded,
    Settings,
    Settlement,
    StaleClaim,
    StaleEpoch,
    SteppingDown,
)
from election_sqlite import SqliteStore
from sqlite_clock import NOW, ManualClock
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


async def test_order(fleet: Fleet, clock: ManualClock) -> None:
    """The highest priority comes first, then the oldest, the group's and addressed ones alike."""
    await fleet.enqueue("low", priority=-1)
    await fleet.enqueue("first", "second")
    await fleet.enqueue("mine", runner_id="a")
    await fleet.enqueue("its", runner_id="b")
    await fleet.enqueue("third")
    await fleet.enqueue("high", priority=5)

    assert ids(await claim(fleet, limit=3)) == ["high", "first", "second"]
    assert ids(await claim(fleet, claim_id="d")) == ["mine", "third", "low"]
    assert ids(await claim(fleet, "b", "b1", epoch=None)) == ["its"]


async def test_claim_tells_the_job_as_it_runs(fleet: Fleet) -> None:
    """A claimed job is running, with its attempt counted, under the epoch and its own token."""
    await fleet.enqueue("job")
    (item,) = (await claim(fleet)).items

    assert item.claim_token == "c-0"
    assert item.job == await fleet.store.job("job")
    assert (item.job.state, item.job.attempts, item.job.epoch) == (JobState.RUNNING, 1, 1)


async def test_repeated_claim_is_answered_again(fleet: Fleet, clock: ManualClock) -> None:
    """The same claim gets the same jobs and tokens, whatever became of the jobs since."""
    await fleet.enqueue("one", "two", "three")
    first = await claim(fleet, limit=2)
    await settle(fleet.store, "one", "c-0", Settlement(outcome=JobOutcome.RELEASED))
    assert ids(await claim(fleet, claim_id="d", limit=1)) == ["one"]
    await settle(fleet.store, "two", "c-1", _DONE)
    clock.advance(20)  # even the lease may be over

    again = await claim(fleet, limit=2)

    assert again.items == first.items
    assert (await fleet.store.job("three")).state is JobState.QUEUED


async def test_claim_that_found_nothing_may_find_later(fleet: Fleet) -> None:
    """A waiting claim asks again under the same key, and gets jobs once there are some."""
    assert ids(await claim(fleet)) == []
    await fleet.enqueue("job")
    assert ids(await claim(fleet)) == ["job"]


async def test_claims_are_the_sessions_own(fleet: Fleet) -> None:
    """Another session may use the same key for a claim of its own."""
    await fleet.enqueue("job", "other")
    assert ids(await claim(fleet, limit=1)) == ["job"]
    await fleet.do(Release(runner_id="a", session_id="a1", epoch=1))

    assert ids(await claim(fleet, "b", "b1", epoch=2)) == ["job", "other"]


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


async def test_next_job_is_announced(fleet: Fleet, clock: ManualClock) -> None:
    """Who finds nothing is told when the next job that it may have ends its backoff."""
    await fleet.enqueue("job")
    await fleet.enqueue("its", runner_id="b")
    await claim(fleet, limit=1)
    await settle(fleet.store, "job", "c-0", Settlement(outcome=JobOutcome.FAILED))

    found = await claim(fleet, claim_id="d")
    assert (found.items, found.next_at) == ((), NOW + timedelta(seconds=1))
    assert (await claim(fleet, epoch=None, claim_id="e")).next_at is None
    clock.advance(1)
    assert ids(await claim(fleet, claim_id="f")) == ["job"]


async def test_who_may_claim(fleet: Fleet, clock: ManualClock) -> None:
    """Every reason to refuse a claim is told by its own error, in the order of the contract."""
    await fleet.enqueue("job")
    refusals: list[tuple[type[Exception], dict[str, Any]]] = [
        (NotFound, {"runner_id": "nobody"}),
        (SessionEnded, {"session_id": "never"}),
        (SessionEnded, {"runner_id": "b", "session_id": "a1"}),
        (StaleEpoch, {"epoch": 0}),
        (StaleEpoch, {"epoch": 2}),
        (NotLeader, {"runner_id": "b", "session_id": "b1"}),
    ]
    for kind, what in refusals:
        with pytest.raises(kind):
            await claim(fleet, **what)
    await fleet.do(DrainRunner(runner_id="a"))
    with pytest.raises(SteppingDown):
        await claim(fleet)
    clock.advance(15)
    with pytest.raises(LeaseExpired):
        await claim(fleet)
    with pytest.raises(LeaseExpired):
        await claim(fleet, "b", "b1", epoch=None)
    await fleet.reopen("a")
    with pytest.raises(SessionSuperseded):
        await claim(fleet)
    await fleet.do(Leave(runner_id="a", session_id="a2"))
    with pytest.raises(SessionEnded):
        await claim(fleet, session_id="a2")
    assert (await fleet.store.job("job")).attempts == 0


async def test_settlement_counts_once(fleet: Fleet) -> None:
    """The same settlement again is answered, another one of the same claim is refused."""
    await fleet.enqueue("job")
    await claim(fleet)
    done = Settlement(outcome=JobOutcome.SUCCEEDED, result={"n": [1, None, "ä"]})
    first = await settle(fleet.store, "job", "c-0", done)

    assert first.result == {"n": [1, None, "ä"]}
    assert await settle(fleet.store, "job", "c-0", done) == first
    with pytest.raises(StaleClaim):
        await settle(fleet.store, "job", "c-0", Settlement(outcome=JobOutcome.FAILED))
    assert await fleet.store.job("job") == first


async def test_late_settlement_changes_nothing(fleet: Fleet, clock: ManualClock) -> None:
    """A leader past its lease settles nothing, and once deposed its claims are over."""
    await fleet.enqueue("job")
    await claim(fleet)
    clock.advance(15)
    with pytest.raises(LeaseExpired):
        await settle(fleet.store, "job", "c-0", _DONE)
    await fleet.beat("b")
    await fleet.decide()
    assert ids(await claim(fleet, "b", "b1", epoch=2, claim_id="d")) == ["job"]
    with pytest.raises(StaleClaim):
        await settle(fleet.store, "job", "c-0", _DONE)

    job = await fleet.store.job("job")
    assert (job.state, job.attempts, job.claimed_by) == (JobState.RUNNING, 2, "b")
    await settle(fleet.store, "job", "d-0", _DONE)


async def test_settling_what_is_not_there(fleet: Fleet) -> None:
    """A job that never was, and a token that never was, settle nothing."""
    with pytest.raises(NotFound):
        await settle(fleet.store, "job", "t", _DONE)
    await fleet.enqueue("job")
    with pytest.raises(StaleClaim):
        await settle(fleet.store, "job", "t", _DONE)


async def test_result_that_cannot_be_kept(fleet: Fleet) -> None:
    """A result that is too large is refused and the claim stands."""
    await fleet.enqueue("job")
    await claim(fleet)
    with pytest.raises(PayloadTooLarge):
        await settle(
            fleet.store, "job", "c-0", Settlement(outcome=JobOutcome.SUCCEEDED, result="x" * 70_000)
        )
    await settle(fleet.store, "job", "c-0", _DONE)


async def test_enqueue_under_a_key(fleet: Fleet) -> None:
    """The same key with the same job is the first job; with another it is a conflict."""
    store, spec = fleet.store, JobSpec(kind="work", payload=[1])
    first = await store.enqueue("g", spec, job_id="one", idempotency_key="k")
    again = await store.enqueue("g", spec, job_id="two", idempotency_key="k")

    assert (first.created, again.created) == (True, False)
    assert again.job == first.job
    with pytest.raises(ConflictError):
        await store.enqueue("g", JobSpec(kind="work"), job_id="three", idempotency_key="k")
    assert await store.job_counts() == {"queued": 1}
    await Fleet(store, "h").create()
    assert (await store.enqueue("h", spec, job_id="four", idempotency_key="k")).created


async def test_enqueue_that_is_refused(fleet: Fleet) -> None:
    """A job of no group, for no runner, or of no form is refused, and nothing is kept."""
    store = fleet.store
    await Fleet(store, "h").create()
    deep: object = None
    for _ in range(40):
        deep = [deep]
    for group_id, spec, kind in (
        ("other", JobSpec(kind="work"), NotFound),
        ("g", JobSpec(kind="work", runner_id="nobody"), NotFound),
        ("h", JobSpec(kind="work", runner_id="a"), NotFound),
        ("g", JobSpec(kind="work", max_attempts=0), Invalid),
        ("g", JobSpec(kind="work", payload=deep), Invalid),
        ("g", JobSpec(kind="work", payload="x" * 70_000), PayloadTooLarge),
    ):
        with pytest.raises(kind):
            await store.enqueue(group_id, spec, job_id="job")
    assert await store.job_counts() == {}


async def test_cancel(fleet: Fleet) -> None:
    """A queued job ends at once, a running one when its holder is through, a finished one stays."""
    store = fleet.store
    await fleet.enqueue("queued", "running", "done")
    assert (await store.cancel("queued")).state is JobState.CANCELLED
    await claim(fleet)
    await settle(store, "done", "c-1", _DONE)
    assert (await store.cancel("done")).state is JobState.SUCCEEDED
    running = await store.cancel("running")
    assert (running.state, running.cancel_requested) == (JobState.RUNNING, True)

    failed = await settle(store, "running", "c-0", Settlement(outcome=JobOutcome.FAILED))
    assert failed.state is JobState.CANCELLED
    with pytest.raises(NotFound):
        await store.cancel("never")


async def test_counts(fleet: Fleet) -> None:
    """Jobs are counted by state; states without any are left out."""
    assert await fleet.store.job_counts() == {}
    await fleet.enqueue("one", "two", "three")
    await claim(fleet, limit=1)
    assert await fleet.store.job_counts() == {"queued": 2, "running": 1}
