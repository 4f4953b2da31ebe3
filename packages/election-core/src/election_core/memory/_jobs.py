"""The queue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import evolve

from election_core._claims import check_claim, claim_job, claimable
from election_core._cursors import page_of, read_cursor
from election_core._errors import ConflictError, ElectionError, NotFound
from election_core._jobs import (
    Claim,
    Claimed,
    ClaimedJob,
    Job,
    JobRecord,
    JobSpec,
    JobState,
    enqueue_job,
)
from election_core._settlements import cancel_job, check_settlement, repeats, settle_job
from election_core._states import SessionCall, refuse_former
from election_core._views import Page
from election_core.memory._kept import Given, Kept
from election_core.ports import Enqueued, Settle

__all__ = ["Jobs"]


class Jobs(Kept):
    """Jobs and their claims."""

    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        """See [`enqueue`][election_core.ports.JobStore.enqueue]."""
        at = self._at()
        self._living(group_id)
        new = enqueue_job(
            spec, job_id=job_id, group_id=group_id, at=at, idempotency_key=idempotency_key
        )
        if idempotency_key is not None:
            for record in self._jobs.values():
                if (record.job.group_id, record.idempotency_key) == (group_id, idempotency_key):
                    if record.fingerprint != new.fingerprint:
                        raise ConflictError("this Idempotency-Key was used for another job")
                    return Enqueued(job=record.job, created=False)
        if spec.runner_id is not None:
            runner = self._runners.get(spec.runner_id)
            if runner is None or runner.group_id != group_id:
                raise NotFound(f"no runner {spec.runner_id!r} in group {group_id!r}")
        self._last_job += 1
        self._jobs[job_id] = evolve(new, seq=self._last_job)
        return Enqueued(job=new.job, created=True)

    async def claim(
        self,
        runner_id: str,
        session_id: str,
        *,
        claim_id: str,
        epoch: int | None,
        limit: int,
        tokens: Sequence[str],
    ) -> Claimed:
        """See [`claim`][election_core.ports.JobStore.claim]."""
        at = self._at()
        runner = self._runners.get(runner_id)
        session = None if runner is None else runner.session
        if runner is None or session is None or session.id != session_id:
            ended = self._how_it_ended(runner_id, session_id)
            how = None if ended is None else ended.how
            refuse_former(runner_id, SessionCall.CLAIM, known=runner is not None, how=how)
        mine = sorted(
            (r for r in self._jobs.values() if r.job.group_id == runner.group_id),
            key=lambda r: (-r.job.priority, r.seq),
        )
        known = self._given.get((session_id, claim_id))
        if known is not None:
            return Claimed(items=known.items, at=at)
        check_claim(self._groups[runner.group_id].group, runner, session, epoch, at)
        leads = epoch is not None
        free = [r for r in mine if claimable(r.job, runner_id=runner_id, leads=leads, at=at)]
        taken: list[ClaimedJob] = []
        for record, token in zip(free[:limit], tokens, strict=False):
            claim = Claim(
                token=token,
                claim_id=claim_id,
                runner_id=runner_id,
                session_id=session_id,
                epoch=epoch,
            )
            claimed = claim_job(record, claim, at)
            self._jobs[record.job.id] = claimed
            taken.append(ClaimedJob(job=claimed.job, claim_token=token))
        if taken:
            self._given[session_id, claim_id] = Given(runner.group_id, at, tuple(taken))
        later = [
            r.job.available_at
            for r in mine
            if r.job.available_at > at
            and claimable(r.job, runner_id=runner_id, leads=leads, at=r.job.available_at)
        ]
        return Claimed(
            items=tuple(taken),
            next_at=None if taken else min(later, default=None),
            at=at,
        )

    def _record(self, job_id: str) -> JobRecord:
        record = self._jobs.get(job_id)
        if record is None:
            raise NotFound(f"no job {job_id!r}")
        return record

    async def settle(self, settles: Sequence[Settle]) -> list[Job | ElectionError]:
        """See [`settle`][election_core.ports.JobStore.settle]."""
        at = self._at()
        answers: list[Job | ElectionError] = []
        for settle in settles:
            try:
                answers.append(self._settle(settle, at))
            except ElectionError as refused:
                answers.append(refused)
        return answers

    def _settle(self, settle: Settle, at: datetime) -> Job:
        record = self._record(settle.job_id)
        if repeats(record, settle.token, settle.settlement.outcome):
            return record.job
        group = self._groups[record.job.group_id].group
        claimant = None if record.claim is None else self._runners.get(record.claim.runner_id)
        check_settlement(record, settle.token, group, claimant, at)
        backoff = group.settings.retry_backoff
        settled = settle_job(record, settle.settlement, at=at, backoff=backoff)
        self._jobs[settle.job_id] = settled
        return settled.job

    async def cancel(self, job_id: str) -> Job:
        """See [`cancel`][election_core.ports.JobStore.cancel]."""
        record = self._record(job_id)
        cancelled = cancel_job(record, self._at())
        self._jobs[job_id] = cancelled
        asked = cancelled.job.cancel_requested and not record.job.cancel_requested
        claim = record.claim
        if asked and record.job.state is JobState.RUNNING and claim is not None:
            holder = self._runners.get(claim.runner_id)
            session = None if holder is None else holder.session
            if holder is not None and session is not None and session.id == claim.session_id:
                version = session.standing_version + 1
                session = evolve(session, standing_version=version)
                self._runners[holder.id] = evolve(holder, session=session)
        return cancelled.job

    async def job(self, job_id: str) -> Job:
        """See [`job`][election_core.ports.JobStore.job]."""
        return self._record(job_id).job

    async def jobs(
        self,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        """See [`jobs`][election_core.ports.JobStore.jobs]."""
        self._living(group_id)
        (after,) = (0,) if cursor is None else read_cursor(cursor, int)
        rows = sorted(
            (
                record
                for record in self._jobs.values()
                if record.job.group_id == group_id
                and state in (None, record.job.state)
                and record.seq > int(after)
            ),
            key=lambda record: record.seq,
        )
        return page_of(rows, limit, lambda record: record.job, lambda record: (record.seq,))

    async def job_counts(self) -> dict[str, int]:
        """See [`job_counts`][election_core.ports.JobStore.job_counts]."""
        counts: dict[str, int] = {}
        for record in self._jobs.values():
            counts[record.job.state] = counts.get(record.job.state, 0) + 1
        return {str(state): count for state, count in counts.items()}
