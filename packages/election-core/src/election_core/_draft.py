"""A group's next state while a command is applied, and the record of what it takes to get there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import evolve

from election_core._changes import Changes, EndedSession, EndedTerm, Live, TermLease
from election_core._errors import NotFound, SessionEnded
from election_core._events import Event, EventKind
from election_core._state import Group, Kind, Mark, Runner, Session, Snapshot, Term
from election_core._states import Ended

__all__ = ["Draft"]


class Draft:
    """Mutable within one call of [`plan`][election_core.plan], which stays pure to its caller."""

    def __init__(self, before: Snapshot, actor: str) -> None:
        self.before = before
        self.at: datetime = before.at
        self.actor = actor
        self.group: Group = before.group
        self.mark: Mark = before.mark
        self.released: str | None = None
        self.runners: dict[str, Runner] = {runner.id: runner for runner in before.runners}
        self.deleted: list[str] = []
        self.granted: dict[str, None] = {}
        self.ended_terms: list[EndedTerm] = []
        self.ended_sessions: list[EndedSession] = []
        self.expects: list[TermLease | Live] = []
        self.events: list[Event] = []

    def snapshot(self) -> Snapshot:
        """The group as it stands now."""
        return evolve(
            self.before,
            group=self.group,
            runners=tuple(self.runners.values()),
            mark=self.mark,
            released=self.released,
        )

    def changes(self) -> Changes:
        """What a store has to write to get here from where the draft began."""
        old = {runner.id: runner for runner in self.before.runners}
        return Changes(
            group=self.group,
            runners=tuple(
                runner for runner in self.runners.values() if runner != old.get(runner.id)
            ),
            deleted=tuple(self.deleted),
            granted=tuple(self.granted),
            roused=tuple(
                runner.id for runner in self.runners.values() if _roused(old.get(runner.id), runner)
            ),
            ended_terms=tuple(self.ended_terms),
            ended_sessions=tuple(self.ended_sessions),
            expects=tuple(self.expects),
            events=tuple(self.events),
        )

    def runner(self, runner_id: str) -> Runner:
        """The runner of that id.

        Raises:
            NotFound: It is not in the group.
        """
        runner = self.runners.get(runner_id)
        if runner is None:
            raise NotFound(f"no runner {runner_id!r} in group {self.group.id!r}")
        return runner

    def session(self, runner_id: str, session_id: str) -> tuple[Runner, Session]:
        """The runner and its session, if `session_id` is the current one.

        Raises:
            NotFound: The runner is not in the group.
            SessionEnded: It is not; the engine says how it ended.
        """
        runner = self.runner(runner_id)
        if runner.session is None or runner.session.id != session_id:
            raise SessionEnded("this session has ended; open a new one")
        return runner, runner.session

    def put(self, runner: Runner) -> None:
        """Add or replace a runner."""
        self.runners[runner.id] = runner

    def note(
        self,
        kind: EventKind | str,
        *,
        runner_id: str | None = None,
        reason: str = "",
        data: Mapping[str, object] | None = None,
    ) -> None:
        """Append to the history."""
        self.events.append(
            Event(
                group_id=self.group.id,
                at=self.at,
                kind=str(kind),
                epoch=self.group.epoch,
                runner_id=runner_id,
                reason=reason,
                actor=self.actor,
                data=data or {},
            )
        )

    def grant(self, runner: Runner, *, reason: str) -> Kind:
        """A new term for a runner, under the next epoch."""
        assert runner.session is not None  # noqa: S101 - an elected runner has a session
        session = runner.session
        kind = self.group.ended or Kind.FIRST
        epoch = self.group.epoch + 1
        self.group = evolve(
            self.group,
            epoch=epoch,
            term=Term(
                epoch=epoch,
                runner_id=runner.id,
                session_id=session.id,
                elected_at=self.at,
                kind=kind,
                reason=reason,
            ),
            ended=None,
            ended_at=None,
            grant_not_before=None,
        )
        self._stand(
            runner,
            evolve(
                session,
                held_epoch=epoch,
                term_expires_at=session.lease_expires_at,
                step_down_at=None,
            ),
        )
        self.granted[runner.id] = None
        self.expects.append(Live(runner.id, session.id))
        return kind

    def end_term(self, kind: Kind, *, handed_back: bool = False, gone: bool = False) -> None:
        """End the current term, if there is one.

        Args:
            kind: How it ended.
            handed_back: Given up by its own session: no barrier, and its claims count no attempt.
            gone: Whatever acted under it is known to be gone: no barrier.
        """
        term = self.group.term
        if term is None:
            return
        holder = self.runners.get(term.runner_id)
        session = holder.session if holder is not None else None
        barrier = self.group.grant_not_before
        ended_at = self.at
        if holder is not None and session is not None and session.id == term.session_id:
            ends = session.term_expires_at or self.at
            if not handed_back and not gone:
                self.expects.append(TermLease(holder.id, session.id, ends))
                barrier = ends if barrier is None else max(barrier, ends)
            ended_at = min(self.at, ends)
            self._stand(
                holder, evolve(session, held_epoch=None, term_expires_at=None, step_down_at=None)
            )
            self.granted.pop(holder.id, None)
        self.group = evolve(
            self.group,
            term=None,
            handover=None,
            ended=kind,
            ended_at=ended_at,
            grant_not_before=barrier if barrier is not None and barrier > self.at else None,
        )
        self.ended_terms.append(EndedTerm(term.epoch, handed_back))

    def end_session(self, runner: Runner, how: Ended) -> Runner:
        """End a runner's session; its term was ended before."""
        session = runner.session
        if session is not None:
            self.ended_sessions.append(
                EndedSession(
                    runner_id=runner.id,
                    session_id=session.id,
                    key=session.key,
                    how=how,
                    at=self.at,
                )
            )
            runner = evolve(runner, session=None)
            self.put(runner)
        return runner

    def step_down(self, runner: Runner, deadline: datetime | None) -> None:
        """Set or clear the leader's handover deadline; clearing it restores its term's lease."""
        session = runner.session
        if session is None or session.step_down_at == deadline:
            return
        if deadline is None:
            session = evolve(session, term_expires_at=session.lease_expires_at)
            self.granted[runner.id] = None
        self._stand(runner, evolve(session, step_down_at=deadline))

    def _stand(self, runner: Runner, session: Session) -> None:
        """Replace a session whose standing changed."""
        before = self.before.runner(runner.id)
        version = session.standing_version
        if before is not None and before.session is not None and before.session.id == session.id:
            version = before.session.standing_version + 1
        self.put(evolve(runner, session=evolve(session, standing_version=version)))


def _roused(old: Runner | None, new: Runner) -> bool:
    """Whether a session that was there before stands differently now."""
    if old is None or old.session is None or new.session is None:
        return False
    return (
        old.session.id == new.session.id
        and old.session.standing_version != new.session.standing_version
    )
