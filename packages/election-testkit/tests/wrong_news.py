"""Stores that several processes share, and that tell them wrongly of each other's changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
from attrs import define, field
from typing_extensions import override

from election_core import Unavailable
from election_core.memory import SharedMemoryStore
from election_core.ports import Due, Topic
from election_testkit import SharedStoreConformance as Cases
from wrong_stores import turns_red


@turns_red(Cases.test_others_hear_what_is_announced, hangs=True)
class JoinsTopicsWithCommas(SharedMemoryStore):
    """Sends topics as one text, and knows a comma in a name from that between two no more."""

    @override
    async def announce(self, topics: Collection[Topic]) -> None:
        text = ",".join(f"{kind}:{name}" for kind, name in topics)
        parts = (part.partition(":") for part in text.split(","))
        await super().announce({(kind, name) for kind, _, name in parts})  # type: ignore[misc]


@turns_red(Cases.test_nobody_hears_itself)
class HearsItself(SharedMemoryStore):
    """Takes what it announced for news of others."""

    @override
    async def announce(self, topics: Collection[Topic]) -> None:
        for _, ear in self._ears:
            ear.send_nowait(frozenset(topics))


@turns_red(Cases.test_many_topics_arrive, hangs=True)
class CutsLongAnnouncements(SharedMemoryStore):
    """Sends as many topics as fit into one notification, which takes 8,000 bytes on Postgres."""

    @override
    async def announce(self, topics: Collection[Topic]) -> None:
        room = 8000
        sent: set[Topic] = set()
        for kind, name in topics:
            room -= len(kind) + len(name) + 2
            if room > 0:
                sent.add((kind, name))
        await super().announce(sent)


@turns_red(Cases.test_nobody_need_listen)
class CannotAnnounceNothing(SharedMemoryStore):
    """Sends a notification without a payload if there is nothing to announce."""

    @override
    async def announce(self, topics: Collection[Topic]) -> None:
        if not topics:
            raise Unavailable("a payload is missing")
        await super().announce(topics)


@turns_red(Cases.test_who_left_may_listen_again, hangs=True)
@define(kw_only=True, slots=False)
class ListensOnce(SharedMemoryStore):
    """Believes that it listens still once it has listened."""

    _listened: list[object] = field(factory=list, init=False)

    @override
    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[frozenset[Topic] | None]]:
        again = any(other is self for other in self._listened)
        self._listened.append(self)
        async with super().changes() as heard:
            *others, ear = self._ears
            if again:
                self._ears[:] = others
            try:
                yield heard
            finally:
                self._ears[:] = [*others, ear]


@turns_red(Cases.test_newest_event_is_known_to_all)
@turns_red(Cases.test_lost_announcement_costs_time_alone, hangs=True)
class TakesNumbersForEvents(SharedMemoryStore):
    """Asks the sequence how far it is, which deals out numbers long before their events."""

    @override
    async def newest_event(self) -> int:
        return await super().newest_event() + 50


@turns_red(Cases.test_change_through_one_wakes_who_waits_on_another, hangs=True)
class NeverCommitsItsNotifications(SharedMemoryStore):
    """Sends its notifications on a connection that is never committed."""

    @override
    async def announce(self, topics: Collection[Topic]) -> None:
        pass


@turns_red(Cases.test_engines_share_what_is_due)
@define(kw_only=True, slots=False)
class HoldsTooLate(SharedMemoryStore):
    """Reads what is due in one statement and holds it in another, with no lock in between."""

    _reading: int = field(default=0, init=False)
    _both_read: anyio.Event = field(factory=anyio.Event, init=False)

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        read = await super().due(limit)
        if hold:
            self._reading += 1
            if self._reading == 2:  # two electors, in the worst of all orders
                self._both_read.set()
            await self._both_read.wait()
            await super().due(limit, hold=hold)
        return read
