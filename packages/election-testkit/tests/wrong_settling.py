"""Stores that settle jobs wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import anyio
import anyio.lowlevel
from attrs import define, evolve, field
from typing_extensions import override

from election_core import (
    ElectionError,
    Invalid,
    Job,
    JobState,
    PayloadTooLarge,
    Unavailable,
)
from election_core.memory import SharedMemoryStore
from election_core.ports import Settle
from election_testkit import JobStoreConformance as Cases
from wrong_stores import turns_red


class Settling(SharedMemoryStore):
    """What some of them are made of; as it stands it is right."""

    def rewrite(self, job: Job) -> Job:
        """Write a job over itself."""
        self._jobs[job.id] = evolve(self._jobs[job.id], job=job)
        return job


# What a settlement does.


@turns_red(Cases.test_success_ends_the_job)
class ForgetsTheResult(Settling):
    """Answers the result of a job and does not write it."""

    @override
    def _settle(self, settle: Settle, at: datetime) -> Job:
        job = super()._settle(settle, at)
        self.rewrite(evolve(job, result=None))
        return job


@turns_red(Cases.test_released_job_is_queued_again)
class CountsReleasedAttempts(Settling):
    """Counts the attempt of a job that was handed back."""

    @override
    def _settle(self, settle: Settle, at: datetime) -> Job:
        attempts = self._record(settle.job_id).job.attempts
        return self.rewrite(evolve(super()._settle(settle, at), attempts=attempts))


@turns_red(Cases.test_failed_job_is_retried_ever_later)
class NeverWaitsLonger(Settling):
    """Has a job wait the same time after each of its failures."""

    @override
    def _settle(self, settle: Settle, at: datetime) -> Job:
        job = super()._settle(settle, at)
        if job.available_at <= at:
            return job
        wait = self._living(job.group_id).settings.retry_backoff
        return self.rewrite(evolve(job, available_at=at + wait))


@turns_red(Cases.test_success_leaves_no_error)
class KeepsTheError(Settling):
    """Writes what a settlement brings and leaves the error of an earlier attempt where it is."""

    @override
    def _settle(self, settle: Settle, at: datetime) -> Job:
        error = self._record(settle.job_id).job.error
        job = super()._settle(settle, at)
        return self.rewrite(evolve(job, error=error)) if job.error is None else job


@turns_red(Cases.test_failure_for_good_is_not_retried)
class RetriesWhateverFails(Settling):
    """Does not look whether the holder will have the job repeated."""

    @override
    def _settle(self, settle: Settle, at: datetime) -> Job:
        return super()._settle(evolve(settle, settlement=evolve(settle.settlement, retry=True)), at)


@turns_red(Cases.test_cancelled_job_is_not_queued_again)
class ForgetsWhoAskedForTheEnd(Settling):
    """Does not look whether a job that comes back was cancelled meanwhile."""

    @override
    def _settle(self, settle: Settle, at: datetime) -> Job:
        self.rewrite(evolve(self._record(settle.job_id).job, cancel_requested=False))
        return super()._settle(settle, at)


# Which settlement counts.


@turns_red(
    Cases.test_repeated_settlement_is_answered,
    Cases.test_lost_answer_of_settle_is_recognised,
)
class ForgetsSettlements(Settling):
    """Does not keep which claim was settled how."""

    @override
    def _settle(self, settle: Settle, at: datetime) -> Job:
        job = super()._settle(settle, at)
        self._jobs[job.id] = evolve(self._jobs[job.id], settled=None)
        return job


@turns_red(Cases.test_other_outcome_is_refused)
class TakesAnyOutcomeForTheSame(Settling):
    """Knows a settlement that is made again by its token, whatever it says."""

    @override
    def _settle(self, settle: Settle, at: datetime) -> Job:
        record = self._record(settle.job_id)
        if record.settled is not None and record.settled.token == settle.token:
            return record.job
        return super()._settle(settle, at)


@turns_red(Cases.test_late_settlement_is_refused)
class SettlesByJobAlone(Settling):
    """Updates the job that runs, whose claim it may be."""

    @override
    def _settle(self, settle: Settle, at: datetime) -> Job:
        record = self._record(settle.job_id)
        if record.job.state is JobState.RUNNING and record.claim is not None:
            settle = evolve(settle, token=record.claim.token)
        return super()._settle(settle, at)


@turns_red(Cases.test_settlement_after_the_lease_is_refused)
class SettlesWithoutALease(Settling):
    """Does not look at the lease of who settles."""

    @override
    def _settle(self, settle: Settle, at: datetime) -> Job:
        claim = self._record(settle.job_id).claim
        runner = None if claim is None else self._runners.get(claim.runner_id)
        if runner is None or runner.session is None:
            return super()._settle(settle, at)
        ends = at + timedelta(seconds=1)
        session = evolve(runner.session, lease_expires_at=ends, term_expires_at=ends)
        self._runners[runner.id] = evolve(runner, session=session)
        try:
            return super()._settle(settle, at)
        finally:
            self._runners[runner.id] = runner


@turns_red(Cases.test_bad_result_is_refused_and_not_kept)
class KeepsNullForBadResults(Settling):
    """Writes NULL where it cannot write what it was given."""

    @override
    def _settle(self, settle: Settle, at: datetime) -> Job:
        try:
            return super()._settle(settle, at)
        except (Invalid, PayloadTooLarge):
            settlement = evolve(settle.settlement, result=None)
            return super()._settle(evolve(settle, settlement=settlement), at)


# Settlements together.


@turns_red(Cases.test_refusal_spoils_no_other)
class RollsAllBack(SharedMemoryStore):
    """Raises the first refusal, and its transaction takes the others with it."""

    @override
    async def settle(self, settles: Sequence[Settle]) -> list[Job | ElectionError]:
        before = dict(self._jobs)
        answers = await super().settle(settles)
        for answer in answers:
            if isinstance(answer, ElectionError):
                self._jobs = before
                raise answer
        return answers


@turns_red(Cases.test_no_settlements_are_no_error)
class CannotSettleNothing(SharedMemoryStore):
    """Makes a statement of as many rows as there are settlements, and there is none of no rows."""

    @override
    async def settle(self, settles: Sequence[Settle]) -> list[Job | ElectionError]:
        if not settles:
            raise Unavailable("syntax error at end of input")
        return await super().settle(settles)


@turns_red(Cases.test_concurrent_settlements_settle_once)
class SettlesWhatItReadBefore(SharedMemoryStore):
    """Reads the jobs in one statement and writes them in another, with no lock in between."""

    @override
    async def settle(self, settles: Sequence[Settle]) -> list[Job | ElectionError]:
        before = dict(self._jobs)
        await anyio.lowlevel.checkpoint()
        self._jobs = before
        return await super().settle(settles)


@turns_red(Cases.test_cancelled_settlement_was_made_or_not)
class SettlesOneByOne(SharedMemoryStore):
    """Settles each job in a transaction of its own."""

    @override
    async def settle(self, settles: Sequence[Settle]) -> list[Job | ElectionError]:
        answers: list[Job | ElectionError] = []
        for settle in settles:
            await anyio.lowlevel.checkpoint()
            answers += await super().settle([settle])
        return answers


@turns_red(Cases.test_cancelled_settlement_was_made_or_not, hangs=True)
@define(kw_only=True, slots=False)
class KeepsItsTransactionWhenCancelled(SharedMemoryStore):
    """Ends its transaction after the call, and not if the call is cancelled."""

    _lock: anyio.Semaphore = field(factory=lambda: anyio.Semaphore(1), init=False)

    @override
    async def settle(self, settles: Sequence[Settle]) -> list[Job | ElectionError]:
        await self._lock.acquire()
        await anyio.lowlevel.checkpoint()
        answers = await super().settle(settles)
        self._lock.release()
        return answers


# Cancelled jobs.


@turns_red(Cases.test_queued_job_is_cancelled_at_once)
class LeavesQueuedJobsToTheirClaim(Settling):
    """Notes that a queued job is to end, and waits for somebody to claim it."""

    @override
    async def cancel(self, job_id: str) -> Job:
        job = self._record(job_id).job
        if job.state is JobState.QUEUED:
            return self.rewrite(evolve(job, cancel_requested=True))
        return await super().cancel(job_id)


@turns_red(Cases.test_holder_of_a_cancelled_job_is_told_once)
class TellsTheHolderEachTime(SharedMemoryStore):
    """Forgets that the holder of a job was told, and tells it again."""

    @override
    async def cancel(self, job_id: str) -> Job:
        record = self._record(job_id)
        self._jobs[job_id] = evolve(record, job=evolve(record.job, cancel_requested=False))
        return await super().cancel(job_id)


@turns_red(Cases.test_finished_job_is_not_cancelled)
class CancelsWhateverItFinds(Settling):
    """Updates the job without looking at its state."""

    @override
    async def cancel(self, job_id: str) -> Job:
        job = await super().cancel(job_id)
        if job.state.finished:
            job = self.rewrite(evolve(job, state=JobState.CANCELLED))
        return job
