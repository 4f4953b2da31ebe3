"""Settlements: what each does to its job, and which are refused."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from election_core import (
    ElectionError,
    Invalid,
    Job,
    JobOutcome,
    JobSpec,
    JobState,
    LeaseExpired,
    NotFound,
    OutcomeUnknown,
    PayloadTooLarge,
    Settings,
    Settlement,
    StaleClaim,
)
from election_core.ports import Settle
from election_testkit._cancellation import everywhere
from election_testkit._faults import After, FaultyStore
from election_testkit._fleet import Fleet, fresh
from election_testkit._subject import Subject
from election_testkit._suite import Suite

__all__ = ["Settling"]

_DONE = Settlement(outcome=JobOutcome.SUCCEEDED)


class Settling(Suite):
    """What the port promises of `settle`."""

    async def _claimed(self, subject: Subject, *names: str) -> tuple[Fleet, dict[str, str]]:
        """A group whose leader `a` holds these jobs; the tokens by name."""
        fleet = Fleet(subject.store)
        await fleet.create(Settings(retry_backoff=timedelta(seconds=200)))
        await fleet.join("a", "b")
        await fleet.enqueue(*names)
        claimed = await fleet.claim("a", limit=len(names))
        tokens = [item.claim_token for item in claimed.items]
        return fleet, dict(zip(names, tokens, strict=True))

    async def test_success_ends_the_job(self, subject: Subject) -> None:
        """A job that succeeded is over, with its result and the store's time."""
        fleet, tokens = await self._claimed(subject, "x")
        await subject.advance(1)
        done = await fleet.settle("x", tokens["x"], result={"n": [1, None]})

        assert done == await fleet.look("x")
        assert (done.state, done.result, done.attempts) == (
            JobState.SUCCEEDED,
            {"n": [1, None]},
            1,
        )
        assert done.finished_at == (await fleet.load()).at

    async def test_released_job_is_queued_again(self, subject: Subject) -> None:
        """A job that is handed back is claimable at once, the attempt not counted."""
        fleet, tokens = await self._claimed(subject, "x")
        back = await fleet.settle("x", tokens["x"], JobOutcome.RELEASED)

        assert back == await fleet.look("x")
        assert (back.state, back.attempts) == (JobState.QUEUED, 0)
        (item,) = (await fleet.claim("a")).items
        assert (item.job.id, item.job.attempts) == (fleet.job("x"), 1)

    async def test_failed_job_is_retried_ever_later(self, subject: Subject) -> None:
        """A job waits the group's backoff, doubled each time up to 300 s, and fails in the end."""
        fleet, tokens = await self._claimed(subject, "x")
        token = tokens["x"]
        for wait in (200, 300):
            at = (await fleet.load()).at
            job = await fleet.settle("x", token, JobOutcome.FAILED, error="broken")
            assert (job.state, job.error) == (JobState.QUEUED, "broken")
            assert job.available_at == at + timedelta(seconds=wait)
            await subject.advance(wait)
            await fleet.beat("a")
            token = await fleet.claim_one("a")
        job = await fleet.settle("x", token, JobOutcome.FAILED, error="still broken")

        assert (job.state, job.attempts, job.error) == (JobState.FAILED, 3, "still broken")
        assert job == await fleet.look("x")

    async def test_success_leaves_no_error(self, subject: Subject) -> None:
        """A job that failed before it succeeded has no error any more."""
        fleet, tokens = await self._claimed(subject, "x")
        job = await fleet.settle("x", tokens["x"], JobOutcome.FAILED, error="broken")
        await subject.advance(200)
        await fleet.beat("a")
        assert job.error == "broken"
        done = await fleet.settle("x", await fleet.claim_one("a"))

        assert (done.state, done.attempts, done.error) == (JobState.SUCCEEDED, 2, None)
        assert done == await fleet.look("x")

    async def test_failure_for_good_is_not_retried(self, subject: Subject) -> None:
        """A job that its holder will not have repeated fails at once."""
        fleet, tokens = await self._claimed(subject, "x")
        job = await fleet.settle("x", tokens["x"], JobOutcome.FAILED, retry=False)

        assert (job.state, job.attempts) == (JobState.FAILED, 1)
        assert job.finished_at is not None
        assert job == await fleet.look("x")

    async def test_cancelled_job_is_not_queued_again(self, subject: Subject) -> None:
        """A running job that was cancelled ends when it fails or is handed back."""
        fleet, tokens = await self._claimed(subject, "fails", "back", "wins")
        for name in tokens:
            await subject.store.cancel(fleet.job(name))
        await fleet.settle("fails", tokens["fails"], JobOutcome.FAILED)
        await fleet.settle("back", tokens["back"], JobOutcome.RELEASED)
        await fleet.settle("wins", tokens["wins"])

        assert (await fleet.look("fails")).state is JobState.CANCELLED
        assert (await fleet.look("back")).state is JobState.CANCELLED
        assert (await fleet.look("wins")).state is JobState.SUCCEEDED
        assert (await fleet.pulse("a")).cancel == ()

    async def test_repeated_settlement_is_answered(self, subject: Subject) -> None:
        """A settlement that is made again is answered and not applied twice."""
        fleet, tokens = await self._claimed(subject, "x", "back")
        done = await fleet.settle("x", tokens["x"], result=1)
        await fleet.settle("back", tokens["back"], JobOutcome.RELEASED)
        await subject.advance(20)
        assert await fleet.settle("x", tokens["x"], result=2) == done
        again = await fleet.settle("back", tokens["back"], JobOutcome.RELEASED)

        assert again == await fleet.look("back")
        assert (again.state, again.attempts) == (JobState.QUEUED, 0)
        assert await fleet.look("x") == done

    async def test_other_outcome_is_refused(self, subject: Subject) -> None:
        """A claim that was settled is not settled otherwise."""
        fleet, tokens = await self._claimed(subject, "x", "y")
        await fleet.settle("x", tokens["x"])
        await fleet.settle("y", tokens["y"], JobOutcome.FAILED)
        for name, outcome in (("x", JobOutcome.FAILED), ("y", JobOutcome.SUCCEEDED)):
            before = await fleet.look(name)
            with pytest.raises(StaleClaim):
                await fleet.settle(name, tokens[name], outcome)
            assert await fleet.look(name) == before

    async def test_late_settlement_is_refused(self, subject: Subject) -> None:
        """A token of a claim that is over settles nothing, of a later claim neither."""
        fleet, tokens = await self._claimed(subject, "x")
        await fleet.settle("x", tokens["x"], JobOutcome.RELEASED)
        token = await fleet.claim_one("a")
        before = await fleet.look("x")
        for wrong in ("never", tokens["x"]):
            with pytest.raises(StaleClaim):
                await fleet.settle("x", wrong)
        assert await fleet.look("x") == before
        await fleet.settle("x", token)

    async def test_settlement_after_the_lease_is_refused(self, subject: Subject) -> None:
        """From the end of its lease on a leader settles nothing, and everything once it renews."""
        fleet, tokens = await self._claimed(subject, "x")
        await fleet.enqueue("mine", runner="b")
        tokens["mine"] = await fleet.claim_one("b", epoch=None)
        await subject.advance(15)
        for name in tokens:
            with pytest.raises(LeaseExpired):
                await fleet.settle(name, tokens[name])
            assert (await fleet.look(name)).state is JobState.RUNNING
        await fleet.beat("a", "b")
        for name in tokens:
            assert (await fleet.settle(name, tokens[name])).state is JobState.SUCCEEDED

    async def test_refusal_spoils_no_other(self, subject: Subject) -> None:
        """Of settlements made together each is answered for itself, in their order."""
        fleet, tokens = await self._claimed(subject, "c", "a", "d", "b")
        settles = [
            Settle(job_id=fleet.job("never"), token=fresh("token"), settlement=_DONE),
            Settle(job_id=fleet.job("b"), token=tokens["b"], settlement=_DONE),
            Settle(job_id=fleet.job("d"), token=tokens["a"], settlement=_DONE),
            Settle(
                job_id=fleet.job("c"),
                token=tokens["c"],
                settlement=Settlement(outcome=JobOutcome.SUCCEEDED, result=object()),
            ),
            Settle(job_id=fleet.job("a"), token=tokens["a"], settlement=_DONE),
        ]
        answers = await subject.store.settle(settles)

        assert [answer.id if isinstance(answer, Job) else type(answer) for answer in answers] == [
            NotFound,
            fleet.job("b"),
            StaleClaim,
            Invalid,
            fleet.job("a"),
        ]
        for name, state in zip("abcd", ["succeeded"] * 2 + ["running"] * 2, strict=True):
            assert (await fleet.look(name)).state == state

    async def test_no_settlements_are_no_error(self, subject: Subject) -> None:
        """Nothing to settle is answered with nothing."""
        assert await subject.store.settle([]) == []

    async def test_bad_result_is_refused_and_not_kept(self, subject: Subject) -> None:
        """A result that cannot be kept is refused, once the claim was found good."""
        fleet, tokens = await self._claimed(subject, "x")
        wrong: list[tuple[object, type[ElectionError]]] = [
            (float("inf"), Invalid),
            ("x" * 64 * 1024, PayloadTooLarge),
        ]
        for result, error in wrong:
            with pytest.raises(error):
                await fleet.settle("x", tokens["x"], result=result)
            with pytest.raises(StaleClaim):
                await fleet.settle("x", "never", result=result)
        assert (await fleet.look("x")).state is JobState.RUNNING
        await fleet.settle("x", tokens["x"], result="x" * (64 * 1024 - 2))

    async def test_lost_answer_of_settle_is_recognised(self, subject: Subject) -> None:
        """A settlement whose answer was lost is answered when it is made again."""
        fleet, tokens = await self._claimed(subject, "x")
        store = FaultyStore(subject.store)
        fleet.store = store
        store.plan("settle", After())
        with pytest.raises(OutcomeUnknown):
            await fleet.settle("x", tokens["x"], result=1)
        done = await fleet.settle("x", tokens["x"], result=1)
        assert (done.state, done.result) == (JobState.SUCCEEDED, 1)

    async def test_concurrent_settlements_settle_once(self, subject: Subject) -> None:
        """Of different settlements of one claim at once exactly one is applied."""
        fleet, tokens = await self._claimed(subject, "x")
        answers: list[JobOutcome] = []

        async def settle(outcome: JobOutcome) -> None:
            try:
                await fleet.settle("x", tokens["x"], outcome)
            except StaleClaim:
                return
            answers.append(outcome)

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for outcome in JobOutcome:
                    tasks.start_soon(settle, outcome)
        assert len(answers) == 1
        state = (await fleet.look("x")).state
        assert (state is JobState.SUCCEEDED) == (answers == [JobOutcome.SUCCEEDED])

    async def test_cancelled_settlement_was_made_or_not(self, subject: Subject) -> None:
        """Wherever a settlement is cancelled, both of its jobs are settled or none is."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        for cancel in everywhere():
            job_ids = [fresh("job"), fresh("job")]
            for job_id in job_ids:
                await subject.store.enqueue(fleet.group_id, JobSpec(kind="work"), job_id=job_id)
            claimed = await fleet.claim("a", limit=2)
            settles = [
                Settle(job_id=item.job.id, token=item.claim_token, settlement=_DONE)
                for item in claimed.items
            ]
            with anyio.fail_after(self.patience):
                await cancel(subject.store.settle(settles))
                left = await subject.store.jobs(fleet.group_id, state=JobState.RUNNING)
                assert len(left.items) in (0, len(settles))
                again = await subject.store.settle(settles)
            assert [answer.id for answer in again if isinstance(answer, Job)] == job_ids
