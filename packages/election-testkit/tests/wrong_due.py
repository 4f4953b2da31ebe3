"""Stores that are wrong about what is due."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

import anyio.lowlevel
from attrs import evolve
from typing_extensions import override

from election_core import Changes, Group
from election_core.memory import SharedMemoryStore
from election_core.ports import Due
from election_testkit import StoreConformance as Cases
from wrong_stores import turns_red

_ALL = 1_000_000


@turns_red(Cases.test_longest_due_comes_first)
class LatestFirst(SharedMemoryStore):
    """Sorts the wrong way."""

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        due = await super().due(_ALL, hold=hold)
        return evolve(due, group_ids=due.group_ids[::-1][:limit])


@turns_red(Cases.test_no_groups_are_asked_for_the_time)
class TakesZeroForNoLimit(SharedMemoryStore):
    """Takes a limit of 0 for none."""

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        return await super().due(limit or _ALL, hold=hold)


@turns_red(Cases.test_leader_whose_lease_is_over_is_due, Cases.test_next_time_is_known)
class LooksAtNoLease(SharedMemoryStore):
    """Knows only of the times that decisions left."""

    @override
    def _term_expires_at(self, group: Group) -> datetime | None:
        return None


@turns_red(Cases.test_standby_whose_lease_is_over_is_not_due)
class LooksAtEveryLease(SharedMemoryStore):
    """Has a group decided when any lease is over."""

    @override
    def _term_expires_at(self, group: Group) -> datetime | None:
        sessions = [runner.session for runner in self._members(group.id)]
        return min((s.lease_expires_at for s in sessions if s is not None), default=None)


@turns_red(Cases.test_decided_group_is_not_due_again)
class ForgetsDecisions(SharedMemoryStore):
    """Does not keep when was decided about a group."""

    @override
    def _write(self, changes: Changes, revision: int, commit_id: str, at: datetime) -> None:
        changes = evolve(changes, group=evolve(changes.group, decided_at=None))
        super()._write(changes, revision, commit_id, at)


@turns_red(Cases.test_due_when_it_is_time_to_look_again)
class ForgetsToLookAgain(SharedMemoryStore):
    """Does not keep when a decision could come out differently."""

    @override
    def _write(self, changes: Changes, revision: int, commit_id: str, at: datetime) -> None:
        changes = evolve(changes, group=evolve(changes.group, look_again_at=None))
        super()._write(changes, revision, commit_id, at)


@turns_red(Cases.test_next_time_is_known, Cases.test_next_time_counts_the_end_of_a_hold)
class KnowsNoNextTime(SharedMemoryStore):
    """Leaves it to its callers to guess when to ask again."""

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        return evolve(await super().due(limit, hold=hold), next_at=None)


@turns_red(Cases.test_deleted_group_is_never_due)
class KeepsRemainsDue(SharedMemoryStore):
    """Counts the remains of groups among the groups."""

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        due = await super().due(limit, hold=hold)
        deleted = [row.group.id for row in self._groups.values() if row.group.deleted_at]
        return evolve(due, group_ids=(*due.group_ids, *deleted)[:limit])


# Holding.


@turns_red(Cases.test_held_group_is_answered_once)
class HoldsNothing(SharedMemoryStore):
    """Answers all that is due to whoever asks."""

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        return await super().due(limit)


@turns_red(Cases.test_nothing_is_held_without_a_hold)
class HoldsAlways(SharedMemoryStore):
    """Holds what it answers for a while, asked for or not."""

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        return await super().due(limit, hold=hold or timedelta(seconds=1))


@turns_red(Cases.test_only_what_is_answered_is_held)
class HoldsBeyondTheLimit(SharedMemoryStore):
    """Holds all that is due, and answers a part of it."""

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        due = await super().due(_ALL, hold=hold)
        return evolve(due, group_ids=due.group_ids[:limit])


@turns_red(Cases.test_hold_ends_with_the_revision)
class HoldsToTheEnd(SharedMemoryStore):
    """Holds a group for the time that was asked for, whatever becomes of it."""

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        for group_id, (until, _) in self._held.items():
            self._held[group_id] = (until, self._groups[group_id].revision)
        return await super().due(limit, hold=hold)


@turns_red(Cases.test_concurrent_calls_share_what_is_due)
class HoldsInAnotherStatement(SharedMemoryStore):
    """Reads what is due in one statement and holds it in another, with no lock in between."""

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        due = await super().due(limit)
        await anyio.lowlevel.checkpoint()
        for group_id in due.group_ids if hold else ():
            self._held[group_id] = (due.at + hold, self._groups[group_id].revision)
        return due


@turns_red(Cases.test_hold_holds_for_other_objects_too)
class HoldsForItselfAlone(SharedMemoryStore):
    """Keeps what is held in the memory of its process."""

    @override
    def replica(self) -> Self:
        other = super().replica()
        other.__dict__ = self.__dict__ | {"_held": {}}
        return other
