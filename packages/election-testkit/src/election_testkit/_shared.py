"""Stores that several processes share: what one announces, the others hear."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import anyio
from attrs import define, field
from typing_extensions import override

from election_core import Changes, Settings
from election_core.engine import Engine
from election_core.ports import Committed, SharedStore, Topic
from election_testkit._faults import FaultyStore
from election_testkit._fleet import Fleet, fresh, group_events
from election_testkit._subject import Ability, FullStore, Subject
from election_testkit._suite import Suite

__all__ = ["SharedStoreConformance"]

_TICK = timedelta(milliseconds=50)
_SETTINGS = Settings(lease=timedelta(seconds=90), heartbeat=timedelta(seconds=30))
"""A heartbeat that waits is answered long before this, or was not woken."""
_NAMES = ["g", "*", "ä", "😀", '"', "it's", "a b", "a:b,c", "x" * 200]


def _shared(store: FullStore) -> SharedStore:
    assert isinstance(store, SharedStore), "a store with siblings has to be a SharedStore"
    return store


async def _until(
    heard: AsyncIterator[frozenset[Topic] | None], wanted: Collection[Topic]
) -> set[Topic]:
    """What is heard until all that is wanted was."""
    found: set[Topic] = set()
    while not found.issuperset(wanted):
        part = await anext(heard)
        if part is not None:
            found |= part
    return found


@define(repr=False)
class _Telling(FaultyStore, SharedStore):
    """A store whose announcements may be lost on the way, and which knows what it committed."""

    mute: bool = False
    committed: Counter[str] = field(factory=Counter, init=False)

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        answer = await super().commit(
            changes, expected_revision=expected_revision, commit_id=commit_id
        )
        self.committed[changes.group.id] += 1
        return answer

    @override
    async def newest_event(self) -> int:
        return await _shared(self.store).newest_event()

    @override
    async def announce(self, topics: Collection[Topic]) -> None:
        if not self.mute:
            await _shared(self.store).announce(topics)

    @override
    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[frozenset[Topic] | None]]:
        return _shared(self.store).changes()


class SharedStoreConformance(Suite):
    """What [`SharedStore`][election_core.ports.SharedStore] promises, case by case.

    For adapters whose data several processes may write. Subclass it, and give it the fixture
    `subject`, which has a `sibling`.
    """

    async def _two(self, subject: Subject) -> tuple[SharedStore, SharedStore]:
        self.need(Ability.SIBLING)
        return _shared(subject.store), _shared(await self.sibling(subject))

    async def test_others_hear_what_is_announced(self, subject: Subject) -> None:
        """Topics of each kind and of any name reach every other object, as they are."""
        one, two = await self._two(subject)
        three = _shared(await self.sibling(subject))
        topics: set[Topic] = {
            topic
            for name in _NAMES
            for topic in (("runner", name), ("jobs", name), ("events", name), ("tokens", name))
        }
        with anyio.fail_after(self.patience):
            async with two.changes() as first, three.changes() as second:
                await one.announce(topics)
                assert await _until(first, topics) == topics
                assert await _until(second, topics) == topics

    async def test_nobody_hears_itself(self, subject: Subject) -> None:
        """What an object announces it does not hear, only what comes from others."""
        one, two = await self._two(subject)
        with anyio.fail_after(self.patience):
            async with one.changes() as heard, two.changes() as others:
                await one.announce([("jobs", "mine")])
                await _until(others, {("jobs", "mine")})
                await two.announce([("jobs", "end")])
                assert await _until(heard, {("jobs", "end")}) == {("jobs", "end")}

    async def test_many_topics_arrive(self, subject: Subject) -> None:
        """However many are announced together, all are heard, or that some may be missing."""
        one, two = await self._two(subject)
        topics: set[Topic] = {("runner", f"{number:05}-{'x' * 40}") for number in range(2000)}
        with anyio.fail_after(self.patience):
            async with two.changes() as heard:
                await one.announce(topics)
                found: set[Topic] = set()
                while found != topics:
                    part = await anext(heard)
                    if part is None:
                        break
                    assert part <= topics
                    found |= part

    async def test_nobody_need_listen(self, subject: Subject) -> None:
        """What is announced while nobody listens is no error, and nothing may be announced."""
        one, two = await self._two(subject)
        await one.announce([("jobs", "unheard")])
        with anyio.fail_after(self.patience):
            async with two.changes() as heard:
                await one.announce([])
                await one.announce([("jobs", "heard")])
                assert await _until(heard, {("jobs", "heard")})

    async def test_who_left_may_listen_again(self, subject: Subject) -> None:
        """An object that stopped two hears again once it listens again."""
        one, two = await self._two(subject)
        with anyio.fail_after(self.patience):
            for name in ("first", "second"):
                async with two.changes() as heard:
                    await one.announce([("events", name)])
                    assert ("events", name) in await _until(heard, {("events", name)})
                await one.announce([("events", "between")])

    async def test_newest_event_is_known_to_all(self, subject: Subject) -> None:
        """Every object tells the id of the newest event, whoever committed it."""
        one, two = await self._two(subject)
        before = await two.newest_event()
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        after = await two.newest_event()

        events = await subject.store.events(fleet.group_id, limit=100)
        assert after == await one.newest_event() == events[-1].id > before
        assert await subject.store.events(None, after=after) == []

    async def test_change_through_one_wakes_who_waits_on_another(self, subject: Subject) -> None:
        """A runner that waits on one engine hears at once of its election through another."""
        self.need(Ability.SIBLING)
        # A tick that does not come, so that only an announcement can wake.
        one, two = _Telling(subject.store), _Telling(await self.sibling(subject))
        await self._handed_over(one, two, tick=timedelta(hours=1), once="beat")

    async def test_lost_announcement_costs_time_alone(self, subject: Subject) -> None:
        """Where no announcement arrives an engine finds within a few ticks what has changed."""
        self.need(Ability.SIBLING)
        one = _Telling(subject.store, mute=True)
        two = _Telling(await self.sibling(subject), mute=True)
        await self._handed_over(one, two, tick=_TICK, once="events")

    async def _handed_over(
        self, one: _Telling, two: _Telling, *, tick: timedelta, once: str
    ) -> None:
        """A successor waits on the second engine while its leader releases through the first.

        The leader does so `once` the second engine has made that call of its store.
        """
        fleet = Fleet(one)
        await fleet.create(_SETTINGS)
        await fleet.join("a", "b")
        version = (await fleet.pulse("b")).standing_version

        async def wait(engine: Engine) -> None:
            standing = await engine.beat(
                fleet.runner("b"), fleet.session("b"), seen=version, wait=_SETTINGS.lease
            )
            assert standing.standing_version > version, "the heartbeat waited in vain"
            assert standing.epoch == 2

        with anyio.fail_after(self.patience):
            async with (
                Engine(one, tick=tick) as first,
                Engine(two, tick=tick) as second,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(wait, second)
                while not two.calls[once]:  # noqa: ASYNC110 - the engine tells nobody
                    await anyio.sleep(0.01)
                await anyio.wait_all_tasks_blocked()  # who waits is waiting, who listens listens
                await first.release(fleet.runner("a"), fleet.session("a"), 1)

    async def test_engines_share_what_is_due(self, subject: Subject) -> None:
        """Of groups that are due together each is decided by one of two engines, once."""
        self.need(Ability.SIBLING)
        stores = [_Telling(subject.store), _Telling(await self.sibling(subject))]
        fleets = [Fleet(subject.store, group_id=fresh("group")) for _ in range(10)]
        for fleet in fleets:
            await fleet.create()
            await fleet.join("a", "b")
        await subject.advance(14)
        for fleet in fleets:
            await fleet.beat("b")
        await subject.advance(2)
        with anyio.fail_after(self.patience):
            async with Engine(stores[0], tick=_TICK), Engine(stores[1], tick=_TICK):
                for fleet in fleets:
                    while await fleet.leader() != "b":  # noqa: ASYNC110 - across stores
                        await anyio.sleep(0.01)
                for store in stores:  # until each has done with what it was given
                    asked = store.calls["due"]
                    while store.calls["due"] < asked + 2:  # noqa: ASYNC110 - it tells nobody
                        await anyio.sleep(0.01)

        decided = stores[0].committed + stores[1].committed
        assert [decided[fleet.group_id] for fleet in fleets] == [1] * len(fleets)
        for fleet in fleets:
            assert await fleet.epoch() == 2
            assert (await group_events(subject.store, fleet.group_id)).count("elected") == 2
