"""Stores that end claims wrongly when their term or session ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import evolve
from typing_extensions import override

from election_core import Changes, Ended, JobState, Pulse, lapse_job
from election_core.memory import SharedMemoryStore
from election_core.ports import Beat, Beaten
from election_testkit import JobStoreConformance as Cases
from wrong_stores import turns_red


@turns_red(
    Cases.test_released_term_hands_its_jobs_back,
    Cases.test_session_that_leaves_hands_its_jobs_back,
)
class CountsWhatIsHandedBack(SharedMemoryStore):
    """Takes every claim that ends with its term for lost."""

    @override
    def _end_claims(self, changes: Changes, at: datetime) -> None:
        lost = tuple(evolve(term, handed_back=False) for term in changes.ended_terms)
        super()._end_claims(evolve(changes, ended_terms=lost), at)


@turns_red(
    Cases.test_failover_counts_the_attempt,
    Cases.test_superseded_session_loses_its_jobs,
    Cases.test_used_up_attempts_end_a_lost_job,
)
class CountsNoLostAttempts(SharedMemoryStore):
    """Takes every claim that ends with its term for handed back, so that a job kills for ever."""

    @override
    def _end_claims(self, changes: Changes, at: datetime) -> None:
        back = tuple(evolve(term, handed_back=True) for term in changes.ended_terms)
        super()._end_claims(evolve(changes, ended_terms=back), at)


@turns_red(
    Cases.test_released_term_hands_its_jobs_back,
    Cases.test_session_that_leaves_hands_its_jobs_back,
    Cases.test_failover_counts_the_attempt,
    Cases.test_superseded_session_loses_its_jobs,
    Cases.test_used_up_attempts_end_a_lost_job,
)
class LeavesJobsWithTheOldLeader(SharedMemoryStore):
    """Ends a term and not its claims, so that its jobs run for ever."""

    @override
    def _end_claims(self, changes: Changes, at: datetime) -> None:
        super()._end_claims(evolve(changes, ended_terms=()), at)


@turns_red(Cases.test_addressed_job_outlives_the_term)
class EndsAllClaimsOfTheGroup(SharedMemoryStore):
    """Ends the claims of addressed jobs with a term too."""

    @override
    def _end_claims(self, changes: Changes, at: datetime) -> None:
        super()._end_claims(changes, at)
        for job_id, record in self._jobs.items():
            if changes.ended_terms and record.job.state is JobState.RUNNING:
                self._jobs[job_id] = lapse_job(record, at, handed_back=True)


@turns_red(Cases.test_claims_of_others_go_on)
class EndsAllClaimsWithASession(SharedMemoryStore):
    """Does not ask whose session it was that ended."""

    @override
    def _end_claims(self, changes: Changes, at: datetime) -> None:
        super()._end_claims(changes, at)
        for job_id, record in self._jobs.items():
            if changes.ended_sessions and record.job.state is JobState.RUNNING:
                self._jobs[job_id] = lapse_job(record, at, handed_back=True)


@turns_red(Cases.test_addressed_job_ends_with_its_session)
class EndsClaimsByEpochAlone(SharedMemoryStore):
    """Forgets the claims that are under no epoch."""

    @override
    def _end_claims(self, changes: Changes, at: datetime) -> None:
        super()._end_claims(evolve(changes, ended_sessions=()), at)


@turns_red(Cases.test_addressed_job_ends_with_its_session)
class TakesAddressedJobsForHandedBack(SharedMemoryStore):
    """Does not ask how a session ended whose addressed jobs it ends."""

    @override
    def _end_claims(self, changes: Changes, at: datetime) -> None:
        left = tuple(evolve(ended, how=Ended.LEFT) for ended in changes.ended_sessions)
        super()._end_claims(evolve(changes, ended_sessions=left), at)


@turns_red(Cases.test_addressed_jobs_fail_with_their_runner)
class LeavesOrphans(SharedMemoryStore):
    """Deletes a runner and leaves what is addressed to it in the queue."""

    @override
    def _end_claims(self, changes: Changes, at: datetime) -> None:
        super()._end_claims(evolve(changes, deleted=()), at)


@turns_red(Cases.test_cancelled_jobs_are_told_in_order)
class TellsCancelledJobsById(SharedMemoryStore):
    """Sorts the jobs that are cancelled by their ids."""

    @override
    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        return [
            evolve(answer, cancel=tuple(sorted(answer.cancel)))
            if isinstance(answer, Pulse)
            else answer
            for answer in await super().beat(beats)
        ]
