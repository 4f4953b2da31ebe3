"""Jobs: enqueue, claim, settle and cancel, each with its checks in one transaction."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from attrs import evolve

from election_core import (
    Claim,
    Claimed,
    ClaimedJob,
    ConflictError,
    ElectionError,
    Group,
    Job,
    JobRecord,
    JobSpec,
    JobState,
    NotFound,
    SessionCall,
    cancel_job,
    check_claim,
    check_settlement,
    claim_job,
    enqueue_job,
    refuse_former,
    repeats,
    settle_job,
)
from election_core.ports import Enqueued, Settle
from election_sqlite._groups import add_job, find_group, find_runner_row, save_jobs
from election_sqlite._job_rows import JOB, record_of
from election_sqlite._lane import Transaction
from election_sqlite._renewals import find_ended
from election_sqlite._rows import columns
from election_sqlite._values import micros, moment

__all__ = ["cancel", "claim", "enqueue", "find_job", "settle"]

_JOB = f"SELECT {columns(JOB)} FROM election_job"
# The first of the group's queue and of the runner's own; each walks its index in order.
_CANDIDATES = f"""
SELECT {columns(JOB)} FROM (
    SELECT * FROM election_job
    WHERE ?1 AND group_id = ?2 AND runner_id IS NULL AND state = 'queued' AND available_at <= ?4
    ORDER BY priority DESC, seq LIMIT ?5
) UNION ALL SELECT {columns(JOB)} FROM (
    SELECT * FROM election_job
    WHERE runner_id = ?3 AND runner_id IS NOT NULL AND state = 'queued' AND available_at <= ?4
    ORDER BY priority DESC, seq LIMIT ?5
) ORDER BY priority DESC, seq LIMIT ?5
"""
_NEXT = """
SELECT min(soonest) FROM (
    SELECT min(available_at) AS soonest FROM election_job INDEXED BY election_job_queue
    WHERE ?1 AND group_id = ?2 AND runner_id IS NULL AND state = 'queued'
    UNION ALL SELECT min(available_at) FROM election_job INDEXED BY election_job_addressed
    WHERE runner_id = ?3 AND runner_id IS NOT NULL AND state = 'queued'
)
"""
_KEEP_CLAIM = """
INSERT INTO election_claim
    (session_id, claim_id, place, group_id, claimed_at, job_id, token, job)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_KNOWN_CLAIM = f"""
SELECT c.token, c.job, c.claimed_at, {columns(JOB, "j")}
FROM election_claim AS c LEFT JOIN election_job AS j ON j.id = c.job_id
WHERE c.session_id = ? AND c.claim_id = ? ORDER BY c.place
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


def claim(
    transaction: Transaction,
    runner_id: str,
    session_id: str,
    *,
    claim_id: str,
    epoch: int | None,
    limit: int,
    tokens: Sequence[str],
) -> Claimed:
    """See [`claim`][election_core.ports.JobStore.claim]."""
    connection, at = transaction.connection, transaction.at
    runner = find_runner_row(connection, runner_id)
    session = None if runner is None else runner.session
    if runner is None or session is None or session.id != session_id:
        ended = find_ended(connection, runner_id, session_id=session_id)
        how = None if ended is None else ended.how
        refuse_former(runner_id, SessionCall.CLAIM, known=runner is not None, how=how)
    known = connection.execute(_KNOWN_CLAIM, (session_id, claim_id)).fetchall()
    if known:
        # A job that was pruned meanwhile has long been settled.
        found = [row for row in known if row[-1] is not None]
        return Claimed(items=tuple(_as_of_then(row, runner_id) for row in found), at=at)
    group, _ = find_group(connection, runner.group_id)
    check_claim(group, runner, session, epoch, at)
    wanted = (epoch is not None, group.id, runner_id)
    found = connection.execute(_CANDIDATES, (*wanted, micros(at), limit)).fetchall()
    claimed = [
        claim_job(
            record_of(row),
            Claim(
                token=token,
                claim_id=claim_id,
                runner_id=runner_id,
                session_id=session_id,
                epoch=epoch,
            ),
            at,
        )
        for row, token in zip(found, tokens, strict=False)
    ]
    save_jobs(connection, claimed)
    connection.executemany(
        _KEEP_CLAIM,
        [
            (session_id, claim_id, place, group.id, micros(at), record.job.id, token, _kept(record))
            for place, (record, token) in enumerate(zip(claimed, tokens, strict=False))
        ],
    )
    items = tuple(
        ClaimedJob(job=record.job, claim_token=token)
        for record, token in zip(claimed, tokens, strict=False)
    )
    next_at = None
    if not items:
        next_at = moment(connection.execute(_NEXT, wanted).fetchone()[0])
    return Claimed(items=items, next_at=next_at, at=at)


def _kept(record: JobRecord) -> str:
    """What of a claimed job changes later, and its group's epoch then."""
    job = record.job
    return json.dumps([job.attempts, micros(job.available_at), job.error, job.epoch])


def _as_of_then(row: tuple[Any, ...], runner_id: str) -> ClaimedJob:
    """What a claim was answered."""
    token, kept, claimed_at, *now = row
    attempts, available_at, error, epoch = json.loads(kept)
    job = evolve(
        record_of(tuple(now)).job,
        state=JobState.RUNNING,
        attempts=attempts,
        available_at=moment(available_at),
        started_at=moment(claimed_at),
        finished_at=None,
        claimed_by=runner_id,
        epoch=epoch,
        cancel_requested=False,
        result=None,
        error=error,
    )
    return ClaimedJob(job=job, claim_token=token)


def settle(transaction: Transaction, settles: Sequence[Settle]) -> list[Job | ElectionError]:
    """See [`settle`][election_core.ports.JobStore.settle]."""
    settling = _Settling(transaction)
    answers: list[Job | ElectionError] = []
    for one in settles:
        try:
            answers.append(settling.settle(one))
        except ElectionError as refused:
            answers.append(refused)
    save_jobs(transaction.connection, settling.settled)
    return answers


class _Settling:
    """Settlements of one transaction, which sees each group and each claimant once."""

    def __init__(self, transaction: Transaction) -> None:
        self._connection = transaction.connection
        self._at = transaction.at
        self._group = cache(self._find_group)
        self._claimant = cache(partial(find_runner_row, transaction.connection))
        self.settled: list[JobRecord] = []

    def _find_group(self, group_id: str) -> Group:
        return find_group(self._connection, group_id)[0]

    def settle(self, settle: Settle) -> Job:
        """Settle one claim; what refuses it changes nothing."""
        record = _find(self._connection, settle.job_id)
        if repeats(record, settle.token, settle.settlement.outcome):
            return record.job
        group = self._group(record.job.group_id)
        claimant = None if record.claim is None else self._claimant(record.claim.runner_id)
        check_settlement(record, settle.token, group, claimant, self._at)
        backoff = group.settings.retry_backoff
        settled = settle_job(record, settle.settlement, at=self._at, backoff=backoff)
        self.settled.append(settled)
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
