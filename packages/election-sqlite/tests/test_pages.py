"""Pages, tokens and the plans of the statements that run often."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from election_core import (
    DeleteGroup,
    DeleteRunner,
    Invalid,
    NotFound,
    Page,
    RegisterRunner,
    Token,
    TokenKind,
)
from election_core.ports import StoredToken
from election_sqlite import SqliteStore, _jobs, _prune, _renewals
from sqlite_clock import NOW, ManualClock
from sqlite_fleet import Fleet

Read = Callable[[SqliteStore, str | None, int], Awaitable[Page[Any]]]
READS: dict[str, Read] = {
    "groups": lambda store, cursor, limit: store.groups(cursor=cursor, limit=limit),
    "runners": lambda store, cursor, limit: store.runners("g3", cursor=cursor, limit=limit),
    "jobs": lambda store, cursor, limit: store.jobs("g3", cursor=cursor, limit=limit),
    "tokens": lambda store, cursor, limit: store.tokens(cursor=cursor, limit=limit),
}


def a_token(number: int, **more: Any) -> StoredToken:
    """A token with a secret of its own."""
    token = Token(id=f"token-{number}", kind=TokenKind.VIEWER, created_at=NOW, **more)
    return StoredToken(token=token, digest=bytes([number]) * 32)


@pytest.fixture
async def full(store: SqliteStore, clock: ManualClock) -> SqliteStore:
    """A store with seven of everything, runners of the last group in another order of ids."""
    for number in range(7):
        await Fleet(store, f"g{6 - number}").create()
        await store.add_token(a_token(number), ttl=None)
    fleet = Fleet(store, "g3")
    for number, name in enumerate("gfedcba"):
        clock.advance(0 if number == 3 else 1)
        await fleet.do(RegisterRunner(runner_id=name, name=name))
        await fleet.enqueue(f"job-{name}")
    return store


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("kind", READS)
async def test_pages_add_up(full: SqliteStore, kind: str, limit: int) -> None:
    """Page by page comes everything, once, in one order; the last page says that it is."""
    whole = await READS[kind](full, None, 100)
    assert len(whole.items) == 7
    assert whole.next_cursor is None
    found: list[Any] = []
    cursor: str | None = None
    for _ in range(-(-7 // limit)):
        page = await READS[kind](full, cursor, limit)
        found += page.items
        cursor = page.next_cursor
    assert cursor is None
    assert tuple(found) == whole.items


async def test_orders(full: SqliteStore) -> None:
    """Groups come by id, runners by age, jobs in order of enqueueing."""
    assert [g.id for g in (await full.groups()).items] == [f"g{n}" for n in range(7)]
    # Runners d and e are of one age.
    assert [r.id for r in (await full.runners("g3")).items] == [*"gfdecba"]
    assert [j.id for j in (await full.jobs("g3")).items] == [f"job-{name}" for name in "gfedcba"]


@pytest.mark.parametrize("kind", READS)
@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "a",
        "ä",
        "AAAA",
        *(
            base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
            for text in ("[]", "{}", "null", "[null]", "[1.5]", "[true]", '["a",1]', "[1,2,3]")
        ),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
        base64.urlsafe_b64encode(b"[99999999999999999999]").decode(),
        base64.urlsafe_b64encode(b"\xff\xff").decode(),
    ],
)
async def test_malformed_cursor(full: SqliteStore, kind: str, cursor: str) -> None:
    """What was never given out as a cursor is refused as one."""
    with pytest.raises(Invalid) as caught:
        await READS[kind](full, cursor, 10)
    assert caught.value.facts["field"] == "cursor"


async def test_pages_of_a_group_that_is_not_there(store: SqliteStore) -> None:
    """A group that never was, or was deleted, has no pages."""
    fleet = Fleet(store, "gone")
    await fleet.create()
    await fleet.do(DeleteGroup())
    for group_id in ("never", "gone"):
        with pytest.raises(NotFound):
            await store.runners(group_id)
        with pytest.raises(NotFound):
            await store.jobs(group_id)


async def test_events_of_one_group_and_of_all(store: SqliteStore) -> None:
    """Events come by id, from behind the one that was seen last, as many as asked for."""
    one, other = Fleet(store, "one"), Fleet(store, "other")
    await one.create()
    await other.create()
    await one.join("a")
    await other.join("b")
    everything = await store.events(None)
    assert [event.id for event in everything] == list(range(1, len(everything) + 1))
    for group_id in ("one", "other"):
        mine = [event for event in everything if event.group_id == group_id]
        assert await store.events(group_id) == mine
        assert await store.events(group_id, after=mine[0].id, limit=2) == mine[1:3]
        assert await store.events(group_id, after=mine[-1].id) == []


async def test_tokens_expire(store: SqliteStore, clock: ManualClock) -> None:
    """A token is found until it expires, by the store's time, and pruned a day later."""
    kept = await store.add_token(a_token(1), ttl=timedelta(seconds=5))
    assert (kept.created_at, kept.expires_at) == (NOW, NOW + timedelta(seconds=5))
    assert await store.find_token(a_token(2).digest) is None
    clock.advance(4.999999)
    assert await store.find_token(a_token(1).digest) == kept
    clock.advance(0.000001)
    assert await store.find_token(a_token(1).digest) is None
    clock.advance(24 * 3600 - 0.000001)
    assert await store.prune() == 0
    clock.advance(0.000001)
    assert await store.prune() == 1
    assert (await store.tokens()).items == ()


async def test_tokens_are_revoked(store: SqliteStore) -> None:
    """A revoked token is gone; revoking it again says so."""
    await store.add_token(a_token(1), ttl=None)
    await store.revoke_token("token-1")
    assert await store.find_token(a_token(1).digest) is None
    with pytest.raises(NotFound):
        await store.revoke_token("token-1")


async def test_repeated_token_is_the_same(store: SqliteStore, clock: ManualClock) -> None:
    """Adding the same token again, because the answer was lost, adds no other."""
    first = await store.add_token(a_token(1), ttl=timedelta(hours=1))
    clock.advance(1)
    assert await store.add_token(a_token(1), ttl=timedelta(hours=1)) == first


async def test_tokens_of_what_is_not_there(store: SqliteStore) -> None:
    """A token needs its group and its runner, and goes with its group."""
    fleet = Fleet(store)
    with pytest.raises(NotFound):
        await store.add_token(a_token(1, group_id="g"), ttl=None)
    await fleet.create()
    await fleet.join("a")
    with pytest.raises(NotFound):
        await store.add_token(a_token(1, runner_id="nobody"), ttl=None)
    await store.add_token(a_token(1, group_id="g", runner_id="a"), ttl=None)
    await fleet.do(DeleteRunner(runner_id="a"))
    await fleet.do(DeleteGroup())
    assert (await store.tokens()).items == ()
    with pytest.raises(NotFound):
        await store.add_token(a_token(1, group_id="g"), ttl=None)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (_jobs._CANDIDATES, (True, "g", "a", 0, 1)),
        (_jobs._NEXT, (True, "g", "a")),
        (_jobs._KNOWN_CLAIM, ("s", "c")),
        (_renewals._HOLDERS, ("[]",)),
        (_renewals._CANCELLED, ("[]",)),
        (_renewals._ENDED, ("r", "s", "k")),
        (_renewals._DUE, (0, 1)),
        (_renewals._NEXT, (0,)),
        (_prune._EVENTS, (0, 1)),
        (_prune._JOBS, (0, 1)),
        (_prune._SESSIONS, (0, 1)),
        (_prune._CLAIMS, (0, 1)),
        (_prune._TOKENS, (0, 1)),
    ],
)
async def test_frequent_statements_use_indexes(
    store: SqliteStore, statement: str, values: tuple[object, ...]
) -> None:
    """What runs at every renewal, claim and tick reads no table as a whole, nor sorts one."""
    plan = await store._reader.run(
        lambda t: t.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    )
    steps = [row[3] for row in plan]
    # Pruning goes through the groups, which are few, and each one's rows by index.
    whole = [
        step
        for step in steps
        if step.startswith("SCAN")
        and "VIRTUAL TABLE" not in step
        and not step.startswith(("SCAN g", "SCAN (", "SCAN CONSTANT"))
        and "USING" not in step
        and "subquery" not in step.lower()
    ]
    assert whole == []
