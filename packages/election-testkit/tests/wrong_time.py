"""Stores that are wrong about time."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Self

import anyio.lowlevel
from attrs import evolve
from typing_extensions import override

from election_core import Mark, Outage, Snapshot, refresh_mark
from election_core.memory import SharedMemoryStore
from election_testkit import StoreConformance as Cases
from wrong_stores import turns_red


def _wrong_by() -> float:
    return time.time() - time.monotonic()


_RIGHT = _wrong_by()


@turns_red(
    Cases.test_time_never_goes_back,
    Cases.test_time_outlives_reopening,
    Cases.test_client_clock_changes_nothing,
)
class SendsTheClientsTime(SharedMemoryStore):
    """Takes the time of the client's process for its own."""

    @override
    def _at(self) -> datetime:
        return self.clock() + timedelta(seconds=round(_wrong_by() - _RIGHT))


@turns_red(Cases.test_ticks_in_time_are_no_outage)
class IsImpatient(SharedMemoryStore):
    """Takes two ticks without a mark for an outage."""

    @override
    async def mark(self, tick: timedelta) -> Mark:
        old, mark = self._mark, await super().mark(tick)
        if old is not None and mark.outages == old.outages and mark.at - old.at > 2 * old.tick:
            self._mark = mark = evolve(mark, outages=(*mark.outages, Outage(old.at, mark.at)))
        return mark


@turns_red(Cases.test_gap_is_an_outage, Cases.test_mark_is_in_every_snapshot)
class NotesNoOutage(SharedMemoryStore):
    """Keeps the time of the last mark, and nothing else."""

    @override
    async def mark(self, tick: timedelta) -> Mark:
        self._mark = Mark(at=self._at(), tick=tick)
        return self._mark


@turns_red(Cases.test_outages_are_dropped_in_the_end)
class KeepsOutagesForEver(SharedMemoryStore):
    """Adds outages to those that there are, and drops none."""

    @override
    async def mark(self, tick: timedelta) -> Mark:
        old, mark = self._mark, await super().mark(tick)
        if old is not None and not mark.outages:
            self._mark = mark = evolve(mark, outages=old.outages)
        return mark


@turns_red(Cases.test_mark_is_in_every_snapshot)
class LoadsNoMark(SharedMemoryStore):
    """Loads a group with a mark of now, as if somebody had just refreshed it."""

    @override
    async def load(self, group_id: str) -> Snapshot:
        snapshot = await super().load(group_id)
        return evolve(snapshot, mark=Mark(at=snapshot.at))


@turns_red(Cases.test_gap_is_noted_once)
class NotesGapsByEach(SharedMemoryStore):
    """Reads the mark in one statement and adds an outage to it in another."""

    @override
    async def mark(self, tick: timedelta) -> Mark:
        seen = self._mark
        await anyio.lowlevel.checkpoint()
        new = refresh_mark(seen, self._at(), tick)
        if seen is not None and self._mark is not None:
            outages = self._mark.outages + new.outages[len(seen.outages) :]
            new = evolve(new, outages=outages)
        self._mark = new
        return new


@turns_red(Cases.test_mark_is_everybodys)
class MarksForItself(SharedMemoryStore):
    """Keeps the mark in the memory of its process."""

    @override
    def replica(self) -> Self:
        other = super().replica()
        other.__dict__ = self.__dict__ | {"_mark": None}
        return other
