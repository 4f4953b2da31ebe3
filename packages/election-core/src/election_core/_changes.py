"""What a commit writes: the difference between two snapshots of a group, spelled out."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from election_core._events import Event
from election_core._state import Group, Runner
from election_core._states import Ended

__all__ = ["Changes", "EndedSession", "EndedTerm", "Live", "TermLease"]


@frozen
class TermLease:
    """Expects that the session's term lease still ends when the decision saw it end.

    A renewal that came between the load and the commit makes the commit fail with
    [`Conflict`][election_core.Conflict], so a leader that renewed in time is not deposed, and a
    barrier covers all that its session was ever told.
    """

    runner_id: str
    session_id: str
    expires_at: datetime


@frozen
class Live:
    """Expects, at the end of the commit, that the session is the runner's, live and ready."""

    runner_id: str
    session_id: str


@frozen
class EndedTerm:
    """A term that ends with the commit, and with it the claims under its epoch."""

    epoch: int
    handed_back: bool
    """Given up by its own session: unfinished claims return without counting an attempt."""


@frozen(kw_only=True)
class EndedSession:
    """A session that ends with the commit, and with it its claims of addressed jobs."""

    runner_id: str
    session_id: str
    key: str
    how: Ended
    at: datetime


@frozen(kw_only=True)
class Changes:
    """One atomic change of a group.

    A store writes all of it or nothing. Of a session that the store already holds it writes only
    what commits own (`held_epoch` and `step_down_at`); what renewals own stays as the row has it.
    """

    group: Group
    """The group's row."""
    runners: tuple[Runner, ...] = ()
    """Runners that are new or changed. A session with another id than the row's is written
    whole."""
    deleted: tuple[str, ...] = ()
    """Ids of runners to delete; their addressed jobs fail with `runner-deleted`."""
    granted: tuple[str, ...] = ()
    """Ids of runners whose `term_expires_at` becomes the row's own `lease_expires_at`."""
    roused: tuple[str, ...] = ()
    """Ids of runners whose standing changed: the row's `standing_version` rises by one.
    A session that this commit opens starts with the version it is given."""
    ended_terms: tuple[EndedTerm, ...] = ()
    ended_sessions: tuple[EndedSession, ...] = ()
    expects: tuple[TermLease | Live, ...] = ()
    """What must hold when it is committed, judged under the commit's locks, with the store's
    time."""
    events: tuple[Event, ...] = ()
    """To append in this order."""
