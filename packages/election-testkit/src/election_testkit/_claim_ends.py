"""How claims end without being settled, and jobs that somebody wants to end."""

from __future__ import annotations

import pytest

from election_core import DrainRunner, Job, JobOutcome, JobState, NotFound, StaleClaim
from election_testkit._fleet import Fleet
from election_testkit._subject import Subject
from election_testkit._suite import Suite

__all__ = ["ClaimEnds"]


def _standing(job: Job) -> tuple[JobState, int, str | None]:
    return job.state, job.attempts, job.error


class ClaimEnds(Suite):
    """What the port promises of claims whose term or session ends, and of `cancel`."""

    async def test_queued_job_is_cancelled_at_once(self, subject: Subject) -> None:
        """A queued job that is cancelled is over, and nobody is given it or told of it."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.enqueue("x")
        await subject.advance(1)
        version = (await fleet.pulse("a")).standing_version
        cancelled = await subject.store.cancel(fleet.job("x"))

        assert cancelled.state is JobState.CANCELLED
        assert cancelled.finished_at == (await fleet.load()).at
        assert cancelled == await fleet.look("x")
        assert (await fleet.claim("a")).items == ()
        assert (await fleet.pulse("a")).standing_version == version

    async def test_cancelled_jobs_are_told_in_order(self, subject: Subject) -> None:
        """A holder is told of all its cancelled jobs in order of enqueueing, and of each anew."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.enqueue("z", "y", "x")
        await fleet.claim("a", limit=3)
        version = (await fleet.pulse("a")).standing_version
        for name in ("x", "z"):
            await subject.store.cancel(fleet.job(name))

        pulse = await fleet.renew("a")
        assert pulse.cancel == (fleet.job("z"), fleet.job("x"))
        assert pulse.standing_version == version + 2

    async def test_holder_of_a_cancelled_job_is_told_once(self, subject: Subject) -> None:
        """Who runs a job that is cancelled hears of it: its standing changes, once."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.enqueue("x", "y")
        await fleet.claim("a", limit=2)
        before = await fleet.pulse("a")
        assert before.cancel == ()
        other = await fleet.pulse("b")
        for _ in range(2):
            asked = await subject.store.cancel(fleet.job("x"))
            assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
            assert asked == await fleet.look("x")

        after = await fleet.pulse("a")
        assert after.cancel == (await fleet.renew("a")).cancel == (fleet.job("x"),)
        assert after.standing_version == before.standing_version + 1
        assert (await fleet.pulse("b")).standing_version == other.standing_version

    async def test_finished_job_is_not_cancelled(self, subject: Subject) -> None:
        """A job that is over stays as it is, and one that never was is not found."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.enqueue("x")
        done = await fleet.settle("x", await fleet.claim_one("a"), result=[1])

        assert await subject.store.cancel(fleet.job("x")) == done == await fleet.look("x")
        for look in (subject.store.cancel, subject.store.job):
            with pytest.raises(NotFound):
                await look(fleet.job("never"))

    async def _held(self, subject: Subject, *, mine: bool = False) -> tuple[Fleet, str, str]:
        """A job that `a` holds and one that it holds and that is cancelled; the tokens."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        for name in ("x", "asked"):
            await fleet.enqueue(name, runner="a" if mine else None)
        claimed = await fleet.claim("a", epoch=None if mine else 1, limit=2)
        await subject.store.cancel(fleet.job("asked"))
        token, other = (item.claim_token for item in claimed.items)
        return fleet, token, other

    async def _refused(self, fleet: Fleet, *tokens: str) -> None:
        """The claims are over: settling them is refused and changes nothing."""
        for name, token in zip(("x", "asked"), tokens, strict=True):
            before = await fleet.look(name)
            with pytest.raises(StaleClaim):
                await fleet.settle(name, token)
            assert await fleet.look(name) == before

    async def test_released_term_hands_its_jobs_back(self, subject: Subject) -> None:
        """What a leader holds when it gives its epoch up is queued, the attempt not counted."""
        fleet, *tokens = await self._held(subject)
        await subject.advance(1)
        at = (await fleet.load()).at
        await fleet.release("a")

        job = await fleet.look("x")
        assert _standing(job) == (JobState.QUEUED, 0, None)
        assert job.available_at == at
        asked = await fleet.look("asked")
        assert (asked.state, asked.finished_at) == (JobState.CANCELLED, at)
        await self._refused(fleet, *tokens)

    async def test_session_that_leaves_hands_its_jobs_back(self, subject: Subject) -> None:
        """What a leader holds when its session leaves is queued, the attempt not counted."""
        fleet, *tokens = await self._held(subject)
        await fleet.leave("a")

        assert _standing(await fleet.look("x")) == (JobState.QUEUED, 0, None)
        assert (await fleet.look("asked")).state is JobState.CANCELLED
        await self._refused(fleet, *tokens)

    async def test_failover_counts_the_attempt(self, subject: Subject) -> None:
        """What a leader held that fell silent is claimable at once, the attempt counted."""
        fleet, *tokens = await self._held(subject)
        await subject.advance(14)
        await fleet.beat("b")
        await subject.advance(2)
        assert (await fleet.look("x")).state is JobState.RUNNING
        await fleet.decide()
        assert await fleet.leader() == "b"

        assert _standing(await fleet.look("x")) == (JobState.QUEUED, 1, None)
        assert (await fleet.look("asked")).state is JobState.CANCELLED
        await fleet.beat("a")
        await self._refused(fleet, *tokens)
        assert (await fleet.claim("b", epoch=2)).items[0].job.attempts == 2

    async def test_superseded_session_loses_its_jobs(self, subject: Subject) -> None:
        """What a leader held whose session was superseded is queued, the attempt counted."""
        fleet, *tokens = await self._held(subject)
        await fleet.reopen("a")

        assert _standing(await fleet.look("x")) == (JobState.QUEUED, 1, None)
        assert (await fleet.look("asked")).state is JobState.CANCELLED
        await self._refused(fleet, *tokens)

    async def test_used_up_attempts_end_a_lost_job(self, subject: Subject) -> None:
        """A job that is lost in its last attempt fails, and says that it was lost."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.enqueue("x")
        for number in range(1, 4):
            assert (await fleet.look("x")).attempts == number - 1
            await fleet.claim_one("a", epoch=await fleet.epoch())
            await fleet.reopen("a", previous=fleet.session("a"))

        job = await fleet.look("x")
        assert _standing(job) == (JobState.FAILED, 3, "lost")
        assert job.finished_at == (await fleet.load()).at

    async def test_claims_of_others_go_on(self, subject: Subject) -> None:
        """Only the claims of the session that ended end, and those of the term that did."""
        fleet, token, _ = await self._held(subject)
        await fleet.enqueue("mine", runner="a")
        mine = await fleet.claim_one("a", epoch=None)
        await fleet.leave("b")

        assert (await fleet.look("x")).state is JobState.RUNNING
        assert (await fleet.settle("x", token)).state is JobState.SUCCEEDED
        assert (await fleet.settle("mine", mine)).state is JobState.SUCCEEDED

    async def test_addressed_job_outlives_the_term(self, subject: Subject) -> None:
        """A job that is addressed to a runner is its own, though it led when it claimed it."""
        fleet, token, _ = await self._held(subject, mine=True)
        await fleet.enqueue("led", runner="a")
        led = await fleet.claim_one("a", epoch=1)
        await fleet.do(DrainRunner(runner_id=fleet.runner("a")))
        await fleet.release("a")
        assert await fleet.leader() == "b"

        for name, held in (("x", token), ("led", led)):
            assert (await fleet.look(name)).state is JobState.RUNNING
            assert (await fleet.settle(name, held)).state is JobState.SUCCEEDED

    async def test_addressed_job_ends_with_its_session(self, subject: Subject) -> None:
        """An addressed job is handed back by a session that leaves, and lost with another."""
        fleet, *tokens = await self._held(subject, mine=True)
        await fleet.reopen("a")
        assert _standing(await fleet.look("x")) == (JobState.FAILED, 1, "lost")
        assert (await fleet.look("asked")).state is JobState.CANCELLED
        await self._refused(fleet, *tokens)
        await fleet.enqueue("y", runner="a")
        await fleet.claim_one("a", epoch=None)
        await fleet.leave("a")

        assert _standing(await fleet.look("y")) == (JobState.QUEUED, 0, None)

    async def test_addressed_jobs_fail_with_their_runner(self, subject: Subject) -> None:
        """What is addressed to a runner that is deleted fails, queued or running, and says so."""
        fleet, *tokens = await self._held(subject, mine=True)
        await fleet.enqueue("queued", runner="a")
        await fleet.enqueue("done", runner="a")
        claimed = await fleet.claim("a", epoch=None, limit=2)
        await fleet.settle("done", claimed.items[1].claim_token)
        await fleet.enqueue("other", runner="b")
        await fleet.enqueue("any")
        await fleet.settle("queued", claimed.items[0].claim_token, JobOutcome.RELEASED)
        await fleet.do(fleet.deleting("a"))

        for name in ("x", "queued"):
            job = await fleet.look(name)
            assert (job.state, job.error) == (JobState.FAILED, "runner-deleted")
        assert (await fleet.look("asked")).state is JobState.CANCELLED
        assert (await fleet.look("done")).state is JobState.SUCCEEDED
        for name in ("other", "any"):
            assert (await fleet.look(name)).state is JobState.QUEUED
        await self._refused(fleet, *tokens)
