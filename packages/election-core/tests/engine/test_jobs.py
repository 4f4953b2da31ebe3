"""Jobs through the engine."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from election_core import (
    Claimed,
    ConflictError,
    Invalid,
    JobOutcome,
    JobSpec,
    JobState,
    LeaseExpired,
    NotFound,
    NotLeader,
    Settlement,
    StaleClaim,
    StaleEpoch,
    Standing,
    SteppingDown,
)
from election_core.engine import Engine
from election_core.memory import MemoryStore
from engine_fleet import GROUP, Fleet, a_fleet

WORK = JobSpec(kind="work")
LONG = timedelta(minutes=1)
SUCCEEDED = Settlement(outcome=JobOutcome.SUCCEEDED)


async def claim(fleet: Fleet, standing: Standing, claim_id: str = "c", **rest: object) -> Claimed:
    """Claim under the epoch of the standing."""
    options = {"epoch": standing.epoch, "claim_id": claim_id, **rest}
    return await fleet.engine.claim(standing.runner_id, standing.session_id, **options)  # type: ignore[arg-type]


async def test_only_the_leader_is_given_jobs() -> None:
    """The leader claims and settles; a standby is told that it does not lead (bug 28)."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        job = (await fleet.engine.enqueue(GROUP, WORK)).job

        with pytest.raises(NotLeader):
            await claim(fleet, second)
        (item,) = (await claim(fleet, first)).items
        settled = await fleet.engine.settle(job.id, item.claim_token, SUCCEEDED)

        assert (item.job.id, settled.state) == (job.id, JobState.SUCCEEDED)
        assert await fleet.engine.job(job.id) == settled


async def test_a_group_without_a_leader_serves_nobody() -> None:
    """With no leader jobs wait, whoever asks (I9)."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("first")
        await fleet.engine.drain(runner_id)
        standing = await fleet.open(runner_id)
        await fleet.engine.enqueue(GROUP, WORK)

        with pytest.raises(NotLeader):
            await claim(fleet, standing)
        assert (await claim(fleet, standing, epoch=None)).items == ()


async def test_the_same_claim_is_answered_again() -> None:
    """A claim whose answer was lost gives the same jobs and tokens again (bug 38)."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        for _ in range(3):
            await fleet.engine.enqueue(GROUP, WORK)

        one = await claim(fleet, first, limit=2)
        two = await claim(fleet, first, limit=2)
        other = await claim(fleet, first, "d", limit=2)

        assert one.items == two.items
        assert len(one.items) == 2
        assert len(other.items) == 1


async def test_jobs_come_by_priority_and_then_by_age() -> None:
    """Higher priority first; among equals whoever was enqueued first."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        for kind, priority in [("a", 0), ("b", 5), ("c", 5), ("d", -1)]:
            await fleet.engine.enqueue(GROUP, JobSpec(kind=kind, priority=priority))

        claimed = await claim(fleet, first, limit=10)

        assert [item.job.kind for item in claimed.items] == ["b", "c", "a", "d"]


async def test_the_same_key_enqueues_once() -> None:
    """A repeated call with its key finds the job; another job under it is a conflict."""
    async with a_fleet() as fleet:
        one = await fleet.engine.enqueue(GROUP, WORK, idempotency_key="k")
        two = await fleet.engine.enqueue(GROUP, WORK, idempotency_key="k")

        assert (one.job, one.created, two.created) == (two.job, True, False)
        with pytest.raises(ConflictError):
            await fleet.engine.enqueue(GROUP, JobSpec(kind="other"), idempotency_key="k")


async def test_what_cannot_be_a_job_is_refused() -> None:
    """A job has a kind, a group, and a runner of that group if it has one."""
    async with a_fleet() as fleet:
        for spec in (JobSpec(kind=""), JobSpec(kind="a", max_attempts=0)):
            with pytest.raises(Invalid):
                await fleet.engine.enqueue(GROUP, spec)
        with pytest.raises(Invalid):
            await fleet.engine.enqueue(GROUP, WORK, idempotency_key="")
        with pytest.raises(NotFound):
            await fleet.engine.enqueue("nowhere", WORK)
        with pytest.raises(NotFound):
            await fleet.engine.enqueue(GROUP, JobSpec(kind="a", runner_id="nobody"))
        with pytest.raises(NotFound):
            await fleet.engine.job("none")


@pytest.mark.parametrize("limit", [0, 501])
async def test_a_claim_is_for_1_to_500_jobs(limit: int) -> None:
    """Nobody claims nothing, or everything."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")

        with pytest.raises(Invalid):
            await claim(fleet, first, limit=limit)


# Waiting.


async def test_a_waiting_claim_is_woken_by_a_job() -> None:
    """A leader without work has the next job in the moment it comes."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        answers: list[Claimed] = []

        async def wait() -> None:
            answers.append(await claim(fleet, first, wait=LONG))

        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            await fleet.engine.enqueue(GROUP, WORK)

        assert len(answers[0].items) == 1
        assert anyio.current_time() == began + 1


async def test_a_waiting_claim_ends_with_the_heartbeat() -> None:
    """A claim that finds nothing is answered empty after one interval."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        began = anyio.current_time()

        assert (await claim(fleet, first, wait=LONG)).items == ()

        assert anyio.current_time() - began == pytest.approx(10 / 3)


async def test_a_waiting_claim_notices_a_job_whose_time_comes() -> None:
    """A job that waits out its backoff is claimed when that is over."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        job = (await fleet.engine.enqueue(GROUP, WORK)).job
        (item,) = (await claim(fleet, first)).items
        failed = Settlement(outcome=JobOutcome.FAILED, error="no disk")
        await fleet.engine.settle(job.id, item.claim_token, failed)
        began = anyio.current_time()

        (again,) = (await claim(fleet, first, "d", wait=LONG)).items

        assert (again.job.id, again.job.attempts) == (job.id, 2)
        assert anyio.current_time() - began == pytest.approx(1)


async def test_a_job_handed_back_wakes_who_waits() -> None:
    """A released job is claimable at once, and whoever waits is told."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        job = (await fleet.engine.enqueue(GROUP, WORK)).job
        (item,) = (await claim(fleet, first)).items
        answers: list[Claimed] = []

        async def wait() -> None:
            answers.append(await claim(fleet, first, "d", wait=LONG))

        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            await fleet.engine.settle(
                job.id, item.claim_token, Settlement(outcome=JobOutcome.RELEASED)
            )

        assert (answers[0].items[0].job.attempts, anyio.current_time()) == (1, began + 1)


async def test_a_waiting_claim_learns_that_it_must_step_down() -> None:
    """A leader in a handover is refused at once, not after its wait."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        await fleet.join("second")
        began = anyio.current_time()

        async def wait() -> None:
            with pytest.raises(SteppingDown):
                await claim(fleet, first, wait=LONG)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            await fleet.engine.drain(first.runner_id)

        assert anyio.current_time() == began + 1


async def test_stopping_answers_waiting_claims() -> None:
    """A server that stops lets claims go empty-handed."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        began = anyio.current_time()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: claim(fleet, first, wait=LONG))
            await anyio.sleep(1)
            fleet.engine.stop_waiting()

        assert anyio.current_time() == began + 1


# What becomes of claims.


async def test_a_late_settlement_is_refused() -> None:
    """What a deposed leader still settles changes nothing (bugs 1 and 32)."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        job = (await fleet.engine.enqueue(GROUP, WORK)).job
        (item,) = (await claim(fleet, first)).items
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.keep_beating, second)
            await fleet.led_by(second.runner_id)
            tasks.cancel_scope.cancel()

        with pytest.raises(StaleClaim):
            await fleet.engine.settle(job.id, item.claim_token, SUCCEEDED)
        with pytest.raises(StaleEpoch):
            await claim(fleet, first, "d")

        found = await fleet.engine.job(job.id)
        assert (found.state, found.attempts) == (JobState.QUEUED, 1)


async def test_between_lease_and_decision_a_settlement_is_to_be_repeated() -> None:
    """A leader whose lease ran out undecided may renew, and then settle."""
    async with a_fleet(tick=timedelta(hours=1)) as fleet:
        first = await fleet.join("first")
        job = (await fleet.engine.enqueue(GROUP, WORK)).job
        (item,) = (await claim(fleet, first)).items
        await fleet.engine.beat(first.runner_id, first.session_id)
        fleet.store.away = True
        await anyio.sleep(11)
        fleet.store.away = False

        with pytest.raises(LeaseExpired):
            await fleet.engine.settle(job.id, item.claim_token, SUCCEEDED)
        await fleet.engine.beat(first.runner_id, first.session_id)
        settled = await fleet.engine.settle(job.id, item.claim_token, SUCCEEDED)

        assert settled.state is JobState.SUCCEEDED


async def test_a_release_hands_jobs_back() -> None:
    """What a leader had not finished when it gave up is the next one's, with no attempt lost."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        await fleet.engine.enqueue(GROUP, WORK)
        await claim(fleet, first)

        await fleet.engine.release(first.runner_id, first.session_id, 1)

        standing = await fleet.engine.beat(second.runner_id, second.session_id)
        (item,) = (await claim(fleet, standing)).items
        assert (item.job.attempts, item.job.epoch) == (1, 2)


async def test_a_settlement_may_be_repeated() -> None:
    """The same again is answered, another outcome is refused (bug 26)."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        job = (await fleet.engine.enqueue(GROUP, WORK)).job
        (item,) = (await claim(fleet, first)).items
        one = await fleet.engine.settle(job.id, item.claim_token, SUCCEEDED)

        assert await fleet.engine.settle(job.id, item.claim_token, SUCCEEDED) == one
        with pytest.raises(StaleClaim):
            await fleet.engine.settle(
                job.id, item.claim_token, Settlement(outcome=JobOutcome.FAILED)
            )


async def test_an_addressed_job_bypasses_leadership() -> None:
    """A job for one runner is its alone, whoever leads, and goes on while it steps down."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        spec = JobSpec(kind="upgrade", runner_id=second.runner_id)
        job = (await fleet.engine.enqueue(GROUP, spec)).job

        assert (await claim(fleet, first)).items == ()
        (item,) = (await claim(fleet, second, epoch=None)).items
        settled = await fleet.engine.settle(job.id, item.claim_token, SUCCEEDED)

        assert (settled.state, settled.epoch) == (JobState.SUCCEEDED, None)


async def test_an_addressed_job_fails_with_its_runner() -> None:
    """Nobody else may have it."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        spec = JobSpec(kind="upgrade", runner_id=first.runner_id)
        job = (await fleet.engine.enqueue(GROUP, spec)).job

        await fleet.engine.delete_runner(first.runner_id)

        found = await fleet.engine.job(job.id)
        assert (found.state, found.error) == (JobState.FAILED, "runner-deleted")


async def test_jobs_are_listed_by_state() -> None:
    """Pages are in order of enqueueing, of one state or of all."""
    async with a_fleet() as fleet:
        await fleet.join("first")
        jobs = [(await fleet.engine.enqueue(GROUP, WORK)).job for _ in range(3)]
        await fleet.engine.cancel(jobs[1].id)

        page = await fleet.engine.jobs(GROUP, limit=2)
        rest = await fleet.engine.jobs(GROUP, cursor=page.next_cursor)
        queued = await fleet.engine.jobs(GROUP, state=JobState.QUEUED)

        assert [job.id for job in page.items + rest.items] == [job.id for job in jobs]
        assert [job.id for job in queued.items] == [jobs[0].id, jobs[2].id]
        for cursor in ("?", "eA"):
            with pytest.raises(Invalid):
                await fleet.engine.jobs(GROUP, cursor=cursor)


async def test_a_store_without_jobs_says_so() -> None:
    """An embedder with a queue of its own learns which part it has not got."""

    class Jobless:
        """A store that passes everything on but jobs."""

        def __init__(self) -> None:
            self._store = MemoryStore()

        def __getattr__(self, name: str) -> object:
            if name in ("enqueue", "settle", "claim"):
                raise AttributeError(name)
            return getattr(self._store, name)

    engine = Engine(Jobless())  # type: ignore[arg-type]

    with pytest.raises(Invalid, match="keeps no jobs"):
        await engine.enqueue(GROUP, WORK)


@pytest.mark.parametrize(
    ("job_id", "token", "error"),
    [("j\ud800", "t", None), ("j", "t\0", None), ("j", "t", "No such file: \udcff")],
)
async def test_a_settlement_that_no_store_can_take_spoils_no_other(
    job_id: str, token: str, error: str | None
) -> None:
    """What a store would refuse along with all that is settled with it does not get there."""
    async with a_fleet() as fleet:
        with pytest.raises(Invalid):
            await fleet.engine.settle(
                job_id, token, Settlement(outcome=JobOutcome.FAILED, error=error)
            )
