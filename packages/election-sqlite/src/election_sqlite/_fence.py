"""The fence: whether a leader may still write, asked inside the caller's own transaction."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosqlite

from election_core import Invalid, NotFound, fence_term
from election_sqlite._rows import GROUP, RUNNER, SESSION, columns, group_of, runner_of

__all__ = ["check_fence"]

_FILE = "SELECT file FROM pragma_database_list WHERE name = 'main'"
_FENCE = f"""
SELECT d.file, {columns(GROUP, "g")}, {columns(RUNNER, "r")}, {columns(SESSION, "r")}
FROM pragma_database_list AS d LEFT JOIN main.election_group AS g ON g.id = ?
LEFT JOIN main.election_runner AS r ON r.id = g.term_runner_id
WHERE d.name = 'main'
"""


async def check_fence(
    connection: aiosqlite.Connection,
    group_id: str,
    epoch: int,
    *,
    path: Path,
    now: Callable[[], datetime],
) -> datetime:
    """See [`fence`][election_sqlite.SqliteStore.fence]."""
    if not connection.in_transaction:
        raise Invalid(
            "fence: the connection is in no transaction; execute BEGIN IMMEDIATE first, and write"
            " and commit in the same transaction"
        )
    try:
        file, *values = await _row(connection, _FENCE, group_id)
    except sqlite3.OperationalError:
        file, *values = await _row(connection, _FILE)
        if _is(file, path):
            raise
    if not _is(file, path):
        raise Invalid(f"fence: the connection is to {file or 'no file'}, the store to {path}")
    if values[0] is None:
        raise NotFound(f"no group {group_id!r}")
    holder = values[len(GROUP) :]
    return fence_term(
        group_of(tuple(values[: len(GROUP)])),
        None if holder[0] is None else runner_of(tuple(holder)),
        epoch,
        now(),
    )


async def _row(connection: aiosqlite.Connection, statement: str, *values: str) -> Sequence[Any]:
    """The one row of a query."""
    cursor = await connection.execute(statement, values)
    # Whatever form of rows the caller chose for its connection, this cursor gives tuples.
    cursor.row_factory = None
    (row,) = await cursor.fetchall()
    return tuple(row)


def _is(file: str, path: Path) -> bool:
    return bool(file) and Path(file).samefile(path)
