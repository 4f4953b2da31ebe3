"""The fence: whether a leader may still write, asked inside the caller's own transaction."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from asyncpg import SerializationError

from election_core import (
    Conflict,
    Invalid,
    NotFound,
    fence,
)
from election_postgres._connections import raising

if TYPE_CHECKING:
    import asyncpg

__all__ = ["check_fence"]

_FENCE = "SELECT * FROM election.fence($1, $2)"


async def check_fence(
    connection: asyncpg.Connection, group_id: str, epoch: int, *, where: str
) -> datetime:
    """See [`fence`][election_postgres.PostgresStore.fence]."""
    found = None
    try:
        if connection.is_in_transaction():
            found = await connection.fetchrow(_FENCE, group_id, epoch)
    except SerializationError as error:
        raise Conflict(
            "the group changed since this transaction began; roll it back and repeat it"
        ) from error
    except Exception as error:
        raise raising(error, where, sent=True, writes=False) from error
    if found is None:
        raise Invalid(
            "fence: the connection is in no transaction; begin one first, and write and commit in"
            " the same transaction"
        )
    if not found["known"]:
        raise NotFound(f"no group {group_id!r}")
    return fence(
        epoch,
        current=found["epoch"],
        term=found["term_epoch"],
        ends=found["term_expires_at"],
        at=found["at"],
    )
