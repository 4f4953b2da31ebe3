"""Lookups, pages in the order of an immutable key, and counts."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

import sqlite3

from election_core import (
    CursorExpired,
    Event,
    GroupInfo,
    Job,
    JobState,
    NotFound,
    Page,
    RunnerInfo,
    group_info,
    page_of,
    read_cursor,
    runner_info,
)
from election_core.ports import Census
from election_sqlite._groups import find_runner_row
from election_sqlite._job_rows import JOB, job_of
from election_sqlite._lane import Transaction
from election_sqlite._rows import (
    EVENT,
    GROUP,
    RUNNER,
    SESSION,
    columns,
    event_of,
    group_of,
    runner_of,
)
from election_sqlite._values import micros, moment

__all__ = [
    "census",
    "events",
    "find_runner",
    "groups",
    "job_counts",
    "jobs",
    "runners",
]

_MOST = 2**63 - 1


def _check_living(connection: sqlite3.Connection, group_id: str) -> None:
    row = connection.execute(
        "SELECT 1 FROM election_group WHERE id = ? AND deleted_at IS NULL", (group_id,)
    ).fetchone()
    if row is None:
        raise NotFound(f"no group {group_id!r}")


def find_runner(transaction: Transaction, runner_id: str) -> RunnerInfo:
    """See [`find_runner`][election_core.ports.Store.find_runner]."""
    runner = find_runner_row(transaction.connection, runner_id)
    if runner is None:
        raise NotFound(f"no runner {runner_id!r}")
    return runner_info(runner, transaction.at)


def groups(transaction: Transaction, cursor: str | None, limit: int) -> Page[GroupInfo]:
    """See [`groups`][election_core.ports.Store.groups]."""
    (after,) = ("",) if cursor is None else read_cursor(cursor, str)
    rows = transaction.connection.execute(
        f"SELECT {columns(GROUP, 'g')}, r.term_expires_at FROM election_group AS g"
        " LEFT JOIN election_runner AS r ON r.id = g.term_runner_id"
        " WHERE g.id > ? AND g.deleted_at IS NULL ORDER BY g.id LIMIT ?",
        (after, limit + 1),
    ).fetchall()
    return page_of(
        rows,
        limit,
        lambda row: group_info(group_of(row[:-1]), moment(row[-1]), transaction.at),
        lambda row: (row[0],),
    )


def runners(
    transaction: Transaction, group_id: str, cursor: str | None, limit: int
) -> Page[RunnerInfo]:
    """See [`runners`][election_core.ports.Store.runners]."""
    _check_living(transaction.connection, group_id)
    since, after = (-_MOST, "") if cursor is None else read_cursor(cursor, int, str)
    rows = transaction.connection.execute(
        f"SELECT {columns(RUNNER)}, {columns(SESSION)} FROM election_runner"
        " WHERE group_id = ? AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?",
        (group_id, since, after, limit + 1),
    ).fetchall()
    return page_of(
        rows,
        limit,
        lambda row: runner_info(runner_of(row), transaction.at),
        lambda row: (row[RUNNER.index("created_at")], row[0]),
    )


def jobs(
    transaction: Transaction,
    group_id: str,
    state: JobState | None,
    cursor: str | None,
    limit: int,
) -> Page[Job]:
    """See [`jobs`][election_core.ports.JobStore.jobs]."""
    _check_living(transaction.connection, group_id)
    (after,) = (0,) if cursor is None else read_cursor(cursor, int)
    one_state = "" if state is None else " AND state = ?4"
    values = (group_id, after, limit + 1, *(() if state is None else (state.value,)))
    rows = transaction.connection.execute(
        f"SELECT {columns(JOB)} FROM election_job"
        f" WHERE group_id = ?1 AND seq > ?2{one_state} ORDER BY seq LIMIT ?3",
        values,
    ).fetchall()
    return page_of(rows, limit, job_of, lambda row: (row[0],))


def events(
    transaction: Transaction, group_id: str | None, after: int | None, limit: int
) -> list[Event]:
    """See [`events`][election_core.ports.Store.events]."""
    connection = transaction.connection
    if group_id is None:
        row = connection.execute("SELECT events_pruned FROM election_meta").fetchone()
    else:
        row = connection.execute(
            "SELECT events_pruned FROM election_group WHERE id = ?", (group_id,)
        ).fetchone()
    if after is not None and row is not None and after < row[0]:
        raise CursorExpired("events behind this one have been pruned; start again without it")
    one_group = "" if group_id is None else " AND group_id = ?3"
    values = (after or 0, limit, *(() if group_id is None else (group_id,)))
    rows = connection.execute(
        f"SELECT {columns(EVENT)} FROM election_event"
        f" WHERE id > ?1{one_group} ORDER BY id LIMIT ?2",
        values,
    )
    return [event_of(row) for row in rows]


def census(transaction: Transaction) -> Census:
    """See [`census`][election_core.ports.Store.census]."""
    groups, led, runners, live = transaction.connection.execute(
        """
        SELECT
            (SELECT count(*) FROM election_group WHERE deleted_at IS NULL),
            (SELECT count(*) FROM election_runner
                WHERE held_epoch IS NOT NULL AND term_expires_at > ?1),
            (SELECT count(*) FROM election_runner),
            (SELECT count(*) FROM election_runner WHERE lease_expires_at > ?1)
        """,
        (micros(transaction.at),),
    ).fetchone()
    return Census(groups=groups, led=led, runners=runners, live_sessions=live)


def job_counts(transaction: Transaction) -> dict[str, int]:
    """See [`job_counts`][election_core.ports.JobStore.job_counts]."""
    rows = transaction.connection.execute("SELECT state, count(*) FROM election_job GROUP BY state")
    return dict(rows.fetchall())
