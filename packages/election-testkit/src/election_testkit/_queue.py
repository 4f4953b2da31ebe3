"""The queue: enqueueing, listing, and what is not kept."""

from __future__ import annotations

from datetime import timedelta

import pytest

from election_core import (
    ConflictError,
    DeleteGroup,
    ElectionError,
    Invalid,
    Job,
    JobOutcome,
    JobSpec,
    JobState,
    NotFound,
    OutcomeUnknown,
    PayloadTooLarge,
    Settings,
)
from election_testkit._faults import After, FaultyStore
from election_testkit._fleet import Fleet, fresh
from election_testkit._subject import FullStore, Subject
from election_testkit._suite import Suite

__all__ = ["Queue"]

_MOST = 64 * 1024
_DEEPEST = 32


def _nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


async def _listed(store: FullStore, fleet: Fleet, state: JobState | None = None) -> list[Job]:
    """All jobs of a group, page by page of two."""
    found: list[Job] = []
    cursor: str | None = None
    while True:
        page = await store.jobs(fleet.group_id, state=state, cursor=cursor, limit=2)
        found.extend(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return found


class Queue(Suite):
    """What the port promises of the jobs that it keeps."""

    async def test_enqueued_job_is_told(self, subject: Subject) -> None:
        """A job is kept as it was asked for, queued from the store's time on."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await subject.advance(3)
        at = (await fleet.load()).at
        spec = JobSpec(kind="report", payload={"day": [1, None, "ü"]}, priority=-2, max_attempts=5)
        added = await subject.store.enqueue(fleet.group_id, spec, job_id=fleet.job("x"))

        assert added.created
        assert added.job == await fleet.look("x")
        assert added.job == Job(
            id=fleet.job("x"),
            group_id=fleet.group_id,
            kind="report",
            payload={"day": [1, None, "ü"]},
            priority=-2,
            max_attempts=5,
            available_at=at,
            created_at=at,
        )

    async def test_attempts_unless_chosen(self, subject: Subject) -> None:
        """A job has three attempts, one that is addressed to a runner has one."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.enqueue("free")
        await fleet.enqueue("mine", runner="a")

        assert (await fleet.look("free")).max_attempts == 3
        assert (await fleet.look("mine")).max_attempts == 1

    async def test_same_key_with_the_same_job_is_answered(self, subject: Subject) -> None:
        """A job that is enqueued again under its key is the first one, however far that got."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        spec = JobSpec(kind="work", payload={"a": 1, "b": 2})
        for number in range(3):
            job_id = fleet.job(str(number))
            added = await subject.store.enqueue(
                fleet.group_id, spec, job_id=job_id, idempotency_key="once"
            )
            assert added.created == (number == 0)
            assert added.job == await fleet.look("0")
            if number == 1:
                await fleet.settle("0", await fleet.claim_one("a"))
        assert (await fleet.look("0")).state is JobState.SUCCEEDED
        assert [job.id for job in await _listed(subject.store, fleet)] == [fleet.job("0")]

    async def test_same_key_with_another_job_conflicts(self, subject: Subject) -> None:
        """A key that was used for another job is refused; in another group it is another key."""
        fleet, other = Fleet(subject.store), Fleet(subject.store)
        for each in (fleet, other):
            await each.create()
        await subject.store.enqueue(
            fleet.group_id, JobSpec(kind="work"), job_id=fleet.job("x"), idempotency_key="once"
        )
        with pytest.raises(ConflictError):
            await subject.store.enqueue(
                fleet.group_id, JobSpec(kind="play"), job_id=fleet.job("y"), idempotency_key="once"
            )
        assert [job.id for job in await _listed(subject.store, fleet)] == [fleet.job("x")]
        added = await subject.store.enqueue(
            other.group_id, JobSpec(kind="play"), job_id=other.job("y"), idempotency_key="once"
        )
        assert added.created

    async def test_lost_answer_of_enqueue_is_recognised(self, subject: Subject) -> None:
        """A job whose answer was lost is the same job when it is enqueued again under its key."""
        store = FaultyStore(subject.store)
        fleet = Fleet(store)
        await fleet.create()
        store.plan("enqueue", After())
        spec = JobSpec(kind="work")
        with pytest.raises(OutcomeUnknown):
            await store.enqueue(fleet.group_id, spec, job_id=fleet.job("x"), idempotency_key="k")
        again = await store.enqueue(
            fleet.group_id, spec, job_id=fleet.job("y"), idempotency_key="k"
        )

        assert (again.created, again.job.id) == (False, fleet.job("x"))
        assert [job.id for job in await _listed(store, fleet)] == [fleet.job("x")]

    async def test_bad_job_is_refused_and_not_kept(self, subject: Subject) -> None:
        """What is no JSON, too deep, too large or without an attempt is refused by name."""
        fleet = Fleet(subject.store)
        await fleet.create()
        wrong: list[tuple[JobSpec, type[ElectionError]]] = [
            (JobSpec(kind="w", payload=object()), Invalid),
            (JobSpec(kind="w", payload=float("nan")), Invalid),
            (JobSpec(kind="w", payload=_nested(_DEEPEST + 1)), Invalid),
            (JobSpec(kind="w", payload="x" * (_MOST - 1)), PayloadTooLarge),
            (JobSpec(kind="w", max_attempts=0), Invalid),
        ]
        for spec, error in wrong:
            with pytest.raises(error):
                await subject.store.enqueue(fleet.group_id, spec, job_id=fresh("job"))
        assert await _listed(subject.store, fleet) == []
        for payload in ("x" * (_MOST - 2), _nested(_DEEPEST)):
            job_id = fresh("job")
            await subject.store.enqueue(
                fleet.group_id, JobSpec(kind="w", payload=payload), job_id=job_id
            )
            assert (await subject.store.job(job_id)).payload == payload

    async def test_enqueue_for_whom_nobody_knows(self, subject: Subject) -> None:
        """A job of no group, of a deleted one, or for a runner of another is not found."""
        fleet, other = Fleet(subject.store), Fleet(subject.store)
        await fleet.create()
        await other.create()
        await other.join("b")
        for runner_id in (other.runner("b"), fleet.runner("nobody")):
            with pytest.raises(NotFound):
                await subject.store.enqueue(
                    fleet.group_id, JobSpec(kind="w", runner_id=runner_id), job_id=fresh("job")
                )
        assert await _listed(subject.store, fleet) == []
        await fleet.do(DeleteGroup())
        for group_id in (fleet.group_id, fresh("group")):
            with pytest.raises(NotFound):
                await subject.store.enqueue(group_id, JobSpec(kind="w"), job_id=fresh("job"))
            with pytest.raises(NotFound):
                await subject.store.jobs(group_id)
        with pytest.raises(NotFound):
            await subject.store.job(fleet.job("never"))

    async def test_jobs_are_listed_in_order_of_enqueueing(self, subject: Subject) -> None:
        """Pages tell each job once, in order of enqueueing, of all states or of one."""
        fleet, other = Fleet(subject.store), Fleet(subject.store)
        for each in (fleet, other):
            await each.create()
        await fleet.join("a")
        names = ["e", "a", "d", "b", "c"]
        for number, name in enumerate(names):
            await fleet.enqueue(name, priority=number)
            await other.enqueue(name)
        await fleet.claim("a")

        found = await _listed(subject.store, fleet)
        assert [job.id for job in found] == [fleet.job(name) for name in names]
        running = await _listed(subject.store, fleet, JobState.RUNNING)
        assert [job.id for job in running] == [fleet.job("c")]
        queued = await _listed(subject.store, fleet, JobState.QUEUED)
        assert [job.id for job in queued] == [fleet.job(name) for name in names[:-1]]

    async def test_cursor_of_nobodys_making_is_invalid(self, subject: Subject) -> None:
        """A cursor that the store did not make is refused."""
        fleet = Fleet(subject.store)
        await fleet.create()
        for cursor in ("?", "bm90IG1pbmU"):
            with pytest.raises(Invalid):
                await subject.store.jobs(fleet.group_id, cursor=cursor)

    async def test_jobs_are_counted_by_state(self, subject: Subject) -> None:
        """The counts follow each job through its states."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        before = await subject.store.job_counts()
        await fleet.enqueue("w", "x", "y", "z")
        await fleet.settle("w", await fleet.claim_one("a"))
        await fleet.settle("x", await fleet.claim_one("a"), JobOutcome.FAILED, retry=False)
        await fleet.claim_one("a")
        after = await subject.store.job_counts()

        more = {state: after[state] - before.get(state, 0) for state in after}
        assert {state: count for state, count in more.items() if count} == {
            "succeeded": 1,
            "failed": 1,
            "running": 1,
            "queued": 1,
        }
        assert all(after.values())

    async def test_finished_jobs_are_kept_as_long_as_agreed(self, subject: Subject) -> None:
        """Pruning takes finished jobs once the group's retention is over, and no others."""
        fleet = Fleet(subject.store)
        await fleet.create(Settings(retention=timedelta(seconds=60)))
        await fleet.join("a")
        await fleet.enqueue("done", "running", "queued")
        await fleet.settle("done", await fleet.claim_one("a"))
        claimed = await fleet.claim("a", claim_id="held")
        await subject.advance(59)
        while await subject.store.prune():
            pass
        assert (await fleet.look("done")).state is JobState.SUCCEEDED
        await subject.advance(1)
        while await subject.store.prune():
            pass

        left = await _listed(subject.store, fleet)
        assert [job.id for job in left] == [fleet.job("running"), fleet.job("queued")]
        assert (await fleet.claim("a", claim_id="held")).items == claimed.items

    async def test_deleted_group_loses_its_jobs(self, subject: Subject) -> None:
        """The jobs of a group go with it, its keys too, and do not come back with it."""
        fleet, other = Fleet(subject.store), Fleet(subject.store)
        for each in (fleet, other):
            await each.create()
            await each.enqueue("x")
        spec = JobSpec(kind="work")
        await subject.store.enqueue(
            fleet.group_id, spec, job_id=fleet.job("y"), idempotency_key="k"
        )
        await fleet.do(DeleteGroup())
        for name in ("x", "y"):
            with pytest.raises(NotFound):
                await fleet.look(name)
        await fleet.create_again()

        assert await _listed(subject.store, fleet) == []
        assert (await other.look("x")).state is JobState.QUEUED
        again = await subject.store.enqueue(
            fleet.group_id, spec, job_id=fleet.job("z"), idempotency_key="k"
        )
        assert again.created
