"""What a renewal does to its session."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import evolve

from election_core._state import Session
from election_core._states import SessionState, session_state

__all__ = ["makes_due", "renew"]


def renew(
    session: Session,
    at: datetime,
    *,
    lease: timedelta,
    seq: int | None = None,
    ready: bool | None = None,
) -> Session:
    """The session once a renewal at `at` is written; unchanged for one that came too late to count.

    No lease is ever moved back, and the lease of a term is not extended once its handover deadline
    has come.

    Args:
        session: As it is.
        at: The store's time.
        lease: The group's.
        seq: One with a lower number than the session's last changes nothing; `None` always counts.
        ready: Whether the runner may lead; `None` leaves that as it is.
    """
    if seq is not None and seq < session.seq:
        return session
    is_ready = session.ready if ready is None else ready
    revived = session_state(session, at) is SessionState.LAPSED
    ends = at + lease
    term_ends = session.term_expires_at
    if term_ends is not None and (session.step_down_at is None or at < session.step_down_at):
        term_ends = max(term_ends, ends)
    return evolve(
        session,
        seq=session.seq if seq is None else seq,
        ready=is_ready,
        lease_expires_at=max(session.lease_expires_at, ends),
        term_expires_at=term_ends,
        healthy_since=at if revived or (is_ready and not session.ready) else session.healthy_since,
    )


def makes_due(before: Session, after: Session, at: datetime) -> bool:
    """Whether a renewal calls for a decision: it revived the session or changed readiness."""
    if after is before:
        return False
    return session_state(before, at) is SessionState.LAPSED or after.ready != before.ready
