"""Rows of jobs as the core's type."""

from __future__ import annotations

import json

from election_core import Claim, Job, JobOutcome, JobRecord, JobState, Settled
from election_postgres._rows import Row

__all__ = ["JOB", "RECORD", "job_of", "record_of"]

JOB = (
    "seq", "id", "group_id", "runner_id", "kind", "payload", "priority", "max_attempts",
    "created_at", "state", "attempts", "available_at", "started_at", "finished_at", "claimed_by",
    "epoch", "cancel_requested", "result", "error",
)  # fmt: skip
RECORD = (
    *JOB, "claim_token", "claim_id", "claim_runner_id", "claim_session_id", "claim_epoch",
    "settled_token", "settled_outcome", "idempotency_key", "fingerprint",
)  # fmt: skip

_STATES = {state.value: state for state in JobState}
_decoded = json.JSONDecoder().raw_decode


def _value(text: str) -> object:
    """The value of JSON that was written compactly; mostly there is none."""
    return None if text == "null" else _decoded(text)[0]


def job_of(row: Row) -> Job:
    """The job in the columns of `JOB`."""
    return Job(
        id=row["id"],
        group_id=row["group_id"],
        runner_id=row["runner_id"],
        kind=row["kind"],
        payload=_value(row["payload"]),
        priority=row["priority"],
        state=_STATES[row["state"]],
        attempts=row["attempts"],
        max_attempts=row["max_attempts"],
        available_at=row["available_at"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        claimed_by=row["claimed_by"],
        epoch=row["epoch"],
        cancel_requested=row["cancel_requested"],
        result=_value(row["result"]),
        error=row["error"],
    )


def record_of(row: Row) -> JobRecord:
    """The job in the columns of `RECORD`."""
    claim = None
    if row["claim_token"] is not None:
        claim = Claim(
            token=row["claim_token"],
            claim_id=row["claim_id"],
            runner_id=row["claim_runner_id"],
            session_id=row["claim_session_id"],
            epoch=row["claim_epoch"],
        )
    settled = None
    if row["settled_token"] is not None:
        settled = Settled(row["settled_token"], JobOutcome(row["settled_outcome"]))
    return JobRecord(
        job=job_of(row),
        seq=row["seq"],
        claim=claim,
        settled=settled,
        idempotency_key=row["idempotency_key"],
        fingerprint=row["fingerprint"],
    )
