"""Bearer tokens, for the control API."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from election_core import NotFound, Page, Token, page_of, read_cursor
from election_core.ports import StoredToken
from examples.journal_store._part import Part, transaction
from examples.journal_store._tables import Tables

__all__ = ["Tokens"]


class Tokens(Part):
    """What the control API needs to know its callers; rows by the digest of the secret."""

    @transaction
    def add_token(self, tables: Tables, token: StoredToken, *, ttl: timedelta | None) -> Token:
        """See [`add_token`][election_core.ports.AccessStore.add_token]."""
        new = token.token
        if new.group_id is not None:
            tables.living(new.group_id)
        if new.runner_id is not None and tables.runners.get(new.runner_id) is None:
            raise NotFound(f"no runner {new.runner_id!r}")
        known = tables.tokens.get(token.digest.hex())
        if known is not None and known.id == new.id:  # repeated, its answer was lost
            return known
        expires_at = None if ttl is None else tables.at + ttl
        new = evolve(new, created_at=tables.at, expires_at=expires_at)
        tables.tokens.put(token.digest.hex(), new)
        return new

    @transaction
    def find_token(self, tables: Tables, digest: bytes) -> Token | None:
        """See [`find_token`][election_core.ports.AccessStore.find_token]."""
        token = tables.tokens.get(digest.hex())
        if token is None or (token.expires_at is not None and token.expires_at <= tables.at):
            return None
        return token

    @transaction
    def tokens(self, tables: Tables, *, cursor: str | None = None, limit: int = 100) -> Page[Token]:
        """See [`tokens`][election_core.ports.AccessStore.tokens]."""
        (after,) = ("",) if cursor is None else read_cursor(cursor, str)
        rows = [token for token in tables.tokens.all() if token.id > str(after)]
        rows.sort(key=lambda token: token.id)
        return page_of(rows, limit, lambda token: token, lambda token: (token.id,))

    @transaction
    def revoke_token(self, tables: Tables, token_id: str) -> None:
        """See [`revoke_token`][election_core.ports.AccessStore.revoke_token]."""
        for digest, token in tables.tokens.items():
            if token.id == token_id:
                tables.tokens.drop(digest)
                return
        raise NotFound(f"no token {token_id!r}")
