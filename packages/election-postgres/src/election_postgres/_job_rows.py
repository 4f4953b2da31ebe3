"""Rows of jobs as the core's type."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from election_core import Claim, Job, JobOutcome, JobRecord, JobState, Settled

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


def job_of(row: Iterable[Any]) -> Job:
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
        available_at=available_at,
        created_at=created_at,
        started_at=started_at,
        finished_at=finished_at,
        claimed_by=claimed_by,
        epoch=epoch,
        cancel_requested=cancel_requested,
        result=_value(result),
        error=error,
    )


def record_of(row: Iterable[Any]) -> JobRecord:
    """The job in a row that begins with the columns of `RECORD`."""
    values = tuple(row)
    (
        token, claim_id, runner_id, session_id, epoch, settled_token, settled_outcome,
        idempotency_key, fingerprint,
    ) = values[len(JOB) : len(RECORD)]  # fmt: skip
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
        settled = Settled(settled_token, JobOutcome(settled_outcome))
    return JobRecord(
        job=job_of(values),
        seq=values[0],
        claim=claim,
        settled=settled,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
    )
