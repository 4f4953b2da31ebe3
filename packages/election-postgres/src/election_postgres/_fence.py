"""The fence: whether a leader may still write, asked inside the caller's own transaction."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from asyncpg import SerializationError

from election_core import (
    Conflict,
    Invalid,
    LeaseExpired,
    NotFound,
    StaleEpoch,
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
    if not connection.is_in_transaction():
        raise Invalid(
            "fence: the connection is in no transaction; begin one first, and write and commit in"
            " the same transaction"
        )
    try:
        found = await connection.fetchrow(_FENCE, group_id, epoch)
    except SerializationError as error:
        raise Conflict(
            "the group changed since this transaction began; roll it back and repeat it"
        ) from error
    except Exception as error:
        raise raising(error, where, sent=True, writes=False) from error
    assert found is not None  # noqa: S101 - the function has one row
    if not found["known"]:
        raise NotFound(f"no group {group_id!r}")
    ends: datetime | None = found["term_expires_at"]
    if found["term_epoch"] != epoch:
        current = found["epoch"]
        why = f"{current} is current" if epoch != current else "its term has ended"
        raise StaleEpoch(f"epoch {epoch} is over: {why}", current_epoch=current)
    if ends is None or ends <= found["at"]:
        raise LeaseExpired("the term's lease is over; renew it, then try again")
    return ends
