"""Stores that keep jobs wrongly, and those that page and cascade wrongly."""

from __future__ import annotations

import json
from datetime import datetime

from attrs import evolve
from typing_extensions import override

from election_core import (
    Changes,
    Invalid,
    Job,
    JobSpec,
    JobState,
    Page,
    PayloadTooLarge,
    Token,
)
from election_core.memory import SharedMemoryStore
from election_core.ports import Enqueued
from election_testkit import AccessStoreConformance, JobStoreConformance
from wrong_stores import turns_red


@turns_red(JobStoreConformance.test_enqueued_job_is_told)
class KeepsPayloadsAsAscii(SharedMemoryStore):
    """Keeps payloads in a column that knows no other letters."""

    @override
    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        text = json.dumps(spec.payload, ensure_ascii=False).encode("ascii", "replace")
        return await super().enqueue(
            group_id,
            evolve(spec, payload=json.loads(text)),
            job_id=job_id,
            idempotency_key=idempotency_key,
        )


@turns_red(JobStoreConformance.test_attempts_unless_chosen)
class GivesEveryJobThreeAttempts(SharedMemoryStore):
    """Has three attempts as the column's default, for addressed jobs too."""

    @override
    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        return await super().enqueue(
            group_id,
            evolve(spec, max_attempts=spec.max_attempts or 3),
            job_id=job_id,
            idempotency_key=idempotency_key,
        )


@turns_red(
    JobStoreConformance.test_same_key_with_the_same_job_is_answered,
    JobStoreConformance.test_lost_answer_of_enqueue_is_recognised,
)
class ForgetsIdempotencyKeys(SharedMemoryStore):
    """Keeps no key, so that a job that is enqueued again is another one."""

    @override
    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        return await super().enqueue(group_id, spec, job_id=job_id)


@turns_red(JobStoreConformance.test_same_key_with_another_job_conflicts)
class ComparesNoBodies(SharedMemoryStore):
    """Answers whatever job has the key: `ON CONFLICT DO NOTHING`."""

    @override
    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        for record in self._jobs.values():
            if idempotency_key and (record.job.group_id, record.idempotency_key) == (
                group_id,
                idempotency_key,
            ):
                return Enqueued(job=record.job, created=False)
        return await super().enqueue(group_id, spec, job_id=job_id, idempotency_key=idempotency_key)


@turns_red(JobStoreConformance.test_bad_job_is_refused_and_not_kept)
class KeepsNullForBadPayloads(SharedMemoryStore):
    """Writes NULL where it cannot write what it was given."""

    @override
    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        try:
            return await super().enqueue(
                group_id, spec, job_id=job_id, idempotency_key=idempotency_key
            )
        except (Invalid, PayloadTooLarge):
            return await super().enqueue(group_id, JobSpec(kind=spec.kind), job_id=job_id)


@turns_red(JobStoreConformance.test_enqueue_for_whom_nobody_knows)
class AddressesJobsToAnybody(SharedMemoryStore):
    """Has no foreign key from a job to its runner."""

    @override
    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        added = await super().enqueue(
            group_id, evolve(spec, runner_id=None), job_id=job_id, idempotency_key=idempotency_key
        )
        job = evolve(added.job, runner_id=spec.runner_id)
        self._jobs[job.id] = evolve(self._jobs[job.id], job=job)
        return evolve(added, job=job)


@turns_red(JobStoreConformance.test_highest_priority_first_then_the_oldest)
class ForgetsPriorities(SharedMemoryStore):
    """Leaves the priority of a job at the column's default."""

    @override
    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        return await super().enqueue(
            group_id, evolve(spec, priority=0), job_id=job_id, idempotency_key=idempotency_key
        )


@turns_red(JobStoreConformance.test_jobs_are_counted_by_state)
class CountsStatesWithoutJobs(SharedMemoryStore):
    """Counts by an outer join with all states there are."""

    @override
    async def job_counts(self) -> dict[str, int]:
        return {str(state): 0 for state in JobState} | await super().job_counts()


@turns_red(JobStoreConformance.test_finished_jobs_are_kept_as_long_as_agreed)
class PrunesByAge(SharedMemoryStore):
    """Counts the retention of jobs from their creation, finished or not."""

    @override
    async def prune(self, limit: int = 1000) -> int:
        at = self._at()
        old = [
            job_id
            for job_id, record in self._jobs.items()
            if record.job.created_at + self._living(record.job.group_id).settings.retention <= at
        ]
        for job_id in old:
            del self._jobs[job_id]
        return len(old) + await super().prune(limit)


@turns_red(
    JobStoreConformance.test_deleted_group_loses_its_jobs,
    AccessStoreConformance.test_deleted_group_loses_its_tokens,
)
class ForgetsToCascade(SharedMemoryStore):
    """Leaves what belongs to a group behind when it is deleted."""

    @override
    def _write(self, changes: Changes, revision: int, commit_id: str, at: datetime) -> None:
        jobs, tokens = self._jobs, self._tokens
        super()._write(changes, revision, commit_id, at)
        self._jobs = jobs | self._jobs
        self._tokens = tokens | self._tokens


@turns_red(
    JobStoreConformance.test_jobs_are_listed_in_order_of_enqueueing,
    AccessStoreConformance.test_tokens_are_listed_by_id,
)
class SkipsTheRowItLookedAheadAt(SharedMemoryStore):
    """Reads one row more than a page takes, and lets the next page begin behind it."""

    @override
    async def jobs(
        self,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        page = await super().jobs(group_id, state=state, cursor=cursor, limit=limit + 1)
        return evolve(page, items=page.items[:limit])

    @override
    async def tokens(self, *, cursor: str | None = None, limit: int = 100) -> Page[Token]:
        page = await super().tokens(cursor=cursor, limit=limit + 1)
        return evolve(page, items=page.items[:limit])


@turns_red(
    JobStoreConformance.test_cursor_of_nobodys_making_is_invalid,
    AccessStoreConformance.test_cursor_of_nobodys_making_is_invalid,
)
class BeginsAnewAtABadCursor(SharedMemoryStore):
    """Answers the first page to whoever brings a cursor that it cannot read."""

    @override
    async def jobs(
        self,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        try:
            return await super().jobs(group_id, state=state, cursor=cursor, limit=limit)
        except Invalid:
            return await super().jobs(group_id, state=state, limit=limit)

    @override
    async def tokens(self, *, cursor: str | None = None, limit: int = 100) -> Page[Token]:
        try:
            return await super().tokens(cursor=cursor, limit=limit)
        except Invalid:
            return await super().tokens(limit=limit)
