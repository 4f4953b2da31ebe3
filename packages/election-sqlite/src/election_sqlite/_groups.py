"""Groups: load one, and commit a change of one with compare-and-set."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime

from election_core import (
    Changes,
    Conflict,
    Ended,
    Group,
    JobRecord,
    Live,
    Mark,
    NotFound,
    Runner,
    Snapshot,
    TermLease,
    lapse_job,
    lost_group,
    orphan_job,
)
from election_core.ports import Committed
from election_sqlite._job_rows import CHANGING, RECORD, changing_values, record_of, record_values
from election_sqlite._lane import Transaction
from election_sqlite._rows import (
    GROUP,
    RUNNER,
    SESSION,
    columns,
    event_values,
    group_of,
    group_values,
    mark_of,
    runner_of,
    runner_values,
    session_values,
)
from election_sqlite._values import micros, moment

__all__ = [
    "add_job",
    "commit",
    "find_group",
    "find_runner_row",
    "load",
    "read_mark",
    "save_jobs",
    "write",
]

_FIND_GROUP = f"SELECT revision, {columns(GROUP)} FROM election_group WHERE id = ?"
_FIND_RUNNER = f"SELECT {columns(RUNNER)}, {columns(SESSION)} FROM election_runner WHERE id = ?"
_MEMBERS = (
    f"SELECT {columns(RUNNER)}, {columns(SESSION)} FROM election_runner"
    " WHERE group_id = ? ORDER BY created_at, id"
)
_COMMIT = ("revision", "commit_id", "commit_revision", "commit_at")
_SAVE_GROUP = (
    f"INSERT INTO election_group ({columns(GROUP + _COMMIT)})"
    f" VALUES (?{', ?' * (len(GROUP + _COMMIT) - 1)}) ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in (GROUP + _COMMIT)[1:])
)
_SAVE_RUNNER = (
    f"INSERT INTO election_runner ({columns(RUNNER)}) VALUES (?{', ?' * (len(RUNNER) - 1)})"
    " ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in RUNNER[1:])
)
_SAVE_SESSION = (
    f"UPDATE election_runner SET ({columns(SESSION)}) = (?{', ?' * (len(SESSION) - 1)})"
    " WHERE id = ?"
)
# What renewals own stays as the row has it; a session that holds no term has no end of one.
_KEEP_SESSION = """
UPDATE election_runner SET
    held_epoch = ?1,
    step_down_at = ?2,
    term_expires_at = CASE WHEN ?1 IS NOT NULL THEN term_expires_at END
WHERE id = ?3
"""
_NEW_JOB = f"INSERT INTO election_job ({columns(RECORD)}) VALUES (?{', ?' * (len(RECORD) - 1)})"
_SAVE_JOB = (
    f"UPDATE election_job SET ({columns(CHANGING)}) = (?{', ?' * (len(CHANGING) - 1)})"
    " WHERE seq = ?"
)
_JOBS = f"SELECT {columns(RECORD)} FROM election_job"


def read_mark(connection: sqlite3.Connection, at: datetime) -> Mark:
    """The current mark; before the first one, that of somebody who was here just now."""
    row = connection.execute("SELECT mark_at, mark_tick, outages FROM election_meta").fetchone()
    return Mark(at=at) if row[0] is None else mark_of(*row)


def find_group(connection: sqlite3.Connection, group_id: str) -> tuple[Group, int]:
    """A group or its remains, with its revision.

    Raises:
        NotFound: There was never one.
    """
    row = connection.execute(_FIND_GROUP, (group_id,)).fetchone()
    if row is None:
        raise NotFound(f"no group {group_id!r}")
    return group_of(row[1:]), row[0]


def find_runner_row(connection: sqlite3.Connection, runner_id: str) -> Runner | None:
    """A runner by its id, with its session."""
    row = connection.execute(_FIND_RUNNER, (runner_id,)).fetchone()
    return None if row is None else runner_of(row)


def load(transaction: Transaction, group_id: str) -> Snapshot:
    """See [`load`][election_core.ports.Store.load]."""
    connection = transaction.connection
    try:
        group, revision = find_group(connection, group_id)
    except NotFound:
        lost = _lost_group(connection, group_id)
        if lost is None:
            raise
        group, revision = lost, 0
    return Snapshot(
        at=transaction.at,
        revision=revision,
        group=group,
        runners=tuple(runner_of(row) for row in connection.execute(_MEMBERS, (group_id,))),
        mark=read_mark(connection, transaction.at),
    )


def _lost_group(connection: sqlite3.Connection, group_id: str) -> Group | None:
    """What remains of a group that may be among lost commits; `None` if none were ever lost."""
    epoch, until = connection.execute("SELECT lost_epoch, lost_until FROM election_meta").fetchone()
    if until is None:
        return None
    return lost_group(group_id, epoch, moment(until))


def commit(
    transaction: Transaction, changes: Changes, *, expected_revision: int, commit_id: str
) -> Committed:
    """See [`commit`][election_core.ports.Store.commit]."""
    connection = transaction.connection
    row = connection.execute(
        "SELECT revision, commit_id, commit_revision, commit_at FROM election_group WHERE id = ?",
        (changes.group.id,),
    ).fetchone()
    revision = 0 if row is None else row[0]
    if row is not None and row[1] == commit_id:
        return Committed(revision=row[2], at=moment(row[3]))
    if revision != expected_revision:
        raise Conflict(f"group {changes.group.id!r} is at revision {revision}")
    _expect_term_leases(connection, changes)
    write(transaction, changes, revision + 1, commit_id)
    _expect_live(transaction, changes)
    return Committed(revision=revision + 1, at=transaction.at)


def _expect_term_leases(connection: sqlite3.Connection, changes: Changes) -> None:
    for expected in changes.expects:
        if isinstance(expected, TermLease):
            row = connection.execute(
                "SELECT session_id, term_expires_at FROM election_runner WHERE id = ?",
                (expected.runner_id,),
            ).fetchone()
            if row != (expected.session_id, micros(expected.expires_at)):
                raise Conflict("the leader renewed its lease meanwhile")


def _expect_live(transaction: Transaction, changes: Changes) -> None:
    for expected in changes.expects:
        if isinstance(expected, Live):
            row = transaction.connection.execute(
                "SELECT session_id, ready, lease_expires_at FROM election_runner WHERE id = ?",
                (expected.runner_id,),
            ).fetchone()
            if (
                row is None
                or row[:2] != (expected.session_id, 1)
                or row[2] <= micros(transaction.at)
            ):
                raise Conflict("the elected runner is not live and ready any more")


def write(transaction: Transaction, changes: Changes, revision: int, commit_id: str) -> None:
    """Write changes under a revision, whatever they expected."""
    connection = transaction.connection
    group = changes.group
    committed = (revision, commit_id, revision, micros(transaction.at))
    connection.execute(_SAVE_GROUP, (*group_values(group), *committed))
    _orphan_jobs(transaction, changes)
    connection.executemany(
        "DELETE FROM election_runner WHERE id = ?", [(id_,) for id_ in changes.deleted]
    )
    for runner in changes.runners:
        _write_runner(connection, runner)
    connection.executemany(
        "UPDATE election_runner SET term_expires_at = lease_expires_at WHERE id = ?",
        [(id_,) for id_ in changes.granted],
    )
    connection.executemany(
        "UPDATE election_runner SET standing_version = standing_version + 1 WHERE id = ?",
        [(id_,) for id_ in changes.roused],
    )
    _end_sessions(transaction, changes)
    _end_terms(transaction, changes)
    if group.deleted_at is not None:
        for table in ("job", "claim", "token"):
            connection.execute(f"DELETE FROM election_{table} WHERE group_id = ?", (group.id,))
    connection.executemany(
        "INSERT INTO election_event"
        " (group_id, happened_at, kind, epoch, runner_id, reason, actor, details)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [event_values(event) for event in changes.events],
    )


def _write_runner(connection: sqlite3.Connection, runner: Runner) -> None:
    row = connection.execute(
        "SELECT session_id FROM election_runner WHERE id = ?", (runner.id,)
    ).fetchone()
    connection.execute(_SAVE_RUNNER, runner_values(runner))
    session = runner.session
    if row is not None and session is not None and row[0] == session.id:
        connection.execute(
            _KEEP_SESSION, (session.held_epoch, micros(session.step_down_at), runner.id)
        )
    else:
        connection.execute(_SAVE_SESSION, (*session_values(session), runner.id))


def _orphan_jobs(transaction: Transaction, changes: Changes) -> None:
    connection, at = transaction.connection, transaction.at
    for runner_id in changes.deleted:
        found = _records(connection, "runner_id = ? AND finished_at IS NULL", runner_id)
        save_jobs(connection, (orphan_job(record, at) for record in found))


def _end_sessions(transaction: Transaction, changes: Changes) -> None:
    connection, at = transaction.connection, transaction.at
    for ended in changes.ended_sessions:
        connection.execute(
            "INSERT OR REPLACE INTO election_ended_session"
            " (session_id, runner_id, group_id, session_key, how, ended_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                ended.session_id,
                ended.runner_id,
                changes.group.id,
                ended.key,
                ended.how.value,
                micros(ended.at),
            ),
        )
        connection.execute("DELETE FROM election_claim WHERE session_id = ?", (ended.session_id,))
        handed_back = ended.how is Ended.LEFT
        found = _records(
            connection,
            "claim_session_id = ? AND claim_epoch IS NULL AND state = 'running'",
            ended.session_id,
        )
        save_jobs(connection, (lapse_job(each, at, handed_back=handed_back) for each in found))


def _end_terms(transaction: Transaction, changes: Changes) -> None:
    connection, at = transaction.connection, transaction.at
    for term in changes.ended_terms:
        found = _records(
            connection,
            "group_id = ? AND claim_epoch = ? AND state = 'running'",
            changes.group.id,
            term.epoch,
        )
        lapsed = (lapse_job(record, at, handed_back=term.handed_back) for record in found)
        save_jobs(connection, lapsed)


def _records(connection: sqlite3.Connection, where: str, *values: object) -> list[JobRecord]:
    rows = connection.execute(f"{_JOBS} WHERE {where} ORDER BY seq", values).fetchall()
    return [record_of(row) for row in rows]


def add_job(connection: sqlite3.Connection, record: JobRecord) -> None:
    """Write a new job, behind all others."""
    connection.execute(_NEW_JOB, (None, *record_values(record)[1:]))


def save_jobs(connection: sqlite3.Connection, records: Iterable[JobRecord]) -> None:
    """Write what changed of jobs."""
    values = ((*changing_values(record), record.seq) for record in records)
    connection.executemany(_SAVE_JOB, values)
