"""Stores that load wrongly, or forget epochs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

import anyio.lowlevel
from attrs import evolve
from typing_extensions import override

from election_core import Changes, Runner, Snapshot
from election_core.memory import SharedMemoryStore
from election_core.ports import Committed
from election_testkit import StoreConformance as Cases
from wrong_stores import turns_red


@turns_red(Cases.test_unknown_group_is_not_found)
class ComparesIdsWithoutCase(SharedMemoryStore):
    """Keeps ids in a column whose collation minds no case and no blanks at the end."""

    @override
    async def load(self, group_id: str) -> Snapshot:
        return await super().load(group_id.lower().rstrip())


@turns_red(Cases.test_group_is_read_as_it_was_committed)
class KeepsMilliseconds(SharedMemoryStore):
    """Keeps the end of a taint in a column that has no microseconds."""

    @override
    def _merged(self, runner: Runner, changes: Changes) -> Runner:
        merged = super()._merged(runner, changes)
        return evolve(
            merged,
            taints=tuple(
                taint
                if taint.expires_at is None
                else evolve(taint, expires_at=taint.expires_at.replace(microsecond=0))
                for taint in merged.taints
            ),
        )


@turns_red(Cases.test_snapshot_is_of_one_time)
class ReadsRunnersLater(SharedMemoryStore):
    """Reads a group and its runners by two statements, each as of its own time."""

    @override
    async def load(self, group_id: str) -> Snapshot:
        snapshot = await super().load(group_id)
        await anyio.lowlevel.checkpoint()
        return evolve(snapshot, runners=tuple(self._members(group_id)))


@turns_red(
    Cases.test_remains_of_a_deleted_group,
    Cases.test_remains_are_a_group_that_existed,
    Cases.test_epoch_outlives_deletion,
)
class DeletesTheRow(SharedMemoryStore):
    """Deletes the row of a group that is deleted."""

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        committed = await super().commit(
            changes, expected_revision=expected_revision, commit_id=commit_id
        )
        if changes.group.deleted_at is not None:
            del self._groups[changes.group.id]
        return committed


@turns_red(Cases.test_barrier_outlives_deletion, Cases.test_remains_of_a_deleted_group)
class ForgetsTheBarrier(SharedMemoryStore):
    """Keeps the epoch of a deleted group, and not until when somebody may trust it."""

    @override
    def _write(self, changes: Changes, revision: int, commit_id: str, at: datetime) -> None:
        if changes.group.deleted_at is not None:
            changes = evolve(changes, group=evolve(changes.group, grant_not_before=None))
        super()._write(changes, revision, commit_id, at)


@turns_red(Cases.test_remains_are_a_group_that_existed)
class CreatesOverRemains(SharedMemoryStore):
    """Takes a group that was deleted for one that never was."""

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        row = self._groups.get(changes.group.id)
        if row is not None and row.group.deleted_at is not None and expected_revision == 0:
            expected_revision = row.revision
        return await super().commit(
            changes, expected_revision=expected_revision, commit_id=commit_id
        )


@turns_red(
    Cases.test_each_grant_is_a_new_epoch,
    Cases.test_epoch_outlives_a_vacancy,
    Cases.test_epoch_outlives_deletion,
    Cases.test_epoch_outlives_reopening,
)
class KeepsTheEpochWithTheTerm(SharedMemoryStore):
    """Keeps the epoch in the row of the term, so that it goes with the term."""

    @override
    def _write(self, changes: Changes, revision: int, commit_id: str, at: datetime) -> None:
        if changes.group.term is None:
            changes = evolve(changes, group=evolve(changes.group, epoch=0))
        super()._write(changes, revision, commit_id, at)


@turns_red(Cases.test_epoch_rises_for_the_same_runner_too)
class CountsChangesOfLeader(SharedMemoryStore):
    """Takes a grant to the runner that led before for no grant at all."""

    @override
    def _write(self, changes: Changes, revision: int, commit_id: str, at: datetime) -> None:
        row = self._groups.get(changes.group.id)
        old, new = None if row is None else row.group.term, changes.group.term
        if old is not None and new is not None and old.runner_id == new.runner_id:
            term = evolve(new, epoch=old.epoch)
            changes = evolve(changes, group=evolve(changes.group, epoch=old.epoch, term=term))
        super()._write(changes, revision, commit_id, at)


@turns_red(Cases.test_epoch_outlives_reopening)
class ForgetsRemainsAtARestart(SharedMemoryStore):
    """Keeps the remains of deleted groups in the memory of its process."""

    @override
    def replica(self) -> Self:
        self._groups = {k: r for k, r in self._groups.items() if r.group.deleted_at is None}
        return super().replica()


@turns_red(Cases.test_reopened_store_holds_all)
class RenewsAtARestart(SharedMemoryStore):
    """Gives every session a whole lease when it is opened."""

    @override
    def replica(self) -> Self:
        ends = self._at() + timedelta(seconds=15)
        for runner in self._runners.values():
            if runner.session is not None:
                session = evolve(runner.session, lease_expires_at=ends)
                self._runners[runner.id] = evolve(runner, session=session)
        return super().replica()
