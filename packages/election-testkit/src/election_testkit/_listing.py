"""Lists of groups and runners, page by page, and how many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import anyio.lowlevel
import pytest

from election_core import (
    LONGEST_LEASE,
    DeleteGroup,
    DrainRunner,
    GroupInfo,
    Invalid,
    NotFound,
    Page,
    PinLeader,
    RegisterRunner,
    RunnerInfo,
    group_info,
    runner_info,
)
from election_core.ports import Census
from election_testkit._fleet import Fleet, fresh
from election_testkit._subject import FullStore, Subject
from election_testkit._suite import Suite

__all__ = ["Listing"]

T = TypeVar("T")

_CURSORS = ["?", "", "é", "_", "AAAA", "W10", "bnVsbA", "W251bGxd"]
"""No JSON, no list, one of nothing, one of null."""


async def _walk(read: Callable[[str | None], Awaitable[Page[T]]], limit: int) -> list[T]:
    """All items, page by page."""
    found: list[T] = []
    cursor: str | None = None
    while True:
        page = await read(cursor)
        assert len(page.items) <= limit
        found.extend(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return found


async def _groups(store: FullStore, *, limit: int = 1000) -> list[GroupInfo]:
    return await _walk(lambda cursor: store.groups(cursor=cursor, limit=limit), limit)


async def _runners(fleet: Fleet, *, limit: int = 100) -> list[RunnerInfo]:
    return await _walk(
        lambda cursor: fleet.store.runners(fleet.group_id, cursor=cursor, limit=limit), limit
    )


class Listing(Suite):
    """What the port promises of `groups`, `runners` and `census`."""

    async def test_groups_are_listed_by_id(self, subject: Subject) -> None:
        """Pages of any size tell each group once, by id, and none that was deleted."""
        prefix = fresh("0-group")  # ahead of all others, so that small pages are few
        ids = [prefix + end for end in ("-b", "-a", ".c", "-c", "0", "_d", "z")]
        fleets = [Fleet(subject.store, group_id=group_id) for group_id in ids]
        for each in fleets:
            await each.create()
        await fleets.pop().do(DeleteGroup())
        wanted = sorted(each.group_id for each in fleets)

        everything = [group.id for group in await _groups(subject.store)]
        assert everything == sorted(set(everything))
        assert [group_id for group_id in everything if group_id.startswith(prefix)] == wanted
        for limit in (1, 2, 6, 7):
            found: list[str] = []
            cursor: str | None = None
            while not set(wanted).issubset(found):
                page = await subject.store.groups(cursor=cursor, limit=limit)
                assert len(page.items) <= limit
                found += [group.id for group in page.items]
                cursor = page.next_cursor
                assert cursor is not None or set(wanted).issubset(found)
            assert found == everything[: len(found)]

    async def test_group_is_told_as_it_is(self, subject: Subject) -> None:
        """A list tells of each group what a snapshot of it would, at the store's time."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")

        async def told() -> GroupInfo:
            snapshot = await fleet.load()
            holder = snapshot.incumbent
            session = None if holder is None else holder.session
            ends = None if session is None else session.term_expires_at
            (found,) = [g for g in await _groups(subject.store) if g.id == fleet.group_id]
            assert found == group_info(snapshot.group, ends, snapshot.at)
            return found

        assert (await told()).leader_runner_id == fleet.runner("a")
        await fleet.do(PinLeader(runner_id=fleet.runner("a"), reason="demo"))
        await fleet.do(DrainRunner(runner_id=fleet.runner("a")))
        assert (await told()).handover is not None
        await fleet.release("a")
        assert ((await told()).leader_runner_id, (await told()).epoch) == (fleet.runner("b"), 2)
        await subject.advance(15)
        assert (await told()).leader_runner_id is None

    async def test_runners_are_listed_oldest_first(self, subject: Subject) -> None:
        """Pages tell each runner of the group once, by age and among equals by id."""
        fleet, other = Fleet(subject.store), Fleet(subject.store)
        for each in (fleet, other):
            await each.create()
        names = ["g", "f", "e", "d", "c", "b", "a"]
        for number, name in enumerate(names):
            await subject.advance(0 if number == 3 else 0.000001)
            await fleet.join(name)
            await other.join(name)
        wanted = [fleet.runner(name) for name in ("g", "f", "d", "e", "c", "b", "a")]

        snapshot = await fleet.load()
        assert [runner.id for runner in snapshot.runners] == wanted
        told = [runner_info(runner, snapshot.at) for runner in snapshot.runners]
        for limit in (1, 2, 3, 7, 8):
            assert await _runners(fleet, limit=limit) == told

    async def test_restart_makes_no_runner_younger(self, subject: Subject) -> None:
        """A runner keeps its place when it opens another session or is registered again."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("b")
        await subject.advance(1)
        await fleet.join("a")
        before = await _runners(fleet)
        await subject.advance(1)
        await fleet.reopen("b")
        again = RegisterRunner(runner_id=fresh("runner"), name="b", labels={"zone": "1"})
        await fleet.do(again)
        after = await _runners(fleet)

        assert [runner.name for runner in after] == ["b", "a"]
        assert [r.created_at for r in after] == [r.created_at for r in before]
        assert after[0].labels == {"zone": "1"}

    async def test_group_that_is_not_there_has_no_runners(self, subject: Subject) -> None:
        """The runners of a group that never was, or was deleted, are not found."""
        fleet = Fleet(subject.store)
        await fleet.create()
        assert await _runners(fleet) == []
        await fleet.join("a")
        await fleet.do(DeleteGroup(force=True))
        for group_id in (fleet.group_id, fresh("group")):
            with pytest.raises(NotFound):
                await subject.store.runners(group_id)

    async def test_cursor_that_was_never_given_is_invalid(self, subject: Subject) -> None:
        """What was never given out as a cursor is refused as one."""
        fleet = Fleet(subject.store)
        await fleet.create()
        for cursor in _CURSORS:
            with pytest.raises(Invalid):
                await subject.store.groups(cursor=cursor)
            with pytest.raises(Invalid):
                await subject.store.runners(fleet.group_id, cursor=cursor)

    async def test_pages_of_groups_while_others_come_and_go(self, subject: Subject) -> None:
        """Groups that are there throughout are told once each, whatever is created and deleted."""
        prefix = fresh("0-group")
        staying = [Fleet(subject.store, group_id=f"{prefix}-{n:02}") for n in range(12)]
        for each in staying:
            await each.create()
        walks: list[list[str]] = []
        walked = anyio.Event()

        async def walk() -> None:
            for _ in range(3):
                found: list[str] = []
                cursor: str | None = None
                while not found or found[-1] < f"{prefix}-99":
                    page = await subject.store.groups(cursor=cursor, limit=2)
                    found += [group.id for group in page.items]
                    cursor = page.next_cursor
                    if cursor is None:
                        break
                    await anyio.lowlevel.checkpoint()
                walks.append(found)
            walked.set()

        async def come_and_go(number: int) -> None:
            passing = Fleet(subject.store, group_id=f"{prefix}-{number:02}x")
            await passing.create()
            while not walked.is_set():
                await passing.do(DeleteGroup())
                await anyio.lowlevel.checkpoint()
                await passing.create_again()
                await staying[number].decide()
                await anyio.lowlevel.checkpoint()

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for number in (0, 4, 8):
                    tasks.start_soon(come_and_go, number)
                tasks.start_soon(walk)
        assert len(walks) == 3
        for found in walks:
            told = Counter(found)
            assert [told[each.group_id] for each in staying] == [1] * len(staying)
            assert found == sorted(set(found))

    async def test_pages_of_runners_while_others_come_and_go(self, subject: Subject) -> None:
        """Runners that are there throughout are told once each, whatever joins and is deleted."""
        fleet = Fleet(subject.store)
        await fleet.create()
        staying = [f"s{number:02}" for number in range(12)]
        passing = [f"p{number:02}" for number in range(12)]
        for names in zip(passing, staying, strict=True):
            await subject.advance(0.001)
            for name in names:
                await fleet.do(RegisterRunner(runner_id=fleet.runner(name), name=name))
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await subject.store.runners(fleet.group_id, cursor=cursor, limit=2)
            found += [runner.id for runner in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
            if passing:
                await fleet.do(fleet.deleting(passing.pop(0)))
                name = fresh("new")
                await fleet.do(RegisterRunner(runner_id=fleet.runner(name), name=name))
        told = Counter(found)
        assert [told[fleet.runner(name)] for name in staying] == [1] * len(staying)
        assert set(told.values()) == {1}

    async def test_census_counts(self, subject: Subject) -> None:
        """Groups and runners are counted, led groups and live sessions by the store's time."""
        await subject.advance(LONGEST_LEASE.total_seconds())  # nobody else is live any more
        before = await subject.store.census()
        assert (before.led, before.live_sessions) == (0, 0)
        fleet, empty, deleted = (Fleet(subject.store) for _ in range(3))
        for each in (fleet, empty, deleted):
            await each.create()
            if each is not empty:
                await each.join("a", "b")
        await deleted.do(DeleteGroup(force=True))
        register = RegisterRunner(runner_id=empty.runner("pending"), name="pending")
        await empty.do(register)

        async def counted() -> Census:
            now = await subject.store.census()
            return Census(
                groups=now.groups - before.groups,
                led=now.led,
                runners=now.runners - before.runners,
                live_sessions=now.live_sessions,
            )

        assert await counted() == Census(groups=2, led=1, runners=3, live_sessions=2)
        await subject.advance(10)
        await fleet.beat("b")
        await subject.advance(5)
        assert await counted() == Census(groups=2, led=0, runners=3, live_sessions=1)
        await fleet.decide()
        assert await counted() == Census(groups=2, led=1, runners=3, live_sessions=1)
        await fleet.leave("b")
        assert await counted() == Census(groups=2, led=0, runners=3, live_sessions=0)
