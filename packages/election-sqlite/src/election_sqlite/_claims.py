"""Claims of jobs: who may claim, what there is to claim, and what a claim was answered.

The statements decide what is allowed, which is the common case. What is not is judged by the core's
own rules, in the same transaction.
"""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from attrs import evolve

from election_core import (
    Claimed,
    ClaimedJob,
    Job,
    JobState,
    SessionCall,
    check_claim,
    refuse_former,
)
from election_sqlite._groups import find_group, find_runner_row
from election_sqlite._job_rows import JOB, job_of
from election_sqlite._lane import Transaction
from election_sqlite._renewals import find_ended
from election_sqlite._rows import columns
from election_sqlite._values import micros, moment

__all__ = ["claim"]

# Whether a session may claim, as `check_claim` in the core says, and the claim is a new one.
_ALLOWED = """
SELECT 1 FROM election_runner AS r JOIN election_group AS g ON g.id = r.group_id
WHERE r.id = ?1 AND r.session_id = ?2
    AND CASE WHEN ?3 IS NULL THEN r.lease_expires_at > ?4 ELSE
        g.epoch = ?3 AND g.term_runner_id = r.id AND g.term_session_id = r.session_id
        AND r.term_expires_at > ?4 AND r.step_down_at IS NULL
    END
    AND NOT EXISTS (SELECT 1 FROM election_claim WHERE session_id = ?2 AND claim_id = ?5)
"""
_GROUP = "(SELECT group_id FROM election_runner WHERE id = ?2)"
# The first of the group's queue and of the runner's own; each walks its index in order.
_CANDIDATES = f"""
SELECT seq, priority FROM (
    SELECT seq, priority FROM election_job
    WHERE ?1 AND group_id = {_GROUP} AND runner_id IS NULL
        AND state = 'queued' AND available_at <= ?3
    ORDER BY priority DESC, seq LIMIT ?4
) UNION ALL SELECT seq, priority FROM (
    SELECT seq, priority FROM election_job
    WHERE runner_id = ?2 AND runner_id IS NOT NULL AND state = 'queued' AND available_at <= ?3
    ORDER BY priority DESC, seq LIMIT ?4
) ORDER BY priority DESC, seq LIMIT ?4
"""
_NEXT = f"""
SELECT min(soonest) FROM (
    SELECT min(available_at) AS soonest FROM election_job INDEXED BY election_job_queue
    WHERE ?1 AND group_id = {_GROUP} AND runner_id IS NULL AND state = 'queued'
    UNION ALL SELECT min(available_at) FROM election_job INDEXED BY election_job_addressed
    WHERE runner_id = ?2 AND runner_id IS NOT NULL AND state = 'queued'
)
"""
# As `claim_job` in the core.
_CLAIM = """
UPDATE election_job SET
    state = 'running', attempts = attempts + 1, started_at = ?4, claimed_by = ?1,
    epoch = CASE WHEN runner_id IS NULL THEN ?3 END,
    claim_token = ?6, claim_id = ?5, claim_runner_id = ?1, claim_session_id = ?2,
    claim_epoch = CASE WHEN runner_id IS NULL THEN ?3 END
WHERE seq = ?7
"""
_JOBS = f"""
SELECT {columns(JOB, "j")} FROM json_each(?) AS given
CROSS JOIN election_job AS j ON j.seq = given.value
"""
_KEEP = """
INSERT INTO election_claim (session_id, claim_id, group_id, claimed_at, epoch, jobs)
VALUES (?, ?, ?, ?, ?, ?)
"""
_KEPT = """
SELECT claimed_at, epoch, jobs FROM election_claim WHERE session_id = ? AND claim_id = ?
"""


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
    asked = (runner_id, session_id, epoch, micros(transaction.at), claim_id)
    allowed = transaction.connection.execute(_ALLOWED, asked).fetchone()
    known = None
    if allowed is None:
        known = _judge(transaction, runner_id, session_id, claim_id=claim_id, epoch=epoch)
    return known or _take(transaction, asked, limit, tokens)


def _judge(
    transaction: Transaction, runner_id: str, session_id: str, *, claim_id: str, epoch: int | None
) -> Claimed | None:
    """What the claim was answered, if it is known; raises why it may not be made, if it may not."""
    connection, at = transaction.connection, transaction.at
    runner = find_runner_row(connection, runner_id)
    session = None if runner is None else runner.session
    if runner is None or session is None or session.id != session_id:
        ended = find_ended(connection, runner_id, session_id=session_id)
        how = None if ended is None else ended.how
        refuse_former(runner_id, SessionCall.CLAIM, known=runner is not None, how=how)
    kept = connection.execute(_KEPT, (session_id, claim_id)).fetchone()
    if kept is None:
        check_claim(find_group(connection, runner.group_id)[0], runner, session, epoch, at)
        return None
    claimed_at, claim_epoch, kept_jobs = kept
    then = json.loads(kept_jobs)
    now = _jobs(connection, [seq for seq, *_ in then])
    items = tuple(
        ClaimedJob(
            job=evolve(
                now[seq],
                state=JobState.RUNNING,
                attempts=attempts,
                available_at=moment(available_at),
                started_at=moment(claimed_at),
                finished_at=None,
                claimed_by=runner_id,
                epoch=claim_epoch if now[seq].runner_id is None else None,
                cancel_requested=False,
                result=None,
                error=error,
            ),
            claim_token=token,
        )
        for seq, token, attempts, available_at, error in then
        if seq in now  # a job that was pruned meanwhile has long been settled
    )
    return Claimed(items=items, at=at)


def _take(
    transaction: Transaction,
    asked: tuple[str, str, int | None, int, str],
    limit: int,
    tokens: Sequence[str],
) -> Claimed:
    """Claim what there is, and keep what the claim is answered."""
    connection = transaction.connection
    runner_id, session_id, epoch, now, claim_id = asked
    queues = (epoch is not None, runner_id)
    seqs = [seq for seq, _ in connection.execute(_CANDIDATES, (*queues, now, limit))]
    if not seqs:
        next_at = moment(connection.execute(_NEXT, queues).fetchone()[0])
        return Claimed(next_at=next_at, at=transaction.at)
    given = list(zip(seqs, tokens, strict=False))
    connection.executemany(_CLAIM, [(*asked, token, seq) for seq, token in given])
    jobs = _jobs(connection, seqs)
    changing = [
        (seq, token, jobs[seq].attempts, micros(jobs[seq].available_at), jobs[seq].error)
        for seq, token in given
    ]
    group_id = jobs[seqs[0]].group_id
    connection.execute(_KEEP, (session_id, claim_id, group_id, now, epoch, json.dumps(changing)))
    items = tuple(ClaimedJob(job=jobs[seq], claim_token=token) for seq, token in given)
    return Claimed(items=items, at=transaction.at)


def _jobs(connection: sqlite3.Connection, seqs: list[int]) -> dict[int, Job]:
    """Jobs by their place in the order of enqueueing."""
    return {row[0]: job_of(row) for row in connection.execute(_JOBS, (json.dumps(seqs),))}
