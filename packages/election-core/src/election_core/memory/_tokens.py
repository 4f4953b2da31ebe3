"""Bearer tokens."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from election_core._cursors import page_of, read_cursor
from election_core._errors import NotFound
from election_core._views import Page, Token
from election_core.memory._kept import Kept
from election_core.ports import StoredToken

__all__ = ["Tokens"]


class Tokens(Kept):
    """What the control API needs to know its callers."""

    async def add_token(self, token: StoredToken, *, ttl: timedelta | None) -> Token:
        """See [`add_token`][election_core.ports.AccessStore.add_token]."""
        at = self._at()
        kept = token.token
        if kept.group_id is not None:
            self._living(kept.group_id)
        if kept.runner_id is not None and kept.runner_id not in self._runners:
            raise NotFound(f"no runner {kept.runner_id!r}")
        known = self._tokens.get(kept.id)
        if known is not None and known.digest == token.digest:  # repeated, its answer was lost
            return known.token
        kept = evolve(kept, created_at=at, expires_at=None if ttl is None else at + ttl)
        self._tokens[kept.id] = evolve(token, token=kept)
        return kept

    async def find_token(self, digest: bytes) -> Token | None:
        """See [`find_token`][election_core.ports.AccessStore.find_token]."""
        at = self._at()
        for kept in self._tokens.values():
            if kept.digest == digest:
                expires = kept.token.expires_at
                return kept.token if expires is None or expires > at else None
        return None

    async def tokens(self, *, cursor: str | None = None, limit: int = 100) -> Page[Token]:
        """See [`tokens`][election_core.ports.AccessStore.tokens]."""
        (after,) = ("",) if cursor is None else read_cursor(cursor, str)
        rows = [self._tokens[key].token for key in sorted(self._tokens) if key > str(after)]
        return page_of(rows, limit, lambda token: token, lambda token: (token.id,))

    async def revoke_token(self, token_id: str) -> None:
        """See [`revoke_token`][election_core.ports.AccessStore.revoke_token]."""
        if self._tokens.pop(token_id, None) is None:
            raise NotFound(f"no token {token_id!r}")
