"""Jobs: enqueue, claim, settle and cancel, each with its checks in the transaction that writes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from attrs import evolve

from election_core import (
    Claim,
    Claimed,
    ClaimedJob,
    ConflictError,
    ElectionError,
    Job,
    JobRecord,
    JobSpec,
    JobState,
    NotFound,
    Page,
    SessionCall,
    cancel_job,
    check_claim,
    check_settlement,
    claim_job,
    claimable,
    enqueue_job,
    page_of,
    read_cursor,
    refuse_former,
    repeats,
    settle_job,
)
from election_core.ports import Enqueued, Settle
from examples.journal_store._part import Part, transaction
from examples.journal_store._sessions import how_it_ended, session_of
from examples.journal_store._tables import ClaimRow, Tables

__all__ = ["Jobs"]


class Jobs(Part):
    """Jobs and their claims."""

    @transaction
    def enqueue(
        self,
        tables: Tables,
        group_id: str,
        spec: JobSpec,
        *,
        job_id: str,
        idempotency_key: str | None = None,
    ) -> Enqueued:
        """See [`enqueue`][election_core.ports.JobStore.enqueue]."""
        tables.living(group_id)
        new = enqueue_job(
            spec, job_id=job_id, group_id=group_id, at=tables.at, idempotency_key=idempotency_key
        )
        if idempotency_key is not None:
            for record in tables.jobs.of(group_id):
                if record.idempotency_key == idempotency_key:
                    if record.fingerprint != new.fingerprint:
                        raise ConflictError("this Idempotency-Key was used for another job")
                    return Enqueued(job=record.job, created=False)
        if spec.runner_id is not None:
            runner = tables.runners.get(spec.runner_id)
            if runner is None or runner.group_id != group_id:
                raise NotFound(f"no runner {spec.runner_id!r} in group {group_id!r}")
        seq = tables.store.last_job + 1
        tables.update_store(last_job=seq)
        tables.jobs.put(job_id, evolve(new, seq=seq))
        return Enqueued(job=new.job, created=True)

    @transaction
    def claim(
        self,
        tables: Tables,
        runner_id: str,
        session_id: str,
        *,
        claim_id: str,
        epoch: int | None,
        limit: int,
        tokens: Sequence[str],
    ) -> Claimed:
        """See [`claim`][election_core.ports.JobStore.claim]."""
        at = tables.at
        runner, session = session_of(tables, runner_id, session_id)
        if runner is None or session is None:
            ended = how_it_ended(tables, runner_id, session_id)
            how = None if ended is None else ended.how
            exists = tables.runners.get(runner_id) is not None
            refuse_former(runner_id, SessionCall.CLAIM, known=exists, how=how)
        key = json.dumps([session_id, claim_id])
        known = tables.claims.get(key)
        if known is not None:
            return Claimed(items=known.items, at=at)
        check_claim(tables.row(runner.group_id).group, runner, session, epoch, at)
        leads = epoch is not None
        queued = sorted(
            (
                record
                for record in tables.jobs.of(runner.group_id)
                if record.job.state is JobState.QUEUED
                and (leads if record.job.runner_id is None else record.job.runner_id == runner_id)
            ),
            key=lambda record: (-record.job.priority, record.seq),
        )
        free = [r for r in queued if claimable(r.job, runner_id=runner_id, leads=leads, at=at)]
        items: list[ClaimedJob] = []
        for record, token in zip(free[:limit], tokens, strict=False):
            claim = Claim(
                token=token,
                claim_id=claim_id,
                runner_id=runner_id,
                session_id=session_id,
                epoch=epoch,
            )
            claimed = claim_job(record, claim, at)
            tables.jobs.put(record.job.id, claimed)
            items.append(ClaimedJob(job=claimed.job, claim_token=token))
        if items:
            tables.claims.put(key, ClaimRow(runner.group_id, at, tuple(items)))
            return Claimed(items=tuple(items), at=at)
        return Claimed(next_at=min((r.job.available_at for r in queued), default=None), at=at)

    @transaction
    def settle(self, tables: Tables, settles: Sequence[Settle]) -> list[Job | ElectionError]:
        """See [`settle`][election_core.ports.JobStore.settle]."""
        answers: list[Job | ElectionError] = []
        for settle in settles:
            try:
                answers.append(_settle(tables, settle))
            except ElectionError as refused:
                answers.append(refused)
        return answers

    @transaction
    def cancel(self, tables: Tables, job_id: str) -> Job:
        """See [`cancel`][election_core.ports.JobStore.cancel]."""
        record = _record(tables, job_id)
        cancelled = cancel_job(record, tables.at)
        if cancelled == record:
            return record.job
        tables.jobs.put(job_id, cancelled)
        claim = record.claim
        if record.job.state is JobState.RUNNING and claim is not None:
            holder, session = session_of(tables, claim.runner_id, claim.session_id)
            if holder is not None and session is not None:
                session = evolve(session, standing_version=session.standing_version + 1)
                tables.runners.put(holder.id, evolve(holder, session=session))
        return cancelled.job

    @transaction
    def job(self, tables: Tables, job_id: str) -> Job:
        """See [`job`][election_core.ports.JobStore.job]."""
        return _record(tables, job_id).job

    @transaction
    def jobs(
        self,
        tables: Tables,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        """See [`jobs`][election_core.ports.JobStore.jobs]."""
        tables.living(group_id)
        (after,) = (0,) if cursor is None else read_cursor(cursor, int)
        rows = [
            record
            for record in tables.jobs.of(group_id)
            if state in (None, record.job.state) and record.seq > int(after)
        ]
        return page_of(rows, limit, lambda record: record.job, lambda record: (record.seq,))

    @transaction
    def job_counts(self, tables: Tables) -> dict[str, int]:
        """See [`job_counts`][election_core.ports.JobStore.job_counts]."""
        counts: dict[str, int] = {}
        for record in tables.jobs.all():
            state = record.job.state.value
            counts[state] = counts.get(state, 0) + 1
        return counts


def _record(tables: Tables, job_id: str) -> JobRecord:
    record = tables.jobs.get(job_id)
    if record is None:
        raise NotFound(f"no job {job_id!r}")
    return record


def _settle(tables: Tables, settle: Settle) -> Job:
    """Settle one claim; what refuses it has written nothing."""
    record = _record(tables, settle.job_id)
    if repeats(record, settle.token, settle.settlement.outcome):
        return record.job
    group = tables.row(record.job.group_id).group
    claimant = None if record.claim is None else tables.runners.get(record.claim.runner_id)
    check_settlement(record, settle.token, group, claimant, tables.at)
    backoff = group.settings.retry_backoff
    settled = settle_job(record, settle.settlement, at=tables.at, backoff=backoff)
    tables.jobs.put(settle.job_id, settled)
    return settled.job
