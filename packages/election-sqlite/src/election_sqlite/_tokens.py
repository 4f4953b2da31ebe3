"""Tokens of the control API, by the digests of their secrets."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import evolve

from election_core import NotFound, Page, Token, page_of, read_cursor
from election_core.ports import StoredToken
from election_sqlite._groups import find_group, find_runner_row
from election_sqlite._lane import Transaction
from election_sqlite._rows import TOKEN, columns, token_of
from election_sqlite._values import micros

__all__ = ["add_token", "find_token", "revoke_token", "tokens"]


def add_token(transaction: Transaction, stored: StoredToken, ttl: timedelta | None) -> Token:
    """See [`add_token`][election_core.ports.AccessStore.add_token]."""
    connection, at = transaction.connection, transaction.at
    token = stored.token
    if token.group_id is not None:
        group, _ = find_group(connection, token.group_id)
        if group.deleted_at is not None:
            raise NotFound(f"no group {token.group_id!r}")
    if token.runner_id is not None and find_runner_row(connection, token.runner_id) is None:
        raise NotFound(f"no runner {token.runner_id!r}")
    row = connection.execute(
        f"SELECT {columns(TOKEN)} FROM election_token WHERE id = ? AND digest = ?",
        (token.id, stored.digest),
    ).fetchone()
    if row is not None:  # repeated, because the answer was lost
        return token_of(row)
    token = evolve(token, created_at=at, expires_at=None if ttl is None else at + ttl)
    connection.execute(
        "INSERT INTO election_token (id, kind, group_id, runner_id, digest, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            token.id,
            token.kind.value,
            token.group_id,
            token.runner_id,
            stored.digest,
            micros(at),
            micros(token.expires_at),
        ),
    )
    return token


def find_token(transaction: Transaction, digest: bytes) -> Token | None:
    """See [`find_token`][election_core.ports.AccessStore.find_token]."""
    row: tuple[Any, ...] | None = transaction.connection.execute(
        f"SELECT {columns(TOKEN)} FROM election_token"
        " WHERE digest = ? AND (expires_at IS NULL OR expires_at > ?)",
        (digest, micros(transaction.at)),
    ).fetchone()
    return None if row is None else token_of(row)


def tokens(transaction: Transaction, cursor: str | None, limit: int) -> Page[Token]:
    """See [`tokens`][election_core.ports.AccessStore.tokens]."""
    (after,) = ("",) if cursor is None else read_cursor(cursor, str)
    rows = transaction.connection.execute(
        f"SELECT {columns(TOKEN)} FROM election_token WHERE id > ? ORDER BY id LIMIT ?",
        (after, limit + 1),
    ).fetchall()
    return page_of(rows, limit, token_of, lambda row: (row[0],))


def revoke_token(transaction: Transaction, token_id: str) -> None:
    """See [`revoke_token`][election_core.ports.AccessStore.revoke_token]."""
    cursor = transaction.connection.execute("DELETE FROM election_token WHERE id = ?", (token_id,))
    if not cursor.rowcount:
        raise NotFound(f"no token {token_id!r}")
