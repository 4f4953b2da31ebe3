"""Groups: reading, committing, what is due, and the mark."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import evolve

from election_core._changes import Changes
from election_core._errors import Conflict
from election_core._plan import reincarnate
from election_core._rows import check_expectations, due_at, end_claim, lost_group, merge_runner
from election_core._state import (
    EPOCH_JUMP,
    Mark,
    Runner,
    Settings,
    Snapshot,
    refresh_mark,
)
from election_core.memory._kept import Ended, Kept, Row
from election_core.ports import Committed, Due

__all__ = ["Groups"]


class Groups(Kept):
    """What elections are made of."""

    # Time.

    def lose_commits(self) -> None:
        """Make the next mark find that the store may have lost its newest commits."""
        self._lost = True

    async def mark(self, tick: timedelta) -> Mark:
        """See [`mark`][election_core.ports.Store.mark]."""
        at = self._at()
        if self._lost:
            self._lost = False
            self._reincarnate(at)
        self._mark = refresh_mark(self._mark, at, tick)
        return self._mark

    def _reincarnate(self, at: datetime) -> None:
        longest = max(
            (row.group.settings.lease for row in self._groups.values()), default=timedelta()
        )
        sessions = (runner.session for runner in self._runners.values())
        ends = max((s.lease_expires_at for s in sessions if s is not None), default=at)
        not_before = max(at + longest, ends)
        for group_id in self._groups:
            snapshot = self._snapshot(group_id, at)
            self._write(reincarnate(snapshot, not_before), snapshot.revision + 1, "", at)
        self._lost_epoch += EPOCH_JUMP
        self._lost_until = max(not_before, at + Settings().lease)

    # Reading and committing.

    async def load(self, group_id: str) -> Snapshot:
        """See [`load`][election_core.ports.Store.load]."""
        at = self._at()
        until = self._lost_until
        if until is not None and group_id not in self._groups:
            lost = lost_group(group_id, self._lost_epoch, until)
            return Snapshot(at=at, revision=0, group=lost, mark=self._mark or Mark(at=at))
        return self._snapshot(group_id, at)

    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        """See [`commit`][election_core.ports.Store.commit]."""
        at = self._at()
        row = self._groups.get(changes.group.id)
        if row is not None and row.commit_id == commit_id:
            return row.committed
        revision = 0 if row is None else row.revision
        if revision != expected_revision:
            raise Conflict(f"group {changes.group.id!r} is at revision {revision}")
        self._check_expectations(changes, at)
        self._write(changes, revision + 1, commit_id, at)
        return self._groups[changes.group.id].committed

    def _check_expectations(self, changes: Changes, at: datetime) -> None:
        check_expectations(changes, self._runners, at)

    def _write(self, changes: Changes, revision: int, commit_id: str, at: datetime) -> None:
        for runner in changes.runners:
            self._runners[runner.id] = self._merged(runner, changes)
        for runner_id in changes.deleted:
            self._runners.pop(runner_id, None)
        committed = Committed(revision=revision, at=at)
        self._groups[changes.group.id] = Row(changes.group, revision, commit_id, committed)
        for ended in changes.ended_sessions:
            self._ended[ended.session_id] = Ended(ended, changes.group.id)
        self._end_claims(changes, at)
        if changes.group.deleted_at is not None:
            group_id = changes.group.id
            self._jobs = {k: r for k, r in self._jobs.items() if r.job.group_id != group_id}
            self._given = {k: c for k, c in self._given.items() if c.group_id != group_id}
            self._tokens = {k: t for k, t in self._tokens.items() if t.token.group_id != group_id}
        for event in changes.events:
            self._last_event += 1
            self._events.append(evolve(event, id=self._last_event))

    def _merged(self, runner: Runner, changes: Changes) -> Runner:
        return merge_runner(runner, self._runners.get(runner.id), changes)

    def _end_claims(self, changes: Changes, at: datetime) -> None:
        for job_id, record in self._jobs.items():
            if record.job.group_id == changes.group.id:
                self._jobs[job_id] = end_claim(record, changes, at)

    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        """See [`due`][election_core.ports.Store.due]."""
        at = self._at()
        found: list[tuple[datetime, str]] = []
        coming: list[datetime] = []
        for row in self._groups.values():
            group = row.group
            first = due_at(group, self._term_expires_at(group))
            if first is not None:
                until, revision = self._held.get(group.id, (at, 0))
                if first > at:
                    coming.append(first)
                elif until > at and revision == row.revision:
                    coming.append(until)
                else:
                    found.append((first, group.id))
        found.sort()
        group_ids = tuple(group_id for _, group_id in found[:limit])
        if hold:
            for group_id in group_ids:
                self._held[group_id] = (at + hold, self._groups[group_id].revision)
        return Due(
            group_ids=group_ids,
            next_at=min(coming, default=None),
            at=at,
        )
