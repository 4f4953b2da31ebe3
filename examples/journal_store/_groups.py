"""Groups: load one, commit a change of one, which are due, and the mark."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import evolve

from election_core import (
    EPOCH_JUMP,
    Changes,
    Conflict,
    Group,
    Mark,
    Settings,
    Snapshot,
    check_expectations,
    due_at,
    end_claim,
    lost_group,
    merge_runner,
    refresh_mark,
    reincarnate,
)
from election_core.ports import Committed, Due
from examples.journal_store._part import Part, transaction
from examples.journal_store._tables import EndedRow, GroupRow, HoldRow, Tables

__all__ = ["Groups", "reincarnate_all"]


class Groups(Part):
    """What elections are made of."""

    @transaction
    def load(self, tables: Tables, group_id: str) -> Snapshot:
        """See [`load`][election_core.ports.Store.load]."""
        until = tables.store.lost_until
        if until is not None and tables.groups.get(group_id) is None:
            lost = lost_group(group_id, tables.store.lost_epoch, until)
            return Snapshot(at=tables.at, revision=0, group=lost, mark=_mark(tables))
        return _snapshot(tables, group_id)

    @transaction
    def commit(
        self, tables: Tables, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        """See [`commit`][election_core.ports.Store.commit]."""
        row = tables.groups.get(changes.group.id)
        if row is not None and row.commit_id == commit_id:
            return row.committed
        revision = 0 if row is None else row.revision
        if revision != expected_revision:
            raise Conflict(f"group {changes.group.id!r} is at revision {revision}")
        rows = {runner.id: runner for runner in tables.runners.of(changes.group.id)}
        check_expectations(changes, rows, tables.at)
        return _write(tables, changes, revision + 1, commit_id)

    @transaction
    def due(self, tables: Tables, limit: int, *, hold: timedelta = timedelta()) -> Due:
        """See [`due`][election_core.ports.Store.due]."""
        at = tables.at
        found: list[tuple[datetime, str]] = []
        coming: list[datetime] = []
        for row in tables.groups.all():
            since = due_at(row.group, tables.term_expires_at(row.group))
            if since is None:
                continue
            held = tables.holds.get(row.group.id)
            if since > at:
                coming.append(since)
            elif held is not None and held.until > at and held.revision == row.revision:
                coming.append(held.until)
            else:
                found.append((since, row.group.id))
        group_ids = tuple(group_id for _, group_id in sorted(found)[:limit])
        if hold:
            for group_id in group_ids:
                tables.holds.put(group_id, HoldRow(at + hold, tables.row(group_id).revision))
        return Due(group_ids=group_ids, next_at=min(coming, default=None), at=at)

    @transaction
    def mark(self, tables: Tables, tick: timedelta) -> Mark:
        """See [`mark`][election_core.ports.Store.mark]."""
        before = tables.store.mark
        if before is not None:
            self.journal.note(before.at)
        mark = refresh_mark(before, tables.at, tick)
        tables.update_store(mark=mark)
        return mark


def _snapshot(tables: Tables, group_id: str) -> Snapshot:
    row = tables.row(group_id)
    members = sorted(tables.runners.of(group_id), key=lambda runner: (runner.created_at, runner.id))
    return Snapshot(
        at=tables.at,
        revision=row.revision,
        group=row.group,
        runners=tuple(members),
        mark=_mark(tables),
    )


def _mark(tables: Tables) -> Mark:
    """The mark; before the first one, that of somebody who was here just now."""
    return tables.store.mark or Mark(at=tables.at)


def _write(tables: Tables, changes: Changes, revision: int, commit_id: str) -> Committed:
    """Write all of a change, under the revision that it makes."""
    group, at = changes.group, tables.at
    committed = Committed(revision=revision, at=at)
    old = tables.groups.get(group.id)
    row = GroupRow(group=group, revision=revision, commit_id=commit_id, committed=committed)
    tables.groups.put(group.id, evolve(row, pruned_to=0 if old is None else old.pruned_to))
    tables.holds.drop(group.id)
    for runner in changes.runners:
        tables.runners.put(runner.id, merge_runner(runner, tables.runners.get(runner.id), changes))
    for runner_id in changes.deleted:
        tables.runners.drop(runner_id)
    for ended in changes.ended_sessions:
        tables.ended.put(ended.session_id, EndedRow(group.id, ended))
    for record in list(tables.jobs.of(group.id)):
        after = end_claim(record, changes, at)
        if after is not record:
            tables.jobs.put(record.job.id, after)
    if group.deleted_at is not None:
        _empty(tables, group)
    for event in changes.events:
        event_id = tables.store.last_event + 1
        tables.update_store(last_event=event_id)
        tables.events.put(f"{event_id:020}", evolve(event, id=event_id))
    return committed


def _empty(tables: Tables, group: Group) -> None:
    """A deleted group loses its jobs, its claims and its tokens."""
    for table in (tables.jobs, tables.claims, tables.tokens):
        for key, _ in table.items(group.id):
            table.drop(key)


def reincarnate_all(tables: Tables, last: datetime) -> None:
    """What follows from having lost commits: no term goes on, and every epoch jumps ahead.

    Args:
        tables: Of the transaction that found it out.
        last: The time of the last mark that was not lost. Each minute since then has a jump of its
            own, so that restoring one backup twice does not grant the same epochs twice.
    """
    jumps = (tables.at - last) // timedelta(minutes=1) + 1
    ahead = jumps * EPOCH_JUMP
    tables.update_store(last_event=tables.store.last_event + ahead)
    lease = max((row.group.settings.lease for row in tables.groups.all()), default=timedelta())
    sessions = [runner.session for runner in tables.runners.all() if runner.session is not None]
    ends = max((session.lease_expires_at for session in sessions), default=tables.at)
    not_before = max(tables.at + lease, ends)
    for group_id, row in tables.groups.items():
        before = _snapshot(tables, group_id)
        group = evolve(row.group, epoch=row.group.epoch + ahead - EPOCH_JUMP)  # it jumps once more
        changes = reincarnate(evolve(before, group=group), not_before)
        _write(tables, changes, row.revision + 1, "")
    for runner_id, runner in tables.runners.items():
        if runner.session is not None:
            version = runner.session.standing_version + ahead
            session = evolve(runner.session, standing_version=version)
            tables.runners.put(runner_id, evolve(runner, session=session))
    tables.update_store(
        lost_epoch=tables.store.lost_epoch + ahead,
        lost_until=max(not_before, tables.at + Settings().lease),
    )
