"""The states of a session and of a group's leadership, as tables.

The code asks the tables, the diagrams of the documentation are drawn from them, and every pair of
state and event is tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NoReturn

from election_core._elect import Outcome
from election_core._errors import (
    ElectionError,
    LeaseExpired,
    NotFound,
    SessionEnded,
    SessionSuperseded,
)
from election_core._state import Group, Session, Snapshot

__all__ = [
    "LEADERSHIP",
    "SESSION",
    "Ended",
    "Leadership",
    "SessionCall",
    "SessionState",
    "leadership",
    "refuse",
    "refuse_former",
    "session_state",
]


class Ended(StrEnum):
    """How a session came to an end. Silence alone never ends one."""

    SUPERSEDED = "superseded"
    LEFT = "left"
    DELETED = "deleted"


class SessionState(StrEnum):
    """What a session is at a point in the store's time."""

    LIVE = "live"
    LAPSED = "lapsed"
    """Its lease ran out; a renewal revives it."""
    SUPERSEDED = "superseded"
    LEFT = "left"
    DELETED = "deleted"


class SessionCall(StrEnum):
    """What a runner asks of a session."""

    OPEN = "open"
    """The same key again."""
    RENEW = "renew"
    CLAIM = "claim"
    RELEASE = "release"
    LEAVE = "leave"


SESSION: Mapping[tuple[SessionState, SessionCall], SessionState | type[ElectionError]] = {
    (SessionState.LIVE, SessionCall.OPEN): SessionState.LIVE,
    (SessionState.LIVE, SessionCall.RENEW): SessionState.LIVE,
    (SessionState.LIVE, SessionCall.CLAIM): SessionState.LIVE,
    (SessionState.LIVE, SessionCall.RELEASE): SessionState.LIVE,
    (SessionState.LIVE, SessionCall.LEAVE): SessionState.LEFT,
    (SessionState.LAPSED, SessionCall.OPEN): SessionState.LAPSED,
    (SessionState.LAPSED, SessionCall.RENEW): SessionState.LIVE,
    (SessionState.LAPSED, SessionCall.CLAIM): LeaseExpired,
    (SessionState.LAPSED, SessionCall.RELEASE): SessionState.LAPSED,
    (SessionState.LAPSED, SessionCall.LEAVE): SessionState.LEFT,
    **{(SessionState.SUPERSEDED, call): SessionSuperseded for call in SessionCall},
    **{(SessionState.LEFT, call): SessionEnded for call in SessionCall},
    **{(SessionState.DELETED, call): SessionEnded for call in SessionCall},
    (SessionState.LEFT, SessionCall.LEAVE): SessionState.LEFT,
    (SessionState.DELETED, SessionCall.LEAVE): SessionState.DELETED,
}
"""The state after a call, or the error the call is refused with."""


def session_state(session: Session, at: datetime) -> SessionState:
    """Whether the current session of a runner is live at `at`."""
    return SessionState.LIVE if session.lease_expires_at > at else SessionState.LAPSED


def refuse(state: SessionState, call: SessionCall) -> None:
    """Raise what the table says to a call of a session in that state.

    Raises:
        SessionSuperseded: A later session of the runner was opened.
        SessionEnded: It left, or its runner was deleted.
        LeaseExpired: The call needs a live lease.
    """
    found = SESSION[state, call]
    if isinstance(found, type):
        raise found(_SENTENCES.get(found, ""))


def refuse_former(runner_id: str, call: SessionCall, *, known: bool, how: Ended | None) -> NoReturn:
    """Raise what is said to a call of a session that is not its runner's current one.

    Args:
        runner_id: The runner.
        call: What is asked; not to leave, which is no fault of who left.
        known: Whether there is such a runner.
        how: How the session ended, if that is remembered.

    Raises:
        SessionSuperseded, SessionEnded: As the table says; `SessionEnded` if nothing is remembered.
        NotFound: Neither is the runner known.
    """
    if how is not None:
        refuse(SessionState(how.value), call)
    if not known:
        raise NotFound(f"no runner {runner_id!r}")
    raise SessionEnded(_SENTENCES[SessionEnded])


_SENTENCES: Mapping[type[ElectionError], str] = {
    SessionSuperseded: "a later session of this runner was opened; stop, and do not reopen",
    SessionEnded: "this session has ended; open a new one",
    LeaseExpired: "the session's lease ran out; renew it, then try again",
}


class Leadership(StrEnum):
    """What a group's leadership is at a point in the store's time."""

    VACANT = "vacant"
    """No term is current."""
    LED = "led"
    STEPPING_DOWN = "stepping-down"
    """A handover is under way; the incumbent finishes what it has."""
    SUSPENDED = "suspended"
    """The term's lease ran out and nothing was decided yet; a renewal resumes it."""


LEADERSHIP: Mapping[tuple[Leadership, Outcome], tuple[Leadership, str | None]] = {
    (Leadership.VACANT, Outcome.ELECT): (Leadership.LED, "elected"),
    (Leadership.VACANT, Outcome.VACATE): (Leadership.VACANT, None),
    (Leadership.LED, Outcome.KEEP): (Leadership.LED, None),
    (Leadership.LED, Outcome.HAND_OVER): (Leadership.STEPPING_DOWN, "handover-started"),
    (Leadership.LED, Outcome.VACATE): (Leadership.STEPPING_DOWN, "handover-started"),
    (Leadership.STEPPING_DOWN, Outcome.KEEP): (Leadership.LED, "handover-cancelled"),
    (Leadership.STEPPING_DOWN, Outcome.HAND_OVER): (Leadership.STEPPING_DOWN, None),
    (Leadership.STEPPING_DOWN, Outcome.VACATE): (Leadership.STEPPING_DOWN, None),
    (Leadership.SUSPENDED, Outcome.KEEP): (Leadership.SUSPENDED, None),
    (Leadership.SUSPENDED, Outcome.ELECT): (Leadership.LED, "elected"),
    (Leadership.SUSPENDED, Outcome.VACATE): (Leadership.VACANT, "vacated"),
}
"""Which state a decision leads to, and the kind of the event that records it.

Pairs that are missing cannot come out: a live leader is never simply replaced, a vacant group has
nobody to keep or to hand over from, and a leader whose lease is over cannot hand over.
"""


def leadership(snapshot: Snapshot) -> Leadership:
    """The state of a group's leadership at the snapshot's time."""
    group = snapshot.group
    if group.term is None:
        return Leadership.VACANT
    if not term_live(group, snapshot):
        return Leadership.SUSPENDED
    return Leadership.LED if group.handover is None else Leadership.STEPPING_DOWN


def term_live(group: Group, snapshot: Snapshot) -> bool:
    """Whether the current term's lease is not over."""
    holder = snapshot.incumbent
    return (
        group.term is not None
        and holder is not None
        and holder.session is not None
        and holder.session.term_expires_at is not None
        and holder.session.term_expires_at > snapshot.at
    )
