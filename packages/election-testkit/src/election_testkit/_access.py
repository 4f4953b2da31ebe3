"""Tokens: who is known by which digest, and for how long."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from election_core import DeleteGroup, Invalid, NotFound, OutcomeUnknown, Token, TokenKind
from election_core.ports import StoredToken
from election_testkit._clock import START
from election_testkit._faults import After, FaultyStore
from election_testkit._fleet import Fleet, fresh
from election_testkit._subject import FullStore, Subject
from election_testkit._suite import Suite

__all__ = ["AccessStoreConformance"]

_DAY = 24 * 3600


def _token(
    kind: TokenKind = TokenKind.VIEWER,
    *,
    group_id: str | None = None,
    runner_id: str | None = None,
) -> StoredToken:
    """A token as its maker knows it, before the store sets its times."""
    token_id = fresh("token")
    token = Token(id=token_id, kind=kind, group_id=group_id, runner_id=runner_id, created_at=START)
    return StoredToken(token=token, digest=hashlib.sha256(token_id.encode()).digest())


async def _all(store: FullStore) -> list[Token]:
    """All tokens, page by page of two."""
    found: list[Token] = []
    cursor: str | None = None
    while True:
        page = await store.tokens(cursor=cursor, limit=2)
        found.extend(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return found


class AccessStoreConformance(Suite):
    """What [`AccessStore`][election_core.ports.AccessStore] promises, case by case.

    Subclass it, and give it the fixture `subject`.
    """

    async def test_token_is_found_by_its_digest(self, subject: Subject) -> None:
        """A token is told as it was kept to who has its secret, and to nobody else."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        for stored in (
            _token(TokenKind.OPERATOR),
            _token(TokenKind.JOIN, group_id=fleet.group_id),
            _token(TokenKind.RUNNER, group_id=fleet.group_id, runner_id=fleet.runner("a")),
        ):
            added = await subject.store.add_token(stored, ttl=None)
            assert await subject.store.find_token(stored.digest) == added
            assert (added.id, added.kind) == (stored.token.id, stored.token.kind)
            assert (added.group_id, added.runner_id) == (
                stored.token.group_id,
                stored.token.runner_id,
            )
        assert await subject.store.find_token(_token().digest) is None

    async def test_times_are_the_stores(self, subject: Subject) -> None:
        """A token counts from the store's time, whatever its maker's clock says."""
        fleet = Fleet(subject.store)
        await subject.advance(5)
        at = (await fleet.store.due(0)).at
        with subject.client_clock(3600):
            added = await subject.store.add_token(_token(), ttl=timedelta(seconds=60))
            forever = await subject.store.add_token(_token(), ttl=None)

        assert (added.created_at, added.expires_at) == (at, at + timedelta(seconds=60))
        assert (forever.created_at, forever.expires_at) == (at, None)

    async def test_expired_token_is_not_found(self, subject: Subject) -> None:
        """From the end of its time on a token opens nothing; one without an end stays."""
        stored, forever = _token(), _token()
        await subject.store.add_token(stored, ttl=timedelta(seconds=60))
        await subject.store.add_token(forever, ttl=None)
        await subject.advance(59)
        assert await subject.store.find_token(stored.digest) is not None
        await subject.advance(1)

        assert await subject.store.find_token(stored.digest) is None
        assert await subject.store.find_token(forever.digest) is not None

    async def test_repeated_token_is_answered_as_it_is(self, subject: Subject) -> None:
        """A token whose answer was lost is the same one when it is added again."""
        store = FaultyStore(subject.store)
        stored = _token()
        store.plan("add_token", After())
        with pytest.raises(OutcomeUnknown):
            await store.add_token(stored, ttl=timedelta(seconds=60))
        first = await store.find_token(stored.digest)
        await subject.advance(1)
        again = await store.add_token(stored, ttl=timedelta(seconds=60))

        assert again == first == await store.find_token(stored.digest)
        found = [token for token in await _all(store) if token.id == stored.token.id]
        assert found == [first]

    async def test_token_for_whom_nobody_knows(self, subject: Subject) -> None:
        """A token of a group or a runner that does not exist is refused and not kept."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.do(DeleteGroup())
        for stored in (
            _token(TokenKind.JOIN, group_id=fresh("group")),
            _token(TokenKind.JOIN, group_id=fleet.group_id),
            _token(TokenKind.RUNNER, runner_id=fresh("runner")),
        ):
            with pytest.raises(NotFound):
                await subject.store.add_token(stored, ttl=None)
            assert await subject.store.find_token(stored.digest) is None

    async def test_tokens_are_listed_by_id(self, subject: Subject) -> None:
        """Pages tell each token once, by id."""
        mine = [_token() for _ in range(5)]
        for stored in mine:
            await subject.store.add_token(stored, ttl=None)
        found = [token.id for token in await _all(subject.store)]

        assert found == sorted(set(found))
        assert {stored.token.id for stored in mine} <= set(found)

    async def test_cursor_of_nobodys_making_is_invalid(self, subject: Subject) -> None:
        """A cursor that the store did not make is refused."""
        with pytest.raises(Invalid):
            await subject.store.tokens(cursor="?")

    async def test_revoked_token_is_gone(self, subject: Subject) -> None:
        """A token that was revoked opens nothing and is not listed; others stay."""
        stored, other = _token(), _token()
        for each in (stored, other):
            await subject.store.add_token(each, ttl=None)
        await subject.store.revoke_token(stored.token.id)

        assert await subject.store.find_token(stored.digest) is None
        assert await subject.store.find_token(other.digest) is not None
        assert stored.token.id not in [token.id for token in await _all(subject.store)]
        with pytest.raises(NotFound):
            await subject.store.revoke_token(stored.token.id)

    async def test_deleted_group_loses_its_tokens(self, subject: Subject) -> None:
        """The tokens of a group go with it, and no others."""
        fleet, other = Fleet(subject.store), Fleet(subject.store)
        kept = []
        for each in (fleet, other):
            await each.create()
            kept.append(_token(TokenKind.JOIN, group_id=each.group_id))
        kept.append(_token())
        for stored in kept:
            await subject.store.add_token(stored, ttl=None)
        await fleet.do(DeleteGroup())

        found = [await subject.store.find_token(stored.digest) is not None for stored in kept]
        assert found == [False, True, True]

    async def test_expired_tokens_are_kept_for_a_day(self, subject: Subject) -> None:
        """Pruning takes tokens a day after they expired, and none that has no end."""
        stored, forever = _token(), _token()
        await subject.store.add_token(stored, ttl=timedelta(seconds=60))
        await subject.store.add_token(forever, ttl=None)
        listed = {stored.token.id, forever.token.id}
        for seconds, left in ((60 + _DAY - 1, listed), (2, {forever.token.id})):
            await subject.advance(seconds)
            while await subject.store.prune():
                pass
            assert {token.id for token in await _all(subject.store)} & listed == left
