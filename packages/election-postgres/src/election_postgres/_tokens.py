"""Tokens of the control API, by the digests of their secrets."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from election_core import NotFound, Page, Token, page_of, read_cursor
from election_core.ports import StoredToken
from election_postgres._base import Base
from election_postgres._rows import TOKEN, columns, token_of
from election_postgres._values import span

__all__ = ["Tokens"]

_ADD = "SELECT * FROM election.add_token($1, $2, $3, $4, $5, $6, $7::text::interval)"
_FIND = f"""
SELECT {columns(TOKEN, "t")} FROM election.token AS t
WHERE t.digest = $2 AND (t.expires_at IS NULL OR t.expires_at > (SELECT election.now($1)))
"""
_PAGE = f"""
SELECT {columns(TOKEN, "t")} FROM election.token AS t WHERE t.id > $1 ORDER BY t.id LIMIT $2
"""
_REVOKE = "DELETE FROM election.token WHERE id = $1 RETURNING election.writing($2)"


class Tokens(Base):
    """Who may call the control API."""

    async def add_token(self, token: StoredToken, *, ttl: timedelta | None) -> Token:
        """See [`add_token`][election_core.ports.AccessStore.add_token]."""
        new = token.token
        rows = await self._write(
            _ADD,
            self._floor.at,
            new.id,
            new.kind.value,
            new.group_id,
            new.runner_id,
            token.digest,
            None if ttl is None else span(ttl),
        )
        row = rows[0]
        match row["refused"]:
            case "group":
                raise NotFound(f"no group {new.group_id!r}")
            case "runner":
                raise NotFound(f"no runner {new.runner_id!r}")
            case _:
                pass
        return evolve(new, created_at=row["created_at"], expires_at=row["expires_at"])

    async def find_token(self, digest: bytes) -> Token | None:
        """See [`find_token`][election_core.ports.AccessStore.find_token]."""
        rows = await self._read(_FIND, self._floor.at, digest)
        return token_of(rows[0]) if rows else None

    async def tokens(self, *, cursor: str | None = None, limit: int = 100) -> Page[Token]:
        """See [`tokens`][election_core.ports.AccessStore.tokens]."""
        (after,) = ("",) if cursor is None else read_cursor(cursor, str)
        rows = await self._read(_PAGE, after, limit + 1)
        return page_of(rows, limit, token_of, lambda row: (row["id"],))

    async def revoke_token(self, token_id: str) -> None:
        """See [`revoke_token`][election_core.ports.AccessStore.revoke_token]."""
        if not await self._write(_REVOKE, token_id, self._floor.at):
            raise NotFound(f"no token {token_id!r}")
