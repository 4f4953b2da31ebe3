"""Renewals and what follows from them by time: pulses, the mark, groups that are due."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import frozen

from election_core import EndedSession, Mark, Pulse, Session, makes_due, refresh_mark, renew
from election_core.ports import Beat, Beaten, Due
from election_sqlite._groups import read_mark
from election_sqlite._lane import Transaction
from election_sqlite._rows import ENDED_SESSION, SESSION, columns, ended_session_of, session_of
from election_sqlite._values import micros, moment, span

__all__ = ["beat", "due", "find_ended", "mark", "pulse"]

_HOLDERS = f"""
SELECT r.id, r.group_id, g.epoch, g.lease, g.heartbeat, g.term_runner_id, l.term_expires_at,
    {columns(SESSION, "r")}
FROM json_each(?) AS asked
JOIN election_runner AS r ON r.id = asked.value
JOIN election_group AS g ON g.id = r.group_id
LEFT JOIN election_runner AS l ON l.id = g.term_runner_id
"""
_CANCELLED = """
SELECT j.claim_session_id, j.id FROM json_each(?) AS asked
JOIN election_job AS j ON j.claim_session_id = asked.value
WHERE j.state = 'running' AND j.cancel_requested ORDER BY j.seq
"""
_RENEW = """
UPDATE election_runner
SET lease_expires_at = ?, term_expires_at = ?, ready = ?, seq = ?, healthy_since = ? WHERE id = ?
"""
# The revision rises, or a commit that had not seen this would write over the due time.
_MAKE_DUE = "UPDATE election_group SET look_again_at = ?, revision = revision + 1 WHERE id = ?"

_ENDED = f"""
SELECT {columns(ENDED_SESSION)} FROM (
    SELECT *, rowid AS place FROM election_ended_session WHERE session_id = ?2 AND runner_id = ?1
    UNION ALL
    SELECT *, rowid FROM election_ended_session WHERE runner_id = ?1 AND session_key = ?3
) ORDER BY ended_at DESC, place DESC LIMIT 1
"""

# When each group is due: at its look_again_at, and at the end of its term's lease if that was not
# decided about. The two are looked up apart, so that each has an index.
_NOT_DECIDED = "(g.decided_at IS NULL OR g.decided_at < r.term_expires_at)"
_TERMS = f"""
FROM election_runner AS r JOIN election_group AS g ON g.term_runner_id = r.id AND g.id = r.group_id
WHERE r.held_epoch IS NOT NULL AND {_NOT_DECIDED}
"""
_DUE = f"""
SELECT id, revision, min(since) AS since FROM (
    SELECT * FROM (
        SELECT id, revision, look_again_at AS since FROM election_group
        WHERE look_again_at <= ?1 ORDER BY look_again_at, id LIMIT ?2
    ) UNION ALL SELECT * FROM (
        SELECT g.id, g.revision, r.term_expires_at {_TERMS} AND r.term_expires_at <= ?1
        ORDER BY r.term_expires_at, g.id LIMIT ?2
    )
) GROUP BY id ORDER BY since, id LIMIT ?2
"""
_NEXT = f"""
SELECT min(since) FROM (
    SELECT * FROM (
        SELECT g.look_again_at AS since FROM election_group AS g
        LEFT JOIN election_runner AS r ON r.id = g.term_runner_id
        WHERE g.look_again_at > ?1
            AND NOT coalesce(r.term_expires_at <= ?1 AND {_NOT_DECIDED}, FALSE)
        ORDER BY g.look_again_at LIMIT 1
    ) UNION ALL SELECT * FROM (
        SELECT r.term_expires_at {_TERMS} AND r.term_expires_at > ?1
            AND (g.look_again_at IS NULL OR g.look_again_at > ?1)
        ORDER BY r.term_expires_at LIMIT 1
    )
)
"""


@frozen
class _Holder:
    """A session with what of its group its pulse tells."""

    runner_id: str
    group_id: str
    group_epoch: int
    lease: timedelta
    heartbeat: timedelta
    leader_runner_id: str | None
    session: Session


def beat(transaction: Transaction, beats: Sequence[Beat]) -> list[Beaten]:
    """See [`beat`][election_core.ports.Store.beat]."""
    connection, at = transaction.connection, transaction.at
    holders, leases = _holders(connection, [beat.runner_id for beat in beats])
    current = {holder.session.id for holder in holders.values()}
    cancelled = _cancelled(connection, [b.session_id for b in beats if b.session_id in current])
    renewed: list[tuple[object, ...]] = []
    due: list[tuple[object, ...]] = []
    sessions: dict[str, tuple[Session, bool]] = {}
    for beat in beats:
        holder = holders.get(beat.runner_id)
        if holder is None or holder.session.id != beat.session_id:
            continue
        before = holder.session
        session = renew(before, at, lease=holder.lease, seq=beat.seq, ready=beat.ready)
        if session.term_expires_at is not None:
            leases[holder.runner_id] = session.term_expires_at
        if session is not before:
            renewed.append(
                (
                    micros(session.lease_expires_at),
                    micros(session.term_expires_at),
                    session.ready,
                    session.seq,
                    micros(session.healthy_since),
                    holder.runner_id,
                )
            )
        calls = makes_due(before, session, at)
        if calls:
            due.append((micros(at), holder.group_id))
        sessions[holder.runner_id] = session, calls
    connection.executemany(_RENEW, renewed)
    connection.executemany(_MAKE_DUE, due)
    answers: list[Beaten] = []
    for beat in beats:
        if beat.runner_id not in sessions:
            answers.append(find_ended(connection, beat.runner_id, session_id=beat.session_id))
            continue
        holder = holders[beat.runner_id]
        session, calls = sessions[beat.runner_id]
        margin = holder.session.lease_expires_at - at
        answers.append(_pulse(holder, session, leases, cancelled, at, margin=margin, due=calls))
    return answers


def pulse(transaction: Transaction, runner_id: str, session_id: str) -> Beaten:
    """See [`pulse`][election_core.ports.Store.pulse]."""
    connection = transaction.connection
    holders, leases = _holders(connection, [runner_id])
    holder = holders.get(runner_id)
    if holder is None or holder.session.id != session_id:
        return find_ended(connection, runner_id, session_id=session_id)
    cancelled = _cancelled(connection, [session_id])
    return _pulse(holder, holder.session, leases, cancelled, transaction.at)


def _holders(
    connection: sqlite3.Connection, runner_ids: list[str]
) -> tuple[dict[str, _Holder], dict[str, datetime]]:
    """Those of the runners that have sessions, and the ends of their leaders' terms."""
    holders: dict[str, _Holder] = {}
    leases: dict[str, datetime] = {}
    for row in connection.execute(_HOLDERS, (json.dumps(runner_ids),)):
        runner_id, group_id, epoch, lease, heartbeat, leader, term_ends = row[:7]
        if leader is not None and term_ends is not None:
            leases[leader] = moment(term_ends)
        session = session_of(row[7:])
        if session is not None:
            holders[runner_id] = _Holder(
                runner_id, group_id, epoch, span(lease), span(heartbeat), leader, session
            )
    return holders, leases


def _cancelled(
    connection: sqlite3.Connection, session_ids: list[str]
) -> dict[str, tuple[str, ...]]:
    """The running jobs of each session whose end was asked for."""
    found: dict[str, tuple[str, ...]] = {}
    for session_id, job_id in connection.execute(_CANCELLED, (json.dumps(session_ids),)):
        found[session_id] = (*found.get(session_id, ()), job_id)
    return found


def _pulse(
    holder: _Holder,
    session: Session,
    leases: dict[str, datetime],
    cancelled: dict[str, tuple[str, ...]],
    at: datetime,
    *,
    margin: timedelta | None = None,
    due: bool = False,
) -> Pulse:
    leader = holder.leader_runner_id
    if leader is not None and (leader not in leases or leases[leader] <= at):
        leader = None
    return Pulse(
        runner_id=holder.runner_id,
        session_id=session.id,
        group_id=holder.group_id,
        at=at,
        lease_expires_at=session.lease_expires_at,
        held_epoch=session.held_epoch,
        term_expires_at=session.term_expires_at,
        step_down_at=session.step_down_at,
        standing_version=session.standing_version,
        cancel=cancelled.get(session.id, ()),
        group_epoch=holder.group_epoch,
        leader_runner_id=leader,
        heartbeat=holder.heartbeat,
        margin=margin,
        due=due,
    )


def find_ended(
    connection: sqlite3.Connection,
    runner_id: str,
    *,
    session_id: str | None = None,
    key: str | None = None,
) -> EndedSession | None:
    """See [`ended_session`][election_core.ports.Store.ended_session]."""
    row: tuple[Any, ...] | None = connection.execute(
        _ENDED, (runner_id, session_id, key)
    ).fetchone()
    return None if row is None else ended_session_of(row)


def due(
    transaction: Transaction, limit: int, hold: timedelta, held: dict[str, tuple[datetime, int]]
) -> Due:
    """See [`due`][election_core.ports.Store.due].

    Args:
        transaction: The store's.
        limit: How many groups at most.
        hold: How long nobody else is told of them.
        held: Until when each group is held, and at which revision; noted here.
    """
    connection, at = transaction.connection, transaction.at
    for group_id in [group_id for group_id, (until, _) in held.items() if until <= at]:
        del held[group_id]
    rows = connection.execute(_DUE, (micros(at), limit + len(held))).fetchall()
    found: list[tuple[str, int]] = []
    next_at = moment(connection.execute(_NEXT, (micros(at),)).fetchone()[0])
    for group_id, revision, _ in rows:
        until, seen = held.get(group_id, (at, revision))
        if until > at and seen == revision:
            next_at = until if next_at is None else min(next_at, until)
        else:
            found.append((group_id, revision))
    if hold:
        held.update((group_id, (at + hold, revision)) for group_id, revision in found[:limit])
    return Due(group_ids=tuple(group_id for group_id, _ in found[:limit]), next_at=next_at, at=at)


def mark(transaction: Transaction, tick: timedelta) -> Mark:
    """See [`mark`][election_core.ports.Store.mark]."""
    connection, at = transaction.connection, transaction.at
    known = connection.execute("SELECT mark_at IS NOT NULL FROM election_meta").fetchone()[0]
    refreshed = refresh_mark(read_mark(connection, at) if known else None, at, tick)
    outages = [[micros(outage.began), micros(outage.ended)] for outage in refreshed.outages]
    connection.execute(
        "UPDATE election_meta SET mark_at = ?, mark_tick = ?, outages = ?",
        (micros(refreshed.at), micros(refreshed.tick), json.dumps(outages)),
    )
    return refreshed
