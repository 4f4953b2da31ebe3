"""Everything that may be asked of a group, as data.

A command names ids and secrets that its caller generated, so that [`plan`][election_core.plan]
stays pure. Times are not in commands: the snapshot's `at` is the time of the command.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from attrs import field, frozen

from election_core._state import Settings
from election_core._taints import Effect

__all__ = [
    "Command",
    "Configure",
    "Decide",
    "DeleteGroup",
    "DeleteRunner",
    "DrainRunner",
    "Leave",
    "LoseRunner",
    "NewTaint",
    "OpenSession",
    "PinLeader",
    "RegisterRunner",
    "Reincarnate",
    "Release",
    "TaintRunner",
    "Undrain",
    "Unpin",
    "Untaint",
]


@frozen(kw_only=True)
class Decide:
    """Decide again, nothing else."""


@frozen(kw_only=True)
class Configure:
    """Replace the settings."""

    settings: Settings


@frozen(kw_only=True)
class DeleteGroup:
    """Delete the group; its epoch and barrier remain.

    Raises `ConflictError` while sessions are live, unless forced.
    """

    force: bool = False


@frozen(kw_only=True)
class NewTaint:
    """A taint as it is asked for."""

    key: str = "manual"
    value: str = ""
    effect: Effect = Effect.NO_LEAD
    owner: str = ""
    reason: str = ""
    ttl: timedelta | None = None


@frozen(kw_only=True)
class RegisterRunner:
    """Register a runner, or update the one of that name.

    What is `None` is left as it is on a runner that exists; its taints are never touched.
    """

    runner_id: str
    """The id of the runner if it is new."""
    name: str
    platform: str | None = None
    labels: Mapping[str, str] | None = None
    version: str | None = None
    taints: tuple[NewTaint, ...] = ()
    instance_key_hash: str | None = None
    joining: bool = False
    """Whether an existing runner is only given to who brings its instance key."""


@frozen(kw_only=True)
class DeleteRunner:
    """Delete a runner; a term of its own ends behind the barrier."""

    runner_id: str


@frozen(kw_only=True)
class TaintRunner:
    """Taint a runner; a taint of the same key and owner is replaced."""

    runner_id: str
    taint: NewTaint = field(factory=NewTaint)


@frozen(kw_only=True)
class Untaint:
    """Remove taints of a runner.

    Those of the owner and those that have none, of one key or of all; with `force` whoever owns
    them. Raises `OwnedByOther` for a key that others hold alone.
    """

    runner_id: str
    key: str | None = None
    owner: str = ""
    force: bool = False


@frozen(kw_only=True)
class DrainRunner:
    """Drain a runner until it is undrained."""

    runner_id: str
    reason: str = ""
    timeout: timedelta | None = None


@frozen(kw_only=True)
class Undrain:
    """End a drain."""

    runner_id: str


@frozen(kw_only=True)
class PinLeader:
    """Choose the leader.

    Raises `NotFound` for a runner of another group, and `NotEligible` for one that cannot lead now,
    unless `when_eligible`.
    """

    runner_id: str
    owner: str = ""
    reason: str = ""
    ttl: timedelta | None = None
    immediate: bool = False
    when_eligible: bool = False


@frozen(kw_only=True)
class Unpin:
    """Leave the choice to the policy again."""


@frozen(kw_only=True)
class OpenSession:
    """Open a session; it supersedes the runner's current one unless the key is the same."""

    runner_id: str
    session_id: str
    """The id of the session if it is new."""
    session_key: str
    previous_session_id: str | None = None
    """Asserts that everything that acted under that session is gone, if it is the current one."""
    version: str | None = None
    ready: bool = True


@frozen(kw_only=True)
class Release:
    """Give an epoch up. Without effect for an epoch that the session does not hold."""

    runner_id: str
    session_id: str
    epoch: int
    reason: str = ""


@frozen(kw_only=True)
class Leave:
    """End a session from its own side, giving leadership up first."""

    runner_id: str
    session_id: str


@frozen(kw_only=True)
class LoseRunner:
    """The runner's lease is over; no grace spares it. For what-if only: no caller may say so."""

    runner_id: str


@frozen(kw_only=True)
class Reincarnate:
    """The store may have lost its newest commits: the term ends and the epoch jumps far ahead."""

    not_before: datetime
    """No grant before it."""


Command = (
    Decide
    | Configure
    | DeleteGroup
    | RegisterRunner
    | DeleteRunner
    | TaintRunner
    | Untaint
    | DrainRunner
    | Undrain
    | PinLeader
    | Unpin
    | OpenSession
    | Release
    | Leave
    | LoseRunner
    | Reincarnate
)
