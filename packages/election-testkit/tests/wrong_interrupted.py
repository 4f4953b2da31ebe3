"""Stores that are wrong when a caller is cancelled, or when there are many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import anyio
import anyio.lowlevel
from attrs import evolve
from typing_extensions import override

from election_core import Changes, Mark, Unavailable
from election_core.memory import SharedMemoryStore
from election_core.ports import Beat, Beaten, Committed, Due
from election_testkit import StoreConformance as Cases
from wrong_stores import turns_red


@turns_red(
    Cases.test_cancelled_commit_was_made_or_not, Cases.test_cancelled_creation_was_made_or_not
)
class WritesEventsAfterwards(SharedMemoryStore):
    """Appends the events of a commit in a transaction of their own."""

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        row = self._groups.get(changes.group.id)
        known = row is not None and row.commit_id == commit_id
        committed = await super().commit(
            evolve(changes, events=()), expected_revision=expected_revision, commit_id=commit_id
        )
        await anyio.lowlevel.checkpoint()
        for event in () if known else changes.events:
            self._last_event += 1
            self._events.append(evolve(event, id=self._last_event))
        return committed


@turns_red(Cases.test_cancelled_renewal_was_made_or_not)
class RenewsRowByRow(SharedMemoryStore):
    """Renews each session in a transaction of its own."""

    @override
    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        answers: list[Beaten] = []
        for beat in beats:
            answers += await super().beat([beat])
            await anyio.lowlevel.checkpoint()
        return answers


@turns_red(Cases.test_cancelled_hold_was_made_or_not)
class HoldsUntilItAnswered(SharedMemoryStore):
    """Holds groups without an end, and sets the end once it knows what it answers."""

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        due = await super().due(limit, hold=timedelta(days=1) if hold else hold)
        await anyio.lowlevel.checkpoint()
        for group_id in due.group_ids if hold else ():
            self._held[group_id] = (due.at + hold, self._groups[group_id].revision)
        return due


@turns_red(Cases.test_cancelled_calls_leave_no_lock, hangs=True)
class LeavesItsLock(SharedMemoryStore):
    """Gives a lock back at the end, which a cancelled call does not come to."""

    @override
    async def mark(self, tick: timedelta) -> Mark:
        lock: anyio.Semaphore = self.__dict__.setdefault("lock", anyio.Semaphore(1))
        await lock.acquire()
        await anyio.lowlevel.checkpoint()
        mark = await super().mark(tick)
        lock.release()
        return mark


@turns_red(Cases.test_more_calls_than_connections)
class HasNoQueue(SharedMemoryStore):
    """Refuses a renewal while five others are under way."""

    under_way = 0

    @override
    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        if self.under_way == 5:
            raise Unavailable("no connection is free")
        self.under_way += 1
        try:
            await anyio.lowlevel.checkpoint()
            return await super().beat(beats)
        finally:
            self.under_way -= 1


@turns_red(Cases.test_ready_store_says_so)
class IsNeverReady(SharedMemoryStore):
    """Compares the version of its schema with the wrong one."""

    @override
    async def ready(self) -> None:
        raise Unavailable("the schema is another version's")
