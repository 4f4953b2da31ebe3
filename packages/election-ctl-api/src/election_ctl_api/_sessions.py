"""Sessions of runners: opening, renewing, releasing, leaving."""

from __future__ import annotations

from collections.abc import Sequence

from election_core import NotFound, SessionEnded, SessionSuperseded, Standing
from election_core.engine import new_id
from election_ctl_api._access import Access
from election_ctl_api._answers import Reply, json_reply
from election_ctl_api._bodies import HeartBeat, NewSession, ReleaseEpoch
from election_ctl_api._operations import PREFER, Call, Operation, operation

__all__ = ["OPERATIONS"]

_RUNNER = "/v1/runners/{runner_id}"


@operation(
    "POST",
    f"{_RUNNER}/sessions",
    access=Access.ACT,
    answers={201: Standing, 200: Standing},
    errors=(NotFound, SessionSuperseded, SessionEnded),
).taking(NewSession, lenient=True)
async def open_session(call: Call, body: NewSession) -> Reply:
    """Open a session; it supersedes the runner's earlier one.

    The same key again is the same session: 200.
    """
    session_id = new_id("session")
    standing = await call.engine.open_session(
        call.path("runner_id"),
        session_key=body.session_key,
        previous_session_id=body.previous_session_id,
        version=body.version,
        ready=body.ready is not False,
        session_id=session_id,
        actor=call.actor,
    )
    return json_reply(standing, status=201 if standing.session_id == session_id else 200)


@operation(
    "POST",
    f"{_RUNNER}/heart-beats",
    access=Access.ACT,
    answers={200: Standing},
    errors=(NotFound, SessionSuperseded, SessionEnded),
    parameters=(PREFER,),
).taking(HeartBeat, lenient=True)
async def beat(call: Call, body: HeartBeat) -> object:
    """Renew a session, and with it the term it holds.

    Trust counts from the start of the call for `lease_remaining_seconds`. A waiting call answers
    when `standing_version` is newer than `seen`.
    """
    return await call.engine.beat(
        call.path("runner_id"),
        body.session_id,
        seq=body.seq,
        ready=body.ready,
        seen=body.seen,
        wait=call.wait,
    )


@operation(
    "POST",
    f"{_RUNNER}/release",
    access=Access.ACT,
    answers={200: Standing},
    errors=(NotFound, SessionSuperseded, SessionEnded),
).taking(ReleaseEpoch, lenient=True)
async def release(call: Call, body: ReleaseEpoch) -> object:
    """Give an epoch up; the successor is elected in the same step.

    Repeating it, or sending it for an epoch that is over, changes nothing.
    """
    return await call.engine.release(
        call.path("runner_id"),
        body.session_id,
        body.epoch,
        reason=body.reason or "",
        actor=call.actor,
    )


@operation(
    "DELETE",
    f"{_RUNNER}/sessions/{{session_id}}",
    access=Access.ACT,
    answers={204: None},
    errors=(NotFound, SessionSuperseded, SessionEnded),
)
async def leave(call: Call) -> None:
    """Leave: end a session from its own side, giving leadership up first."""
    await call.engine.leave(call.path("runner_id"), call.path("session_id"), actor=call.actor)


OPERATIONS: Sequence[Operation] = (open_session, beat, release, leave)
