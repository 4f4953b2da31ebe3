"""The fence: whether a leader may still write, asked inside the caller's own transaction."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import aiosqlite

from election_core import Invalid, NotFound, fence_term
from election_sqlite._rows import GROUP, RUNNER, SESSION, columns, group_of, runner_of

__all__ = ["check_fence"]

_FENCE = f"""
SELECT {columns(GROUP, "g")}, {columns(RUNNER, "r")}, {columns(SESSION, "r")}
FROM main.election_group AS g LEFT JOIN main.election_runner AS r ON r.id = g.term_runner_id
WHERE g.id = ?
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
    async with connection.cursor() as cursor:
        # Whatever form of rows the caller chose for its connection, this cursor gives tuples.
        cursor.row_factory = None
        await cursor.execute("SELECT file FROM pragma_database_list WHERE name = 'main'")
        found = await cursor.fetchone()
        file = "" if found is None else found[0]
        if not (file and Path(file).samefile(path)):  # noqa: ASYNC240 - a stat of an open file
            raise Invalid(f"fence: the connection is to {file or 'no file'}, the store to {path}")
        await cursor.execute(_FENCE, (group_id,))
        row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"no group {group_id!r}")
    values = tuple(row)
    holder = values[len(GROUP) :]
    return fence_term(
        group_of(values[: len(GROUP)]),
        None if holder[0] is None else runner_of(holder),
        epoch,
        now(),
    )
