"""Jobs: enqueue, settle and cancel, each with its checks in one transaction."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence

from election_core import (
    ConflictError,
    ElectionError,
    Job,
    JobOutcome,
    JobRecord,
    JobSpec,
    JobState,
    NotFound,
    cancel_job,
    check_json,
    check_settlement,
    enqueue_job,
    repeats,
    settle_job,
)
from election_core.ports import Enqueued, Settle
from election_sqlite._groups import add_job, find_group, find_runner_row, save_jobs
from election_sqlite._job_rows import RECORD, record_of
from election_sqlite._lane import Transaction
from election_sqlite._rows import columns
from election_sqlite._values import micros

__all__ = ["cancel", "enqueue", "find_job", "settle"]

_JOB = f"SELECT {columns(RECORD)} FROM election_job"
_JOBS = f"""
SELECT {columns(RECORD, "j")} FROM json_each(?) AS given
CROSS JOIN election_job AS j ON j.id = given.value
"""
# A success under a claim that stands, as `check_settlement` and `settle_job` in the core say.
_SUCCEED = """
UPDATE election_job AS j SET
    state = 'succeeded', finished_at = ?1, result = ?2, error = NULL, settled_token = claim_token,
    settled_outcome = 'succeeded'
WHERE id = ?3 AND claim_token = ?4 AND state = 'running' AND EXISTS (
    SELECT 1 FROM election_runner AS r JOIN election_group AS g ON g.id = j.group_id
    WHERE r.id = j.claim_runner_id AND r.session_id = j.claim_session_id
        AND CASE WHEN j.claim_epoch IS NULL THEN r.lease_expires_at > ?1
            ELSE g.term_epoch = j.claim_epoch AND r.term_expires_at > ?1 END
)
"""


def _find(connection: sqlite3.Connection, job_id: str) -> JobRecord:
    row = connection.execute(f"{_JOB} WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise NotFound(f"no job {job_id!r}")
    return record_of(row)


def find_job(transaction: Transaction, job_id: str) -> Job:
    """See [`job`][election_core.ports.JobStore.job]."""
    return _find(transaction.connection, job_id).job


def enqueue(
    transaction: Transaction,
    group_id: str,
    spec: JobSpec,
    *,
    job_id: str,
    idempotency_key: str | None,
) -> Enqueued:
    """See [`enqueue`][election_core.ports.JobStore.enqueue]."""
    connection = transaction.connection
    group, _ = find_group(connection, group_id)
    if group.deleted_at is not None:
        raise NotFound(f"no group {group_id!r}")
    new = enqueue_job(
        spec,
        job_id=job_id,
        group_id=group_id,
        at=transaction.at,
        idempotency_key=idempotency_key,
    )
    if idempotency_key is not None:
        row = connection.execute(
            f"{_JOB} WHERE group_id = ? AND idempotency_key = ?", (group_id, idempotency_key)
        ).fetchone()
        if row is not None:
            known = record_of(row)
            if known.fingerprint != new.fingerprint:
                raise ConflictError("this Idempotency-Key was used for another job")
            return Enqueued(job=known.job, created=False)
    if spec.runner_id is not None:
        runner = find_runner_row(connection, spec.runner_id)
        if runner is None or runner.group_id != group_id:
            raise NotFound(f"no runner {spec.runner_id!r} in group {group_id!r}")
    add_job(connection, new)
    return Enqueued(job=new.job, created=True)


def settle(transaction: Transaction, settles: Sequence[Settle]) -> list[Job | ElectionError]:
    """See [`settle`][election_core.ports.JobStore.settle].

    Most settlements are a success under a claim that stands. Those are written at once, and look
    like repeated ones from then on; the core judges all as it finds them.
    """
    connection = transaction.connection
    connection.executemany(_SUCCEED, _successes(transaction, settles))
    rows = connection.execute(_JOBS, (json.dumps([settle.job_id for settle in settles]),))
    records = {row[1]: record_of(row) for row in rows}
    answers: list[Job | ElectionError] = []
    for settle in settles:
        try:
            answers.append(_settle(transaction, records.get(settle.job_id), settle))
        except ElectionError as refused:
            answers.append(refused)
    return answers


def _successes(
    transaction: Transaction, settles: Sequence[Settle]
) -> Iterator[tuple[int, str, str, str]]:
    """The values of `_SUCCEED` for settlements that may be kept."""
    now = micros(transaction.at)
    for settle in settles:
        if settle.settlement.outcome is JobOutcome.SUCCEEDED:
            try:
                result = check_json(settle.settlement.result, "result")
            except ElectionError:
                continue
            yield now, result, settle.job_id, settle.token


def _settle(transaction: Transaction, record: JobRecord | None, settle: Settle) -> Job:
    """Settle one claim of a job as it is; what refuses it changes nothing."""
    connection, at = transaction.connection, transaction.at
    if record is None:
        raise NotFound(f"no job {settle.job_id!r}")
    if repeats(record, settle.token, settle.settlement.outcome):
        return record.job
    group, _ = find_group(connection, record.job.group_id)
    claim = record.claim
    claimant = None if claim is None else find_runner_row(connection, claim.runner_id)
    check_settlement(record, settle.token, group, claimant, at)
    backoff = group.settings.retry_backoff
    settled = settle_job(record, settle.settlement, at=at, backoff=backoff)
    save_jobs(connection, [settled])
    return settled.job


def cancel(transaction: Transaction, job_id: str) -> Job:
    """See [`cancel`][election_core.ports.JobStore.cancel]."""
    connection = transaction.connection
    record = _find(connection, job_id)
    cancelled = cancel_job(record, transaction.at)
    if cancelled == record:
        return record.job
    save_jobs(connection, [cancelled])
    claim = record.claim
    if record.job.state is JobState.RUNNING and claim is not None:
        connection.execute(
            "UPDATE election_runner SET standing_version = standing_version + 1"
            " WHERE id = ? AND session_id = ?",
            (claim.runner_id, claim.session_id),
        )
    return cancelled.job
