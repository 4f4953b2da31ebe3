"""Stores that keep tokens wrongly."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta

from attrs import evolve
from typing_extensions import override

from election_core import NotFound, Token
from election_core.memory import SharedMemoryStore
from election_core.ports import StoredToken
from election_testkit import AccessStoreConformance as Cases
from wrong_stores import turns_red

_AHEAD = time.time() - time.monotonic()


@turns_red(Cases.test_token_is_found_by_its_digest)
class ForgetsWhoseATokenIs(SharedMemoryStore):
    """Has no column for the runner of a token."""

    @override
    async def add_token(self, token: StoredToken, *, ttl: timedelta | None) -> Token:
        kept = evolve(token, token=evolve(token.token, runner_id=None))
        return await super().add_token(kept, ttl=ttl)


@turns_red(Cases.test_times_are_the_stores)
class TakesTheTimeOfTheClient(SharedMemoryStore):
    """Lets the client say when a token was made, whose clock is right as a rule."""

    @override
    async def add_token(self, token: StoredToken, *, ttl: timedelta | None) -> Token:
        off = timedelta(seconds=round(time.time() - time.monotonic() - _AHEAD))
        kept = await super().add_token(token, ttl=ttl)
        expires_at = None if kept.expires_at is None else kept.expires_at + off
        kept = evolve(kept, created_at=kept.created_at + off, expires_at=expires_at)
        self._tokens[kept.id] = evolve(token, token=kept)
        return kept


@turns_red(Cases.test_expired_token_is_not_found)
class FindsATokenAtItsEnd(SharedMemoryStore):
    """Compares the end of a token with `>=`."""

    @override
    async def find_token(self, digest: bytes) -> Token | None:
        for kept in self._tokens.values():
            if kept.digest == digest and kept.token.expires_at == self._at():
                return kept.token
        return await super().find_token(digest)


@turns_red(Cases.test_repeated_token_is_answered_as_it_is)
class AddsTokensByUpsert(SharedMemoryStore):
    """Writes a token that is added again over the one that is there."""

    @override
    async def add_token(self, token: StoredToken, *, ttl: timedelta | None) -> Token:
        self._tokens.pop(token.token.id, None)
        return await super().add_token(token, ttl=ttl)


@turns_red(Cases.test_token_for_whom_nobody_knows)
class TakesRemainsForAGroup(SharedMemoryStore):
    """Is content if there is a row of the group, of a deleted one too."""

    @override
    async def add_token(self, token: StoredToken, *, ttl: timedelta | None) -> Token:
        if token.token.group_id not in self._groups:
            return await super().add_token(token, ttl=ttl)
        nobodys = evolve(token, token=evolve(token.token, group_id=None))
        kept = evolve(await super().add_token(nobodys, ttl=ttl), group_id=token.token.group_id)
        self._tokens[kept.id] = evolve(token, token=kept)
        return kept


@turns_red(Cases.test_revoked_token_is_gone)
class LooksAtNoRowCount(SharedMemoryStore):
    """Deletes without asking whether there was anything to delete."""

    @override
    async def revoke_token(self, token_id: str) -> None:
        with contextlib.suppress(NotFound):
            await super().revoke_token(token_id)


@turns_red(Cases.test_expired_tokens_are_kept_for_a_day)
class PrunesTokensAtTheirEnd(SharedMemoryStore):
    """Deletes tokens as soon as they have expired."""

    @override
    async def prune(self, limit: int = 1000) -> int:
        at = self._at()
        kept = {
            token_id: token
            for token_id, token in self._tokens.items()
            if token.token.expires_at is None or token.token.expires_at > at
        }
        gone = len(self._tokens) - len(kept)
        self._tokens = kept
        return gone + await super().prune(limit)
