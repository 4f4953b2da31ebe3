"""Renewals, the pulses that answer them, and the mark that takes their path."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from election_core import EndedSession, Mark, Pulse, makes_due, refresh_mark, renew
from election_core.ports import Beat, Beaten
from election_sqlite._groups import read_mark
from election_sqlite._lane import Transaction
from election_sqlite._rows import ENDED_SESSION, SESSION, columns, ended_session_of, session_of
from election_sqlite._values import micros, moment, span

__all__ = ["beat", "find_ended", "mark", "pulse"]

# Sessions, and what a renewal that is like most leaves of them: `beat` says which that is.
_HOLDERS = f"""
SELECT r.id, r.group_id, g.epoch, g.lease, g.heartbeat, g.term_runner_id, l.term_expires_at,
    r.lease_expires_at > ?2, max(r.lease_expires_at, ?2 + g.lease),
    CASE WHEN r.step_down_at IS NULL OR ?2 < r.step_down_at
        THEN max(r.term_expires_at, ?2 + g.lease) ELSE r.term_expires_at END,
    {columns(SESSION, "r")}
FROM json_each(?1) AS asked
JOIN election_runner AS r ON r.id = asked.value AND r.session_id IS NOT NULL
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


class _Holder(NamedTuple):
    """A session with what of its group its pulse tells: a row of `_HOLDERS`."""

    runner_id: str
    group_id: str
    group_epoch: int
    lease: int
    heartbeat: int
    leader_runner_id: str | None
    leader_expires_at: int | None
    live: int
    renewed_lease: int
    renewed_term: int | None
    session_id: str
    session_key: str
    session_opened_at: int
    lease_expires_at: int
    ready: int
    seq: int
    healthy_since: int
    held_epoch: int | None
    term_expires_at: int | None
    step_down_at: int | None
    standing_version: int


class _Renewal(NamedTuple):
    """What a renewal leaves of a session: the values of `_RENEW`."""

    lease_expires_at: int
    term_expires_at: int | None
    ready: int
    seq: int
    healthy_since: int
    runner_id: str


def beat(transaction: Transaction, beats: Sequence[Beat]) -> list[Beaten]:
    """See [`beat`][election_core.ports.Store.beat].

    Most renewals are of a live session whose readiness stays, and came in time: those are made by
    the query, together; the others by the core, one by one.
    """
    connection, at = transaction.connection, transaction.at
    holders = _holders(connection, [beat.runner_id for beat in beats], at)
    renewals: dict[str, _Renewal] = {}
    due: set[str] = set()
    for beat in beats:
        holder = holders.get(beat.runner_id)
        if holder is None or holder.session_id != beat.session_id:
            continue
        seq = holder.seq if beat.seq is None else beat.seq
        if holder.live and seq >= holder.seq and beat.ready in (None, holder.ready):
            renewals[beat.runner_id] = _Renewal(
                holder.renewed_lease,
                holder.renewed_term,
                holder.ready,
                seq,
                holder.healthy_since,
                beat.runner_id,
            )
        else:
            renewals[beat.runner_id], calls = _renewal(holder, beat, at)
            if calls:
                due.add(beat.runner_id)
    connection.executemany(_RENEW, renewals.values())
    connection.executemany(_MAKE_DUE, [(micros(at), holders[id_].group_id) for id_ in due])
    leases = _leases(holders)
    leases.update((id_, renewal.term_expires_at) for id_, renewal in renewals.items())
    cancelled = _cancelled(connection, [holders[id_].session_id for id_ in renewals])
    answers: list[Beaten] = []
    for beat in beats:
        renewal = renewals.get(beat.runner_id)
        if renewal is None:
            answers.append(find_ended(connection, beat.runner_id, session_id=beat.session_id))
            continue
        holder = holders[beat.runner_id]
        answers.append(
            _pulse(
                holder,
                leases,
                cancelled,
                at,
                lease_expires_at=renewal.lease_expires_at,
                term_expires_at=renewal.term_expires_at,
                margin=moment(holder.lease_expires_at) - at,
                due=beat.runner_id in due,
            )
        )
    return answers


def _renewal(holder: _Holder, beat: Beat, at: datetime) -> tuple[_Renewal, bool]:
    """What the core makes of a renewal, and whether it makes the group due."""
    before = session_of(holder[-len(SESSION) :])
    assert before is not None  # noqa: S101 - the query finds no others
    session = renew(before, at, lease=span(holder.lease), seq=beat.seq, ready=beat.ready)
    renewal = _Renewal(
        micros(session.lease_expires_at),
        micros(session.term_expires_at),
        session.ready,
        session.seq,
        micros(session.healthy_since),
        holder.runner_id,
    )
    return renewal, makes_due(before, session, at)


def pulse(transaction: Transaction, runner_id: str, session_id: str) -> Beaten:
    """See [`pulse`][election_core.ports.Store.pulse]."""
    connection, at = transaction.connection, transaction.at
    holders = _holders(connection, [runner_id], at)
    holder = holders.get(runner_id)
    if holder is None or holder.session_id != session_id:
        return find_ended(connection, runner_id, session_id=session_id)
    return _pulse(
        holder,
        _leases(holders),
        _cancelled(connection, [session_id]),
        at,
        lease_expires_at=holder.lease_expires_at,
        term_expires_at=holder.term_expires_at,
    )


def _holders(
    connection: sqlite3.Connection, runner_ids: list[str], at: datetime
) -> dict[str, _Holder]:
    """Those of the runners that have sessions."""
    rows = connection.execute(_HOLDERS, (json.dumps(runner_ids), micros(at)))
    return {row[0]: _Holder._make(row) for row in rows}


def _leases(holders: Mapping[str, _Holder]) -> dict[str | None, int | None]:
    """The ends of the terms of the holders' leaders."""
    return {each.leader_runner_id: each.leader_expires_at for each in holders.values()}


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
    leases: Mapping[str | None, int | None],
    cancelled: Mapping[str, tuple[str, ...]],
    at: datetime,
    *,
    lease_expires_at: int,
    term_expires_at: int | None,
    margin: timedelta | None = None,
    due: bool = False,
) -> Pulse:
    leader_until = leases.get(holder.leader_runner_id)
    leads = leader_until is not None and moment(leader_until) > at
    return Pulse(
        runner_id=holder.runner_id,
        session_id=holder.session_id,
        group_id=holder.group_id,
        at=at,
        lease_expires_at=moment(lease_expires_at),
        held_epoch=holder.held_epoch,
        term_expires_at=moment(term_expires_at),
        step_down_at=moment(holder.step_down_at),
        standing_version=holder.standing_version,
        cancel=cancelled.get(holder.session_id, ()),
        group_epoch=holder.group_epoch,
        leader_runner_id=holder.leader_runner_id if leads else None,
        heartbeat=span(holder.heartbeat),
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
