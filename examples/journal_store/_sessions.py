"""Sessions: renewals, pulses, and how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from attrs import evolve

from election_core import (
    EndedSession,
    JobState,
    Runner,
    Session,
    makes_due,
    pulse_of,
    renew,
)
from election_core.ports import Beat, Beaten
from examples.journal_store._part import Part, transaction
from examples.journal_store._tables import Tables

__all__ = ["Sessions", "how_it_ended", "session_of"]


class Sessions(Part):
    """What renewals write, outside compare-and-set."""

    @transaction
    def beat(self, tables: Tables, beats: Sequence[Beat]) -> list[Beaten]:
        """See [`beat`][election_core.ports.Store.beat]."""
        renewed = [_renew(tables, beat) for beat in beats]
        return [
            _pulse(tables, beat.runner_id, beat.session_id, margin=margin, due=due)
            for beat, (margin, due) in zip(beats, renewed, strict=True)
        ]

    @transaction
    def pulse(self, tables: Tables, runner_id: str, session_id: str) -> Beaten:
        """See [`pulse`][election_core.ports.Store.pulse]."""
        return _pulse(tables, runner_id, session_id)

    @transaction
    def ended_session(
        self,
        tables: Tables,
        runner_id: str,
        *,
        session_id: str | None = None,
        key: str | None = None,
    ) -> EndedSession | None:
        """See [`ended_session`][election_core.ports.Store.ended_session]."""
        for row in tables.ended.newest_first(runner_id):
            ended = row.session
            if ended.session_id == session_id or (key is not None and ended.key == key):
                return ended
        return None


def session_of(
    tables: Tables, runner_id: str, session_id: str
) -> tuple[Runner, Session] | tuple[None, None]:
    """A runner and its session, if that is the current one."""
    runner = tables.runners.get(runner_id)
    if runner is None or runner.session is None or runner.session.id != session_id:
        return None, None
    return runner, runner.session


def how_it_ended(tables: Tables, runner_id: str, session_id: str) -> EndedSession | None:
    """How a session of a runner ended, if that is known."""
    row = tables.ended.get(session_id)
    return row.session if row is not None and row.session.runner_id == runner_id else None


def _renew(tables: Tables, beat: Beat) -> tuple[timedelta | None, bool]:
    """Renew a session; what was left of its lease, and whether its group is due by it."""
    runner, before = session_of(tables, beat.runner_id, beat.session_id)
    if runner is None or before is None:
        return None, False
    row, at = tables.row(runner.group_id), tables.at
    after = renew(before, at, lease=row.group.settings.lease, seq=beat.seq, ready=beat.ready)
    due = makes_due(before, after, at)
    if after is not before:
        tables.runners.put(runner.id, evolve(runner, session=after))
    if due:
        # The revision rises, or a commit that had not seen this would write over the due time.
        group = evolve(row.group, look_again_at=at)
        tables.groups.put(group.id, evolve(row, group=group, revision=row.revision + 1))
    return before.lease_expires_at - at, due


def _pulse(
    tables: Tables,
    runner_id: str,
    session_id: str,
    *,
    margin: timedelta | None = None,
    due: bool = False,
) -> Beaten:
    runner, session = session_of(tables, runner_id, session_id)
    if runner is None or session is None:
        return how_it_ended(tables, runner_id, session_id)
    group = tables.row(runner.group_id).group
    cancel = [
        record.job.id
        for record in tables.jobs.of(group.id)
        if record.job.state is JobState.RUNNING
        and record.job.cancel_requested
        and record.claim is not None
        and record.claim.session_id == session_id
    ]
    ends = tables.term_expires_at(group)
    return pulse_of(runner, session, group, ends, tables.at, cancel=cancel, margin=margin, due=due)
