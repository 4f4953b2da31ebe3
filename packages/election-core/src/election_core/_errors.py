"""What can go wrong, as one tree of exceptions with the facts as fields.

Every error carries a `code`, the one of the HTTP contract, so the control API answers it and the
SDK raises it again without a second table. `facts` holds what a program needs to react.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

__all__ = [
    "CODES",
    "Conflict",
    "ConflictError",
    "CursorExpired",
    "ElectionError",
    "Forbidden",
    "InternalError",
    "Invalid",
    "LeaseExpired",
    "MethodNotAllowed",
    "NoLeader",
    "NotEligible",
    "NotFound",
    "NotLeader",
    "OutcomeUnknown",
    "OwnedByOther",
    "PayloadTooLarge",
    "SchemaMismatch",
    "SessionEnded",
    "SessionSuperseded",
    "StaleClaim",
    "StaleEpoch",
    "SteppingDown",
    "Unauthenticated",
    "Unavailable",
]

Fact = str | int | float | bool | None


class ElectionError(Exception):
    """Root of everything this system raises on purpose.

    Args:
        detail: One sentence for a person, naming what is wrong and what to do about it.
        **facts: What a program needs, e.g. `current_epoch`. JSON values only.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str = "", /, **facts: Fact) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.facts: Mapping[str, Fact] = facts


class InternalError(ElectionError):
    """A fault of the control plane itself; the call may be repeated."""


class Invalid(ElectionError):
    """The input is wrong. `facts["field"]` names the field where one is to blame."""

    code = "invalid"
    status = 400
    title = "Invalid request"


class Unauthenticated(ElectionError):
    """No valid token came with the call."""

    code = "unauthenticated"
    status = 401
    title = "Not authenticated"


class Forbidden(ElectionError):
    """The token is valid and does not allow this call."""

    code = "forbidden"
    status = 403
    title = "Not allowed"


class NotFound(ElectionError):
    """The group, runner, job or token does not exist."""

    code = "not-found"
    status = 404
    title = "Not found"


class NoLeader(ElectionError):
    """The group has no leader now."""

    code = "no-leader"
    status = 404
    title = "No leader"


class MethodNotAllowed(ElectionError):
    """The address exists, the method does not."""

    code = "method-not-allowed"
    status = 405
    title = "Method not allowed"


class ConflictError(ElectionError):
    """The call contradicts what exists, e.g. the same id with other settings."""

    code = "conflict"
    status = 409
    title = "Conflict"


class NotLeader(ElectionError):
    """The epoch is current and another session holds it."""

    code = "not-leader"
    status = 409
    title = "Not the leader"


class StaleEpoch(ElectionError):
    """The epoch is not the group's current one. `facts["current_epoch"]` is."""

    code = "stale-epoch"
    status = 409
    title = "Stale epoch"


class LeaseExpired(ElectionError):
    """The lease is over and nothing was decided yet: renew, then try again."""

    code = "lease-expired"
    status = 409
    title = "Lease expired"


class SessionSuperseded(ElectionError):
    """A later session of the same runner was opened. Stop; never reopen."""

    code = "session-superseded"
    status = 409
    title = "Session superseded"


class SessionEnded(ElectionError):
    """The session left, or its runner was deleted."""

    code = "session-ended"
    status = 409
    title = "Session ended"


class SteppingDown(ElectionError):
    """The leader is handing over: it finishes what it has and claims nothing more."""

    code = "stepping-down"
    status = 409
    title = "Stepping down"


class NotEligible(ElectionError):
    """The runner cannot lead now; the detail says why."""

    code = "not-eligible"
    status = 409
    title = "Not eligible"


class OwnedByOther(ElectionError):
    """The taint of that key is held by another owner only."""

    code = "owned-by-other"
    status = 409
    title = "Owned by another"


class StaleClaim(ElectionError):
    """The claim is over: the job was requeued, finished or is held by another attempt."""

    code = "stale-claim"
    status = 409
    title = "Stale claim"


class CursorExpired(ElectionError):
    """The cursor points before what is kept. Start again without one."""

    code = "cursor-expired"
    status = 410
    title = "Cursor expired"


class PayloadTooLarge(ElectionError):
    """A body, payload or result is over its limit."""

    code = "payload-too-large"
    status = 413
    title = "Payload too large"


class Unavailable(ElectionError):
    """The store does not answer, or cannot write. Nothing of the call took effect."""

    code = "store-unavailable"
    status = 503
    title = "Store unavailable"


class OutcomeUnknown(Unavailable):
    """The answer of a commit was lost: it may have taken effect. The call may be repeated."""

    title = "Outcome unknown"


class Conflict(ElectionError):
    """Compare-and-set lost, or what a commit expected no longer holds: load and decide again.

    Raised by stores to the engine; it never reaches a caller of the engine.
    """

    code = "conflict"
    status = 409
    title = "Changed meanwhile"


class SchemaMismatch(ElectionError):
    """The store holds a schema this version cannot work with; the detail says what to do."""

    code = "store-unavailable"
    status = 503
    title = "Schema mismatch"


def _leaves(root: type[ElectionError]) -> list[type[ElectionError]]:
    return [cls for sub in root.__subclasses__() for cls in (sub, *_leaves(sub))]


CODES: Mapping[str, type[ElectionError]] = {
    "conflict": ConflictError,
    **{
        cls.code: cls
        for cls in reversed(_leaves(ElectionError))
        if cls not in (Conflict, OutcomeUnknown, SchemaMismatch)
    },
}
"""The error class of each code of the HTTP contract."""
