"""Stores with wrong histories, and that keep wrongly."""

from __future__ import annotations

from datetime import datetime, timedelta

import anyio.lowlevel
from attrs import evolve
from typing_extensions import override

from election_core import Changes, Event
from election_core.memory import SharedMemoryStore
from election_core.ports import Committed
from election_testkit import StoreConformance as Cases
from wrong_stores import turns_red


@turns_red(Cases.test_events_are_told_as_they_were_committed)
class ForgetsReasons(SharedMemoryStore):
    """Keeps what happened, and not why."""

    @override
    def _write(self, changes: Changes, revision: int, commit_id: str, at: datetime) -> None:
        events = tuple(evolve(event, reason="") for event in changes.events)
        super()._write(evolve(changes, events=events), revision, commit_id, at)


@turns_red(Cases.test_events_of_one_group_and_of_all)
class TellsTheLastOneAgain(SharedMemoryStore):
    """Begins with the event that was seen last."""

    @override
    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        return await super().events(
            group_id, after=None if after is None else after - 1, limit=limit
        )


@turns_red(Cases.test_no_event_fills_a_gap_later)
class TakesIdsBeforeItCommits(SharedMemoryStore):
    """Takes ids from a sequence, and commits after others that took later ones."""

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        before = len(self._events)
        committed = await super().commit(
            changes, expected_revision=expected_revision, commit_id=commit_id
        )
        new = self._events[before:]
        del self._events[before:]
        for _ in range(self._last_event % 3):
            await anyio.lowlevel.checkpoint()
        self._events = sorted([*self._events, *new], key=lambda event: event.id)
        return committed


@turns_red(Cases.test_events_are_kept_as_long_as_agreed)
class KeepsAllAlike(SharedMemoryStore):
    """Keeps everything for a week, whatever was agreed for a group."""

    @override
    async def prune(self, limit: int = 1000) -> int:
        groups = self._groups
        week = timedelta(days=7)
        self._groups = {
            group_id: evolve(
                row, group=evolve(row.group, settings=evolve(row.group.settings, retention=week))
            )
            for group_id, row in groups.items()
        }
        try:
            return await super().prune(limit)
        finally:
            self._groups = groups


@turns_red(Cases.test_cursor_behind_what_was_pruned_has_expired)
class TellsWhatIsLeft(SharedMemoryStore):
    """Goes on with the oldest event that there is, whatever was missed."""

    @override
    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        self._pruned_to.clear()
        return await super().events(group_id, after=after, limit=limit)


@turns_red(Cases.test_ids_of_events_are_not_used_again)
class CountsFromTheNewest(SharedMemoryStore):
    """Gives the next event the id behind the highest that there is."""

    @override
    def _write(self, changes: Changes, revision: int, commit_id: str, at: datetime) -> None:
        self._last_event = max((event.id for event in self._events), default=0)
        super()._write(changes, revision, commit_id, at)


@turns_red(Cases.test_ended_sessions_are_kept_as_long_as_agreed)
class RemembersEndsForEver(SharedMemoryStore):
    """Never deletes how a session ended."""

    @override
    async def prune(self, limit: int = 1000) -> int:
        ended = dict(self._ended)
        deleted = await super().prune(limit)
        forgotten = len(ended) - len(self._ended)
        self._ended = ended
        return deleted - forgotten


@turns_red(Cases.test_prune_stops_at_its_limit)
class PrunesAllAtOnce(SharedMemoryStore):
    """Deletes all there is to delete by one statement."""

    @override
    async def prune(self, limit: int = 1000) -> int:
        return await super().prune(1_000_000)
