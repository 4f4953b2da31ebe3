"""What happened, for people and for the audit: an append-only history per group."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from attrs import field, frozen

__all__ = ["Event", "EventKind"]


class EventKind(StrEnum):
    """The kinds of events. Clients ignore those they do not know."""

    GROUP_CREATED = "group-created"
    GROUP_CONFIGURED = "group-configured"
    GROUP_DELETED = "group-deleted"
    RUNNER_REGISTERED = "runner-registered"
    RUNNER_UPDATED = "runner-updated"
    RUNNER_DELETED = "runner-deleted"
    SESSION_OPENED = "session-opened"
    SESSION_SUPERSEDED = "session-superseded"
    SESSION_LEFT = "session-left"
    TAINTED = "tainted"
    UNTAINTED = "untainted"
    TAINT_EXPIRED = "taint-expired"
    DRAINED = "drained"
    UNDRAINED = "undrained"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    PIN_EXPIRED = "pin-expired"
    RELEASED = "released"
    ELECTED = "elected"
    VACATED = "vacated"
    HANDOVER_STARTED = "handover-started"
    HANDOVER_CANCELLED = "handover-cancelled"
    STORE_RESTORED = "store-restored"


@frozen(kw_only=True)
class Event:
    """One thing that happened to a group. Ids rise across all groups of a store."""

    id: int = 0
    """Given by the store when it is written; 0 before."""
    group_id: str
    at: datetime
    kind: str
    """An `EventKind`, or one of a later version."""
    epoch: int
    """The group's epoch once it had happened."""
    runner_id: str | None = None
    reason: str = ""
    actor: str = ""
    """Who asked: a token's kind and id, or `elector`."""
    data: Mapping[str, object] = field(factory=dict)
    """More, as JSON values; for decisions the ballot."""
