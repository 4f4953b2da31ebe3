"""Rows of jobs as the core's type, and back."""

from __future__ import annotations

import json
from typing import Any

from election_core import Claim, Job, JobOutcome, JobRecord, JobState, Settled
from election_sqlite._values import micros, moment

__all__ = ["CHANGING", "JOB", "changing_values", "job_values", "record_of"]

_Row = tuple[Any, ...]

JOB = (
    "seq", "id", "group_id", "runner_id", "kind", "payload", "priority", "max_attempts",
    "created_at", "state", "attempts", "available_at", "started_at", "finished_at", "claimed_by",
    "epoch", "cancel_requested", "result", "error", "claim_token", "claim_id", "claim_runner_id",
    "claim_session_id", "claim_epoch", "settled_token", "settled_outcome", "idempotency_key",
    "fingerprint",
)  # fmt: skip
CHANGING = JOB[JOB.index("state") : JOB.index("idempotency_key")]
"""The columns that change in a job's life; an update that names no other keeps other indexes."""


def record_of(row: _Row) -> JobRecord:
    """The job in the columns of `JOB`."""
    (
        seq, id_, group_id, runner_id, kind, payload, priority, max_attempts, created_at, state,
        attempts, available_at, started_at, finished_at, claimed_by, epoch, cancel_requested,
        result, error, token, claim_id, claim_runner_id, session_id, claim_epoch, settled_token,
        settled_outcome, idempotency_key, fingerprint,
    ) = row  # fmt: skip
    claim = None
    if token is not None:
        claim = Claim(
            token=token,
            claim_id=claim_id,
            runner_id=claim_runner_id,
            session_id=session_id,
            epoch=claim_epoch,
        )
    job = Job(
        id=id_,
        group_id=group_id,
        runner_id=runner_id,
        kind=kind,
        payload=json.loads(payload),
        priority=priority,
        state=JobState(state),
        attempts=attempts,
        max_attempts=max_attempts,
        available_at=moment(available_at),
        created_at=moment(created_at),
        started_at=moment(started_at),
        finished_at=moment(finished_at),
        claimed_by=claimed_by,
        epoch=epoch,
        cancel_requested=bool(cancel_requested),
        result=json.loads(result),
        error=error,
    )
    settled = None
    if settled_token is not None:
        settled = Settled(settled_token, JobOutcome(settled_outcome))
    return JobRecord(
        job=job,
        seq=seq,
        claim=claim,
        settled=settled,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
    )


def job_values(record: JobRecord) -> _Row:
    """A job as the columns of `JOB`."""
    job = record.job
    return (
        record.seq,
        job.id,
        job.group_id,
        job.runner_id,
        job.kind,
        json.dumps(job.payload, ensure_ascii=False, separators=(",", ":")),
        job.priority,
        job.max_attempts,
        micros(job.created_at),
        *changing_values(record),
        record.idempotency_key,
        record.fingerprint,
    )


def changing_values(record: JobRecord) -> _Row:
    """A job as the columns of `CHANGING`."""
    job, claim, settled = record.job, record.claim, record.settled
    return (
        job.state.value,
        job.attempts,
        micros(job.available_at),
        micros(job.started_at),
        micros(job.finished_at),
        job.claimed_by,
        job.epoch,
        job.cancel_requested,
        json.dumps(job.result, ensure_ascii=False, separators=(",", ":")),
        job.error,
        None if claim is None else claim.token,
        None if claim is None else claim.claim_id,
        None if claim is None else claim.runner_id,
        None if claim is None else claim.session_id,
        None if claim is None else claim.epoch,
        None if settled is None else settled.token,
        None if settled is None else settled.outcome.value,
    )
