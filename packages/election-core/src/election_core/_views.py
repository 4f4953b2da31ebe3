"""What is told to callers: the types that the control API answers and the SDK hands out.

Durations end in `_seconds` on the wire and are [`timedelta`][datetime.timedelta] here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from attrs import evolve, field, frozen

from election_core._elect import Verdict
from election_core._state import Drain, Group, Handover, Pin, Runner, Session, Settings
from election_core._states import SessionState, session_state
from election_core._taints import Taint

__all__ = [
    "DecisionInfo",
    "GroupInfo",
    "Leader",
    "Page",
    "Pulse",
    "Registration",
    "Role",
    "RunnerInfo",
    "RunnerStatus",
    "Standing",
    "Token",
    "TokenKind",
    "group_info",
    "pulse_of",
    "runner_info",
    "standing_of",
]

T = TypeVar("T")


class Role(StrEnum):
    """What a runner is in its group."""

    LEADER = "leader"
    STEPPING_DOWN = "stepping-down"
    """It still holds the epoch, finishes what it has, and claims nothing more."""
    STANDBY = "standby"


class RunnerStatus(StrEnum):
    """How a runner is."""

    PENDING = "pending"
    """It never opened a session."""
    ACTIVE = "active"
    UNREADY = "unready"
    DRAINING = "draining"
    OFFLINE = "offline"
    """Its lease ran out, or its session ended."""


@frozen(kw_only=True)
class Page(Generic[T]):
    """A part of a list ordered by an immutable key."""

    items: tuple[T, ...]
    next_cursor: str | None = None
    """Where the next part begins; `None` at the end."""


@frozen(kw_only=True)
class Pulse:
    """A session as its renewal left it, with what of its group its standing is made of."""

    runner_id: str
    session_id: str
    group_id: str
    at: datetime
    """The store's time when it was written or read."""
    lease_expires_at: datetime
    held_epoch: int | None
    """Read from the row that the renewal wrote, never from a joined one."""
    term_expires_at: datetime | None
    step_down_at: datetime | None
    standing_version: int
    cancel: tuple[str, ...] = ()
    """The running jobs it holds whose cancellation was asked for."""
    group_epoch: int
    leader_runner_id: str | None
    heartbeat: timedelta
    margin: timedelta | None = None
    """What was left of the lease when the renewal came, negative for a lapsed one; of a renewal."""
    due: bool = False
    """Whether this renewal marked its group due: it revived the session or changed readiness."""


@frozen(kw_only=True)
class Standing:
    """What a runner is told of itself."""

    runner_id: str
    session_id: str
    role: Role
    epoch: int
    """The group's current epoch; it fences only for the leader."""
    leader_runner_id: str | None
    lease_remaining: timedelta
    """Of the term for who leads or steps down, of the session otherwise, when the write took
    effect. Trust counts from the start of the call."""
    heartbeat: timedelta
    step_down_in: timedelta | None
    """Until the handover deadline, for who is stepping down."""
    cancel: tuple[str, ...] = ()
    standing_version: int
    store_time: datetime


def standing_of(pulse: Pulse, *, written: Pulse | None = None) -> Standing:
    """The standing that a pulse amounts to.

    Args:
        pulse: The session as it is now.
        written: The pulse of the caller's own renewal, if the answer was held since: what is left
            of the lease is told as of then.
    """
    as_of = pulse if written is None else written
    ends = pulse.lease_expires_at
    role = Role.STANDBY
    epoch = pulse.group_epoch
    leader = pulse.leader_runner_id
    step_down_in: timedelta | None = None
    if pulse.held_epoch is not None and pulse.term_expires_at is not None:
        role = Role.LEADER if pulse.step_down_at is None else Role.STEPPING_DOWN
        epoch = pulse.held_epoch
        ends = pulse.term_expires_at
        leader = pulse.runner_id if ends > pulse.at else None
        if pulse.step_down_at is not None:
            step_down_in = max(timedelta(), pulse.step_down_at - as_of.at)
    elif leader == pulse.runner_id:
        leader = None
    ends = min(ends, as_of.lease_expires_at)
    return Standing(
        runner_id=pulse.runner_id,
        session_id=pulse.session_id,
        role=role,
        epoch=epoch,
        leader_runner_id=leader,
        lease_remaining=max(timedelta(), ends - as_of.at),
        heartbeat=pulse.heartbeat,
        step_down_in=step_down_in,
        cancel=pulse.cancel,
        standing_version=pulse.standing_version,
        store_time=as_of.at,
    )


@frozen(kw_only=True)
class RunnerInfo:
    """A runner as everybody sees it."""

    id: str
    group_id: str
    name: str
    created_at: datetime
    platform: str = ""
    labels: Mapping[str, str] = field(factory=dict)
    version: str = ""
    status: RunnerStatus
    role: Role
    taints: tuple[Taint, ...] = ()
    drain: Drain | None = None
    session_id: str | None = None
    ready: bool = False
    lease_expires_at: datetime | None = None


@frozen(kw_only=True)
class Registration:
    """The answer to a registration."""

    runner: RunnerInfo
    token: str | None = field(default=None, repr=False)
    """A fresh secret, shown once; `None` where no tokens are in use."""
    created: bool = False


@frozen(kw_only=True)
class GroupInfo:
    """A group as everybody sees it."""

    id: str
    created_at: datetime
    epoch: int
    leader_runner_id: str | None
    """`None` from the end of the leader's lease until another is elected."""
    pin: Pin | None = None
    handover: Handover | None = None
    grant_not_before: datetime | None = None
    look_again_at: datetime | None = None
    settings: Settings


@frozen(kw_only=True)
class Leader:
    """Who leads a group, and why."""

    runner: RunnerInfo
    epoch: int
    session_id: str
    elected_at: datetime
    lease_expires_at: datetime
    reason: str
    kind: str = ""


@frozen(kw_only=True)
class DecisionInfo:
    """A decision as it is told."""

    outcome: str
    leader_runner_id: str | None
    successor_runner_id: str | None
    reason: str
    look_again_at: datetime | None
    ballot: tuple[Verdict, ...] = ()


class TokenKind(StrEnum):
    """What a token allows."""

    OPERATOR = "operator"
    """Everything."""
    VIEWER = "viewer"
    """Reads."""
    JOIN = "join"
    """To register runners in one group."""
    RUNNER = "runner"
    """One runner's sessions, heartbeats, claims and settlements, and reads of its own group."""


@frozen(kw_only=True)
class Token:
    """A bearer token without its secret."""

    id: str
    kind: TokenKind
    group_id: str | None = None
    runner_id: str | None = None
    created_at: datetime
    expires_at: datetime | None = None


def pulse_of(
    runner: Runner,
    session: Session,
    group: Group,
    term_expires_at: datetime | None,
    at: datetime,
    *,
    cancel: Iterable[str] = (),
    margin: timedelta | None = None,
    due: bool = False,
) -> Pulse:
    """The pulse of a runner's session at `at`.

    Args:
        runner: The runner.
        session: Its session, as the row of the runner has it.
        group: The runner's group.
        term_expires_at: The end of the current term's lease, if there is a term.
        at: The store's time.
        cancel: The running jobs that the session holds whose cancellation was asked for, in order
            of enqueueing.
        margin: What was left of the lease when the renewal came; of a renewal.
        due: Whether the renewal made the group due.
    """
    live = term_expires_at is not None and term_expires_at > at
    return Pulse(
        runner_id=runner.id,
        session_id=session.id,
        group_id=group.id,
        at=at,
        lease_expires_at=session.lease_expires_at,
        held_epoch=session.held_epoch,
        term_expires_at=session.term_expires_at,
        step_down_at=session.step_down_at,
        standing_version=session.standing_version,
        cancel=tuple(cancel),
        group_epoch=group.epoch,
        leader_runner_id=group.term.runner_id if live and group.term is not None else None,
        heartbeat=group.settings.heartbeat_interval,
        margin=margin,
        due=due,
    )


def runner_info(runner: Runner, at: datetime) -> RunnerInfo:
    """A runner as it is to be told at `at`."""
    session = runner.session
    role = Role.STANDBY
    if session is None:
        status = RunnerStatus.OFFLINE if runner.opened else RunnerStatus.PENDING
    else:
        if session_state(session, at) is not SessionState.LIVE:
            status = RunnerStatus.OFFLINE
        elif runner.drain is not None:
            status = RunnerStatus.DRAINING
        else:
            status = RunnerStatus.ACTIVE if session.ready else RunnerStatus.UNREADY
        ends = session.term_expires_at
        if session.held_epoch is not None and ends is not None and ends > at:
            role = Role.LEADER if session.step_down_at is None else Role.STEPPING_DOWN
    return RunnerInfo(
        id=runner.id,
        group_id=runner.group_id,
        name=runner.name,
        created_at=runner.created_at,
        platform=runner.platform,
        labels=runner.labels,
        version=runner.version,
        status=status,
        role=role,
        taints=tuple(taint for taint in runner.taints if taint.current(at)),
        drain=runner.drain,
        session_id=None if session is None else session.id,
        ready=session is not None and session.ready,
        lease_expires_at=None if session is None else session.lease_expires_at,
    )


def group_info(group: Group, term_expires_at: datetime | None, at: datetime) -> GroupInfo:
    """A group as it is to be told at `at`.

    Args:
        group: The group.
        term_expires_at: The end of the current term's lease, if there is a term.
        at: The store's time.
    """
    pin = group.pin
    if pin is not None and pin.expires_at is not None and pin.expires_at <= at:
        pin = None
    barrier = group.grant_not_before
    live = term_expires_at is not None and term_expires_at > at
    return GroupInfo(
        id=group.id,
        created_at=group.created_at,
        epoch=group.epoch,
        leader_runner_id=group.term.runner_id if live and group.term is not None else None,
        pin=pin,
        handover=group.handover,
        grant_not_before=barrier if barrier is not None and barrier > at else None,
        look_again_at=group.look_again_at,
        settings=evolve(group.settings, heartbeat=group.settings.heartbeat_interval),
    )
