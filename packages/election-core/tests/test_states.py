"""The tables of states: every pair of state and event, one by one."""

from __future__ import annotations

from itertools import product

import pytest

from election_cases import NOW, a_runner, a_session, a_snapshot, at
from election_core import (
    LEADERSHIP,
    SESSION,
    Cause,
    ElectionError,
    Ended,
    Handover,
    Leadership,
    LeaseExpired,
    NotFound,
    Outcome,
    SessionCall,
    SessionEnded,
    SessionState,
    SessionSuperseded,
    Snapshot,
    leadership,
    refuse,
    refuse_former,
    session_state,
)

LIVE, LAPSED = SessionState.LIVE, SessionState.LAPSED
LEFT, DELETED = SessionState.LEFT, SessionState.DELETED
SUPERSEDED = SessionState.SUPERSEDED

SESSIONS: dict[SessionState, dict[SessionCall, SessionState | type[ElectionError]]] = {
    LIVE: {
        SessionCall.OPEN: LIVE,
        SessionCall.RENEW: LIVE,
        SessionCall.CLAIM: LIVE,
        SessionCall.RELEASE: LIVE,
        SessionCall.LEAVE: LEFT,
    },
    LAPSED: {
        SessionCall.OPEN: LAPSED,
        SessionCall.RENEW: LIVE,
        SessionCall.CLAIM: LeaseExpired,
        SessionCall.RELEASE: LAPSED,
        SessionCall.LEAVE: LEFT,
    },
    SUPERSEDED: dict.fromkeys(SessionCall, SessionSuperseded),
    LEFT: {**dict.fromkeys(SessionCall, SessionEnded), SessionCall.LEAVE: LEFT},
    DELETED: {**dict.fromkeys(SessionCall, SessionEnded), SessionCall.LEAVE: DELETED},
}


@pytest.mark.parametrize(("state", "call"), list(product(SessionState, SessionCall)))
def test_each_call_of_a_session_in_each_state(state: SessionState, call: SessionCall) -> None:
    """The table says for every state what comes of every call, or how it is refused."""
    expected = SESSIONS[state][call]

    assert SESSION[state, call] == expected
    if isinstance(expected, SessionState):
        refuse(state, call)
    else:
        with pytest.raises(expected):
            refuse(state, call)


@pytest.mark.parametrize("call", list(SessionCall))
def test_a_session_that_never_was_has_ended(call: SessionCall) -> None:
    """Nobody learns from an error whether a session ever existed."""
    with pytest.raises(SessionEnded):
        refuse_former("r", call, known=True, how=None)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Ended.SUPERSEDED, SessionSuperseded),
        (Ended.LEFT, SessionEnded),
        (Ended.DELETED, SessionEnded),
        (None, NotFound),
    ],
)
def test_a_former_session_is_told_how_it_ended(
    how: Ended | None, expected: type[ElectionError]
) -> None:
    """Also when its runner is gone, for as long as that is remembered."""
    with pytest.raises(expected):
        refuse_former("r", SessionCall.CLAIM, known=False, how=how)


@pytest.mark.parametrize(
    ("left", "state"), [(0.001, LIVE), (0, LAPSED), (-1, LAPSED)], ids=["before", "at", "after"]
)
def test_a_lease_ends_sharp(left: float, state: SessionState) -> None:
    """At the very time at which its lease ends a session is lapsed."""
    assert session_state(a_session("a", left=left), NOW) is state


LEADERSHIPS: dict[tuple[Leadership, Outcome], tuple[Leadership, str | None]] = {
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


@pytest.mark.parametrize(("state", "outcome"), list(product(Leadership, Outcome)))
def test_each_outcome_in_each_state(state: Leadership, outcome: Outcome) -> None:
    """The table says where each decision leads; `test_elect` shows that no other pair comes out."""
    assert LEADERSHIP.get((state, outcome)) == LEADERSHIPS.get((state, outcome))


def _handover() -> Handover:
    return Handover(cause=Cause.DRAINING, started_at=at(-1), deadline=at(9))


@pytest.mark.parametrize(
    ("snapshot", "state"),
    [
        (a_snapshot(a_runner("a")), Leadership.VACANT),
        (a_snapshot(a_runner("a"), leader="a"), Leadership.LED),
        (a_snapshot(a_runner("a"), leader="a", handover=_handover()), Leadership.STEPPING_DOWN),
        (
            a_snapshot(a_runner("a", session=a_session("a", left=0, epoch=7)), leader="a"),
            Leadership.SUSPENDED,
        ),
        (
            a_snapshot(
                a_runner("a", session=a_session("a", left=0, epoch=7)),
                leader="a",
                handover=_handover(),
            ),
            Leadership.SUSPENDED,
        ),
    ],
    ids=["vacant", "led", "stepping-down", "suspended", "suspended-in-a-handover"],
)
def test_the_state_of_leadership(snapshot: Snapshot, state: Leadership) -> None:
    """A group is led as long as its term's lease runs, whatever else is so."""
    assert leadership(snapshot) is state
