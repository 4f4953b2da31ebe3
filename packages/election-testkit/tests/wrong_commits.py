"""Stores with wrong commits."""

from __future__ import annotations

from datetime import datetime, timedelta

import anyio.lowlevel
from attrs import evolve
from typing_extensions import override

from election_core import Changes, Conflict, Live, Runner, TermLease
from election_core.memory import SharedMemoryStore
from election_core.ports import Beat, Committed
from election_testkit import StoreConformance as Cases
from wrong_stores import turns_red


@turns_red(Cases.test_one_winner_among_concurrent_commits)
class ChecksTheRevisionTooEarly(SharedMemoryStore):
    """Reads the revision in one statement and writes in another, with no lock in between."""

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        row = self._groups.get(changes.group.id)
        if (0 if row is None else row.revision) != expected_revision:
            raise Conflict("the revision is another")
        await anyio.lowlevel.checkpoint()
        row = self._groups.get(changes.group.id)
        return await super().commit(
            changes, expected_revision=0 if row is None else row.revision, commit_id=commit_id
        )


@turns_red(Cases.test_stale_revision_conflicts_and_writes_nothing)
class IgnoresTheRevision(SharedMemoryStore):
    """Updates the row of the group, whatever its revision."""

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        row = self._groups.get(changes.group.id)
        return await super().commit(
            changes, expected_revision=0 if row is None else row.revision, commit_id=commit_id
        )


@turns_red(Cases.test_group_that_exists_is_not_created)
class CreatesByUpsert(SharedMemoryStore):
    """Creates a group by an insert that updates the one that is there."""

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        row = self._groups.get(changes.group.id)
        if row is not None and expected_revision == 0:
            expected_revision = row.revision
        return await super().commit(
            changes, expected_revision=expected_revision, commit_id=commit_id
        )


@turns_red(Cases.test_revision_rises_by_one)
class AnswersTheOldRevision(SharedMemoryStore):
    """Answers the revision that the commit was planned from."""

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        committed = await super().commit(
            changes, expected_revision=expected_revision, commit_id=commit_id
        )
        return evolve(committed, revision=expected_revision)


@turns_red(
    Cases.test_repeated_commit_is_answered_again,
    Cases.test_lost_answer_is_recognised_on_repeating,
)
class ForgetsCommitIds(SharedMemoryStore):
    """Keeps no commit id, so that a commit that is made again meets its own revision."""

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        committed = await super().commit(
            changes, expected_revision=expected_revision, commit_id=commit_id
        )
        row = self._groups[changes.group.id]
        self._groups[changes.group.id] = evolve(row, commit_id="")
        return committed


@turns_red(Cases.test_failed_commit_may_be_repeated)
class UpdatesAColumnWithItself(SharedMemoryStore):
    """Says `drain = runners.drain` where it should say `drain = excluded.drain`."""

    @override
    def _merged(self, runner: Runner, changes: Changes) -> Runner:
        merged = super()._merged(runner, changes)
        old = self._runners.get(runner.id)
        return merged if old is None else evolve(merged, drain=old.drain)


@turns_red(
    Cases.test_renewal_in_between_saves_the_leader,
    Cases.test_barrier_covers_a_renewal_in_between,
)
class IgnoresTheLeadersRenewal(SharedMemoryStore):
    """Does not look again at the lease of the term that ends."""

    @override
    def _check_expectations(self, changes: Changes, at: datetime) -> None:
        expects = tuple(e for e in changes.expects if not isinstance(e, TermLease))
        super()._check_expectations(evolve(changes, expects=expects), at)


@turns_red(
    Cases.test_winner_that_fell_silent_is_not_granted,
    Cases.test_winner_that_is_not_ready_is_not_granted,
    Cases.test_winner_of_another_session_is_not_granted,
)
class GrantsToWhomItWasPlanned(SharedMemoryStore):
    """Does not look again at whether the winner is live and ready."""

    @override
    def _check_expectations(self, changes: Changes, at: datetime) -> None:
        expects = tuple(e for e in changes.expects if not isinstance(e, Live))
        super()._check_expectations(evolve(changes, expects=expects), at)


@turns_red(
    Cases.test_grant_takes_the_lease_of_the_row,
    Cases.test_commit_keeps_what_renewals_own,
)
class WritesTheWholeSession(SharedMemoryStore):
    """Writes the columns of a session that belong to renewals, as its snapshot had them."""

    @override
    def _merged(self, runner: Runner, changes: Changes) -> Runner:
        return runner


@turns_red(Cases.test_due_mark_outlives_a_commit)
class LeavesTheRevisionToCommits(SharedMemoryStore):
    """Makes a group due by a renewal without raising its revision."""

    @override
    def _renew(self, beat: Beat, at: datetime) -> tuple[timedelta, bool] | None:
        runner = self._runners.get(beat.runner_id)
        before = None if runner is None else self._groups[runner.group_id]
        answer = super()._renew(beat, at)
        if before is not None:
            row = self._groups[before.group.id]
            self._groups[before.group.id] = evolve(row, revision=before.revision)
        return answer
