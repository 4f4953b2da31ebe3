"""Stores that are wrong about sessions and their runners."""

from __future__ import annotations

from datetime import datetime

from attrs import evolve
from typing_extensions import override

from election_core import Changes, EndedSession, Role, Runner, RunnerInfo, runner_info
from election_core.memory import SharedMemoryStore
from election_testkit import StoreConformance as Cases
from wrong_stores import turns_red


@turns_red(Cases.test_session_that_left_loses_everything)
class KeepsWhoLeft(SharedMemoryStore):
    """Leaves the columns of a session as they are when there is none to write."""

    @override
    def _merged(self, runner: Runner, changes: Changes) -> Runner:
        merged, old = super()._merged(runner, changes), self._runners.get(runner.id)
        return evolve(merged, session=old.session) if old and not merged.session else merged


@turns_red(Cases.test_ends_are_remembered)
class ForgetsKeys(SharedMemoryStore):
    """Looks ended sessions up by their ids alone."""

    @override
    async def ended_session(
        self, runner_id: str, *, session_id: str | None = None, key: str | None = None
    ) -> EndedSession | None:
        return await super().ended_session(runner_id, session_id=session_id)


@turns_red(
    Cases.test_ends_outlive_their_group, Cases.test_remains_are_pruned_by_their_last_settings
)
class DeletesInCascades(SharedMemoryStore):
    """Deletes with a group all that refers to it."""

    @override
    def _write(self, changes: Changes, revision: int, commit_id: str, at: datetime) -> None:
        super()._write(changes, revision, commit_id, at)
        if changes.group.deleted_at is not None:
            group_id = changes.group.id
            self._ended = {k: e for k, e in self._ended.items() if e.group_id != group_id}
            self._events = [event for event in self._events if event.group_id != group_id]


@turns_red(Cases.test_only_ends_of_the_runners_own_are_told)
class LooksUpEndsBySession(SharedMemoryStore):
    """Does not ask whose session it was."""

    @override
    def _how_it_ended(self, runner_id: str, session_id: str) -> EndedSession | None:
        ended = self._ended.get(session_id)
        return None if ended is None else ended.session


@turns_red(Cases.test_standing_rises_with_what_concerns_its_runner)
class RousesWhoIsElected(SharedMemoryStore):
    """Tells a runner that it leads, and not that it has to step down or leads no more."""

    @override
    def _merged(self, runner: Runner, changes: Changes) -> Runner:
        return super()._merged(runner, evolve(changes, roused=changes.granted))


@turns_red(Cases.test_runner_is_told_as_it_is)
class TellsTheRoleOfThen(SharedMemoryStore):
    """Tells that a runner leads for as long as nobody else was elected."""

    @override
    async def find_runner(self, runner_id: str) -> RunnerInfo:
        found = await super().find_runner(runner_id)
        session = self._runners[runner_id].session
        held = session is not None and session.held_epoch is not None
        return evolve(found, role=Role.LEADER if held else Role.STANDBY)


@turns_red(
    Cases.test_runner_that_is_not_there_is_not_found, Cases.test_runner_may_be_registered_again
)
class DeletesSoftly(SharedMemoryStore):
    """Marks runners as deleted, and forgets to look at the mark."""

    @override
    def _write(self, changes: Changes, revision: int, commit_id: str, at: datetime) -> None:
        deleted = self._deleted()
        deleted |= {id_: self._runners[id_] for id_ in changes.deleted if id_ in self._runners}
        super()._write(changes, revision, commit_id, at)

    @override
    def _merged(self, runner: Runner, changes: Changes) -> Runner:
        merged, deleted = super()._merged(runner, changes), self._deleted().get(runner.id)
        return merged if deleted is None else evolve(merged, created_at=deleted.created_at)

    @override
    async def find_runner(self, runner_id: str) -> RunnerInfo:
        deleted = self._deleted().get(runner_id)
        if deleted is not None and runner_id not in self._runners:
            return runner_info(deleted, self._at())
        return await super().find_runner(runner_id)

    def _deleted(self) -> dict[str, Runner]:
        deleted: dict[str, Runner] = self.__dict__.setdefault("deleted", {})
        return deleted
