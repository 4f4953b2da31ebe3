"""The state of a runner group: what a store keeps and a decision is made from.

All times are aware UTC [`datetime`][datetime.datetime] of the store's clock; all durations are
[`timedelta`][datetime.timedelta]. Everything is frozen; a change is a new value.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from attrs import evolve, field, frozen

from election_core._taints import Taint, Toleration, excluding, exempt

__all__ = [
    "EPOCH_JUMP",
    "LONGEST_LEASE",
    "MAX_EPOCH",
    "Cause",
    "Drain",
    "Group",
    "Handover",
    "Kind",
    "Mark",
    "Outage",
    "Pin",
    "PolicySpec",
    "Runner",
    "Session",
    "Settings",
    "Snapshot",
    "Term",
    "grace_until",
    "refresh_mark",
]

EPOCH_JUMP = 2**20
"""How far every epoch moves ahead when the store may have lost commits."""

MAX_EPOCH = 2**53 - 1
"""Epochs stay exact in every JSON reader."""

LONGEST_LEASE = timedelta(hours=1)
"""The longest lease that settings allow."""

_MOST_OUTAGES = 64


class Kind(StrEnum):
    """How a term came to be: what ended the one before it."""

    FIRST = "first"
    """The group never had a leader, or had none for want of an eligible runner."""
    FAILOVER = "failover"
    """The leader fell silent and its lease ran out."""
    HANDOVER = "handover"
    """The leader stepped down and gave its epoch up, or its deadline passed."""
    RELEASE = "release"
    """The leader gave leadership up of its own will."""
    RESTART = "restart"
    """The leader's process was replaced by a new one of the same runner."""
    LEFT = "left"
    """The leader's session left."""
    DELETED = "deleted"
    """The leader's runner was deleted."""
    RESTORED = "restored"
    """The store may have lost commits, so all terms ended."""


class Cause(StrEnum):
    """Why a live leader must go."""

    TAINTED = "tainted"
    DRAINING = "draining"
    NOT_READY = "not-ready"
    NOT_SELECTED = "not-selected"
    """The policy's label selector no longer admits it."""
    PINNED = "pinned"
    """A person chose another."""
    PREEMPTED = "preempted"
    """The policy prefers another that has been healthy long enough."""


@frozen(kw_only=True)
class PolicySpec:
    """A policy by name with its options, as kept in the group's settings."""

    name: str = "oldest-active"
    options: Mapping[str, object] = field(factory=dict)


@frozen(kw_only=True)
class Settings:
    """What an operator may choose for a group."""

    lease: timedelta = timedelta(seconds=15)
    heartbeat: timedelta | None = None
    """How often a runner renews; a third of the lease unless chosen."""
    handover_timeout: timedelta = timedelta(seconds=60)
    policy: PolicySpec = PolicySpec()
    tolerations: tuple[Toleration, ...] = ()
    retry_backoff: timedelta = timedelta(seconds=1)
    """The wait before a failed job's second attempt; doubles with each, at most 300 s."""
    retention: timedelta = timedelta(days=7)
    """How long events and finished jobs are kept."""

    @property
    def heartbeat_interval(self) -> timedelta:
        """The chosen heartbeat, or a third of the lease."""
        return self.lease / 3 if self.heartbeat is None else self.heartbeat


@frozen(kw_only=True)
class Session:
    """One process lifetime of a runner.

    `lease_expires_at`, `term_expires_at`, `ready`, `seq` and `healthy_since` are written
    by renewals, outside compare-and-set; everything else by commits.
    """

    id: str
    key: str
    """The caller's key that opened it; the same key again is the same session."""
    opened_at: datetime
    lease_expires_at: datetime
    ready: bool = True
    seq: int = 0
    healthy_since: datetime
    """Since when it has been live and ready without a break."""
    held_epoch: int | None = None
    """The epoch it leads under; `None` for a standby."""
    term_expires_at: datetime | None = None
    """The end of the lease of the term it holds; not after `lease_expires_at`."""
    step_down_at: datetime | None = None
    """The handover deadline: a renewal at or after it no longer extends the term."""
    standing_version: int = 1
    """Rises with the session's role, own epoch, step-down or cancellations."""


@frozen(kw_only=True)
class Drain:
    """A person's wish that a runner takes no new work until it is undrained."""

    at: datetime
    reason: str = ""
    timeout: timedelta | None = None
    """Replaces the group's handover timeout for the handover this drain causes."""


@frozen(kw_only=True)
class Runner:
    """A registered identity in one group."""

    id: str
    group_id: str
    name: str
    created_at: datetime
    """Issued by the store at registration; a restart does not change it."""
    platform: str = ""
    labels: Mapping[str, str] = field(factory=dict)
    version: str = ""
    instance_key_hash: str | None = None
    taints: tuple[Taint, ...] = ()
    drain: Drain | None = None
    steady_since: datetime
    """Since when no taint, drain or release of its own has kept it from leading."""
    session: Session | None = None
    opened: int = 0
    """How many sessions it has had."""

    def healthy_since(self, at: datetime) -> datetime | None:
        """Since when it could have led without a break, at `at`; `None` without a session."""
        session = self.session
        if session is None:
            return None
        since = max(session.healthy_since, self.steady_since)
        for taint in self.taints:
            if taint.expires_at is not None and since < taint.expires_at <= at and excluding(taint):
                since = taint.expires_at
        return since


@frozen(kw_only=True)
class Pin:
    """A person's choice of leader."""

    runner_id: str
    owner: str = ""
    reason: str = ""
    created_at: datetime
    expires_at: datetime | None = None
    immediate: bool = False
    """The incumbent's handover deadline is the time of the pin."""
    eligible_at: datetime | None = None
    """When the pinned runner was first eligible under this pin. A runner that lost eligibility
    after it waits until it has been steady again before it is preferred."""


@frozen(kw_only=True)
class Term:
    """One grant of leadership."""

    epoch: int
    runner_id: str
    session_id: str
    elected_at: datetime
    kind: Kind
    reason: str
    """The preference by which its runner beat the runner-up."""


@frozen(kw_only=True)
class Handover:
    """The planned move of leadership away from a live leader."""

    cause: Cause
    started_at: datetime
    deadline: datetime
    """From then on the term is not extended any more."""
    successor_runner_id: str | None = None
    """Who would follow as things stand; chosen anew at the release. `None`: nobody could."""


@frozen(kw_only=True)
class Group:
    """The unit that has one leader."""

    id: str
    settings: Settings = Settings()
    created_at: datetime
    epoch: int = 0
    """The highest epoch ever granted; 0 before the first."""
    term: Term | None = None
    ended: Kind | None = None
    """How the last term ended, while there is none: it is the kind of the next."""
    ended_at: datetime | None = None
    """When the last term's leader stopped being believed, while there is none."""
    pin: Pin | None = None
    handover: Handover | None = None
    grant_not_before: datetime | None = None
    """The barrier: no grant is made before it."""
    decided_at: datetime | None = None
    look_again_at: datetime | None = None
    deleted_at: datetime | None = None
    """Set on the remains of a deleted group, which keep its epoch and barrier."""


@frozen
class Outage:
    """A time in which no replica could reach the store."""

    began: datetime
    ended: datetime


@frozen(kw_only=True)
class Mark:
    """The row that every elector refreshes at each tick."""

    at: datetime
    tick: timedelta = timedelta(seconds=1)
    outages: tuple[Outage, ...] = ()
    """Recent ones, oldest first; those whose grace is over for the longest lease are dropped."""

    def gap(self, at: datetime) -> bool:
        """Whether at `at` nobody has refreshed it for more than three ticks."""
        return at - self.at > 3 * self.tick


def refresh_mark(mark: Mark | None, at: datetime, tick: timedelta) -> Mark:
    """The mark as an elector leaves it at `at`; `None`: the first one of a new store.

    A gap since the last refresh is recorded as an outage. Outages are kept while any group could
    still be in the grace they started, which is at most the longest lease of running time.
    """
    if mark is None:
        return Mark(at=at, tick=tick)
    outages = mark.outages
    if mark.gap(at):
        outages = (*outages, Outage(mark.at, at))
        if len(outages) > _MOST_OUTAGES:
            # As one they leave as much of a grace as the two did with the time between them.
            first, second = outages[:2]
            between = second.began - first.ended
            outages = (Outage(first.began, second.ended - between), *outages[2:])
    longest = grace_until(evolve(mark, outages=outages), LONGEST_LEASE)
    if longest is not None and longest <= at:
        outages = ()
    return Mark(at=max(at, mark.at), tick=tick, outages=outages)


def grace_until(
    mark: Mark, lease: timedelta, *, lease_ends: datetime | None = None
) -> datetime | None:
    """When the grace of a group with this lease ends, or `None` if it has none.

    Each outage starts one lease of grace. One that cuts a grace short carries over what was left of
    it, so a store that is away again and again does not put a failover off for ever. That is for
    who stayed silent: for a leader whose lease ends at `lease_ends`, outages before the renewal
    that gave it this lease are over, and a later one starts a whole lease of grace.
    """
    until: datetime | None = None
    for outage in mark.outages:
        if lease_ends is not None and outage.ended + lease <= lease_ends:
            continue
        if until is None or until <= outage.began:
            until = outage.ended + lease
        else:
            until += outage.ended - outage.began
    return until


@frozen(kw_only=True)
class Snapshot:
    """Everything a decision about one group depends on."""

    at: datetime
    """The store's time at which it was read."""
    revision: int
    """The group's revision: what a commit compares and sets."""
    group: Group
    runners: tuple[Runner, ...] = ()
    mark: Mark
    released: str | None = None
    """The runner that gave leadership up in the very change being decided: it stands last."""

    def runner(self, runner_id: str) -> Runner | None:
        """The runner of that id, if it is in the group."""
        for runner in self.runners:
            if runner.id == runner_id:
                return runner
        return None

    @property
    def incumbent(self) -> Runner | None:
        """The runner that holds the current term, live or not."""
        term = self.group.term
        return None if term is None else self.runner(term.runner_id)

    def untolerated(self, runner: Runner) -> tuple[Taint, ...]:
        """The runner's taints that count now: not expired, not tolerated by the group."""
        return exempt(runner.taints, self.group.settings.tolerations, self.at)
