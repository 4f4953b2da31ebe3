"""Sessions: renewals, pulses, and how they ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import evolve

from election_core._changes import EndedSession
from election_core._jobs import JobState
from election_core._renewal import makes_due, renew
from election_core._state import Group, Runner, Session
from election_core._views import Pulse, pulse_of
from election_core.memory._kept import Kept
from election_core.ports import Beat, Beaten

__all__ = ["Sessions"]


class Sessions(Kept):
    """What renewals write, outside compare-and-set."""

    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        """See [`beat`][election_core.ports.Store.beat]."""
        at = self._at()
        renewed = [self._renew(beat, at) for beat in beats]
        return [
            self._how_it_ended(beat.runner_id, beat.session_id)
            if told is None
            else self._told(beat.runner_id, at, *told)
            for beat, told in zip(beats, renewed, strict=True)
        ]

    def _told(self, runner_id: str, at: datetime, margin: timedelta, due: bool) -> Pulse:
        runner = self._runners[runner_id]
        assert runner.session is not None  # noqa: S101 - it was renewed just now
        group = self._groups[runner.group_id].group
        return self._pulse(runner, runner.session, group, at, margin=margin, due=due)

    def _renew(self, beat: Beat, at: datetime) -> tuple[timedelta, bool] | None:
        """Renew a session; what was left of its lease, and whether its group is due by it."""
        runner = self._runners.get(beat.runner_id)
        session = None if runner is None else runner.session
        if runner is None or session is None or session.id != beat.session_id:
            return None
        row = self._groups[runner.group_id]
        margin = session.lease_expires_at - at
        before = session
        lease = row.group.settings.lease
        session = renew(before, at, lease=lease, seq=beat.seq, ready=beat.ready)
        due = makes_due(before, session, at)
        self._runners[runner.id] = evolve(runner, session=session)
        if due:
            # The revision rises, or a commit that had not seen this would write over the due time.
            self._groups[runner.group_id] = evolve(
                row, revision=row.revision + 1, group=evolve(row.group, look_again_at=at)
            )
        return margin, due

    async def pulse(self, runner_id: str, session_id: str) -> Beaten:
        """See [`pulse`][election_core.ports.Store.pulse]."""
        runner = self._runners.get(runner_id)
        session = None if runner is None else runner.session
        if runner is None or session is None or session.id != session_id:
            return self._how_it_ended(runner_id, session_id)
        return self._pulse(runner, session, self._groups[runner.group_id].group, self._at())

    def _pulse(
        self,
        runner: Runner,
        session: Session,
        group: Group,
        at: datetime,
        *,
        margin: timedelta | None = None,
        due: bool = False,
    ) -> Pulse:
        cancel = (
            record.job.id
            for record in sorted(self._jobs.values(), key=lambda record: record.seq)
            if record.job.state is JobState.RUNNING
            and record.job.cancel_requested
            and record.claim is not None
            and record.claim.session_id == session.id
        )
        ends = self._term_expires_at(group)
        return pulse_of(runner, session, group, ends, at, cancel=cancel, margin=margin, due=due)

    async def ended_session(
        self, runner_id: str, *, session_id: str | None = None, key: str | None = None
    ) -> EndedSession | None:
        """See [`ended_session`][election_core.ports.Store.ended_session]."""
        for kept in reversed(self._ended.values()):
            ended = kept.session
            if ended.runner_id == runner_id and (
                ended.session_id == session_id or (key is not None and ended.key == key)
            ):
                return ended
        return None
