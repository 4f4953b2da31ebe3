"""Rows of jobs as the core's type, and back."""

from __future__ import annotations

import json
from typing import Any

from election_core import Claim, Job, JobOutcome, JobRecord, JobState, Settled
from election_sqlite._values import compact, micros, moment

__all__ = ["CHANGING", "JOB", "RECORD", "changing_values", "job_of", "record_of", "record_values"]

_Row = tuple[Any, ...]

JOB = (
    "seq", "id", "group_id", "runner_id", "kind", "payload", "priority", "max_attempts",
    "created_at", "state", "attempts", "available_at", "started_at", "finished_at", "claimed_by",
    "epoch", "cancel_requested", "result", "error",
)  # fmt: skip
RECORD = (
    *JOB, "claim_token", "claim_id", "claim_runner_id", "claim_session_id", "claim_epoch",
    "settled_token", "settled_outcome", "idempotency_key", "fingerprint",
)  # fmt: skip
CHANGING = RECORD[RECORD.index("state") : RECORD.index("idempotency_key")]
"""The columns that change in a job's life; an update that names no other keeps other indexes."""

_STATES = {state.value: state for state in JobState}
_OUTCOMES = {outcome.value: outcome for outcome in JobOutcome}
_decoded = json.JSONDecoder().raw_decode


def _value(text: str) -> object:
    """The value of JSON that was written compactly; mostly there is none."""
    return None if text == "null" else _decoded(text)[0]


def job_of(row: _Row) -> Job:
    """The job in a row that begins with the columns of `JOB`."""
    (
        _, id_, group_id, runner_id, kind, payload, priority, max_attempts, created_at, state,
        attempts, available_at, started_at, finished_at, claimed_by, epoch, cancel_requested,
        result, error, *_,
    ) = row  # fmt: skip
    return Job(
        id=id_,
        group_id=group_id,
        runner_id=runner_id,
        kind=kind,
        payload=_value(payload),
        priority=priority,
        state=_STATES[state],
        attempts=attempts,
        max_attempts=max_attempts,
        available_at=moment(available_at),
        created_at=moment(created_at),
        started_at=moment(started_at),
        finished_at=moment(finished_at),
        claimed_by=claimed_by,
        epoch=epoch,
        cancel_requested=bool(cancel_requested),
        result=_value(result),
        error=error,
    )


def record_of(row: _Row) -> JobRecord:
    """The job in the columns of `RECORD`."""
    (
        token, claim_id, runner_id, session_id, epoch, settled_token, settled_outcome,
        idempotency_key, fingerprint,
    ) = row[len(JOB) :]  # fmt: skip
    claim = None
    if token is not None:
        claim = Claim(
            token=token,
            claim_id=claim_id,
            runner_id=runner_id,
            session_id=session_id,
            epoch=epoch,
        )
    settled = None
    if settled_token is not None:
        settled = Settled(settled_token, _OUTCOMES[settled_outcome])
    return JobRecord(
        job=job_of(row),
        seq=row[0],
        claim=claim,
        settled=settled,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
    )


def record_values(record: JobRecord) -> _Row:
    """A job as the columns of `RECORD`."""
    job = record.job
    return (
        record.seq,
        job.id,
        job.group_id,
        job.runner_id,
        job.kind,
        compact(job.payload),
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
        compact(job.result),
        job.error,
        None if claim is None else claim.token,
        None if claim is None else claim.claim_id,
        None if claim is None else claim.runner_id,
        None if claim is None else claim.session_id,
        None if claim is None else claim.epoch,
        None if settled is None else settled.token,
        None if settled is None else settled.outcome.value,
    )
