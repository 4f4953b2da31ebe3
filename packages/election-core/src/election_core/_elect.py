"""The decision: who leads a group, and why.

`elect` is a pure function of a snapshot and a policy. Filters say who is eligible, preferences
order the eligible lexicographically, and the outcome follows from the best of them and from the
term that is current. The reason is the first preference in which the winner differs from the
runner-up: it falls out of the order and is not written twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from attrs import frozen

from election_core._policy import Policy, Rank, Reason
from election_core._state import Cause, Runner, Snapshot, grace_until, refresh_mark
from election_core._taints import Effect

__all__ = ["BASE_PREFERENCES", "Decision", "Outcome", "Verdict", "elect", "preferences", "refusals"]

BASE_PREFERENCES = ("pinned", "not-released")
"""What comes before any policy's own preferences; the id comes after them, as the last resort."""


class Outcome(StrEnum):
    """What a decision does."""

    KEEP = "keep"
    """The leader stays."""
    ELECT = "elect"
    """A runner is granted leadership under a new epoch."""
    HAND_OVER = "hand-over"
    """The live leader steps down for a successor."""
    VACATE = "vacate"
    """Nobody leads, or nobody will once the live leader has stepped down."""


@frozen(slots=False)
class Verdict:
    """One runner's line of the ballot."""

    runner_id: str
    eligible: bool
    reasons: tuple[Reason, ...] = ()
    """Why it is not eligible; at least one where it is not."""


_Entry = tuple[bool, Rank, Runner, tuple[Reason, ...]]


@frozen(slots=False)
class Decision:
    """What `elect` found: what to do, for whom, why, and until when it holds by itself."""

    outcome: Outcome
    leader_runner_id: str | None
    """Who leads under this decision; in a handover still the incumbent."""
    successor_runner_id: str | None
    """Who follows a leader that is stepping down, as things stand."""
    reason: str
    """The preference that decided, the cause of a handover, or what prevents a grant."""
    cause: Cause | None
    """Why a live leader must go."""
    deadline: datetime | None
    """Past it the stepping leader's term is not extended."""
    look_again_at: datetime | None
    """The earliest time at which it could come out differently by time alone. Leases aside: a store
    finds the groups whose leader's lease is over without it."""
    _entries: tuple[_Entry, ...]

    @property
    def ballot(self) -> tuple[Verdict, ...]:
        """Every runner in order of preference, the eligible first."""
        lines = [Verdict(runner.id, not refused, why) for refused, _, runner, why in self._entries]
        return tuple(lines)


def preferences(policy: Policy) -> tuple[str, ...]:
    """The names of all preferences in force under a policy, strongest first."""
    return (*BASE_PREFERENCES, *policy.preferences, "id")


def refusals(
    runner: Runner, snapshot: Snapshot, policy: Policy, *, staying: bool = False
) -> tuple[Reason, ...]:
    """Why a runner cannot be elected, or, with `staying`, cannot go on leading. Empty: it can."""
    session = runner.session
    if session is None:
        return _NO_SESSION if runner.opened else _PENDING
    if session.lease_expires_at <= snapshot.at:
        return (Reason("offline", f"its lease ended at {session.lease_expires_at.isoformat()}"),)
    found: tuple[Reason, ...] = ()
    if not session.ready:
        found += _NOT_READY
    if runner.drain is not None:
        found += (Reason("draining", runner.drain.reason),)
    if runner.taints:
        for taint in snapshot.untolerated(runner):
            if taint.effect is Effect.NO_LEAD or (taint.effect is Effect.NO_ELECT and not staying):
                owner = f" by {taint.owner}" if taint.owner else ""
                why = f": {taint.reason}" if taint.reason else ""
                found += (Reason("tainted", f"{taint.key} ({taint.effect}){owner}{why}"),)
    refused = policy.refusals(runner, snapshot)
    return found + refused if refused else found


_PENDING = (Reason("pending", "it never opened a session"),)
_NO_SESSION = (Reason("no-session", "its session has ended"),)
_NOT_READY = (Reason("not-ready", "it reported not ready"),)

_CAUSES = {
    "tainted": Cause.TAINTED,
    "draining": Cause.DRAINING,
    "not-ready": Cause.NOT_READY,
}


def elect(snapshot: Snapshot, policy: Policy) -> Decision:
    """Decide who leads the group.

    Depends on nothing but its arguments: no clock, no randomness, no order of the runners.
    """
    at = snapshot.at
    group = snapshot.group
    term = group.term
    holder: Runner | None = None  # of the current term
    live = False  # whether that term's lease is
    if term is not None:
        holder = snapshot.runner(term.runner_id)
        if holder is not None and (session := holder.session) is not None:
            live = session.term_expires_at is not None and session.term_expires_at > at

    # Filters.
    stayer = holder if live else None
    stays = () if stayer is None else refusals(stayer, snapshot, policy, staying=True)
    incumbent = None if stays else stayer
    pinned = None if group.pin is None else _pinned(snapshot, policy, incumbent)

    # Preferences.
    released = snapshot.released
    entries: list[_Entry] = []
    for runner in snapshot.runners:
        reasons = stays if runner is stayer else refusals(runner, snapshot, policy)
        rank = (
            runner is not pinned,
            runner.id == released,
            *policy.rank(runner, snapshot, incumbent),
            runner.id,
        )
        entries.append((bool(reasons), rank, runner, reasons))
    entries.sort()
    ballot = tuple(entries)
    best = ballot[0][2] if ballot and not ballot[0][0] else None

    outcome = Outcome.VACATE
    leader: str | None = None
    successor: Runner | None = None
    cause: Cause | None = None
    deadline: datetime | None = None
    spared: datetime | None = None
    if holder is not None and live:
        leader = holder.id
        if best is holder:
            outcome, reason = Outcome.KEEP, _reason(ballot, policy)
        else:
            successor = best
            cause = _cause(holder, incumbent, pinned, ballot)
            reason = cause.value
            deadline = _deadline(snapshot, holder, cause)
            if best is not None:
                outcome = Outcome.HAND_OVER
    elif holder is not None and (spared := _spared_until(snapshot, holder)) is not None:
        outcome, leader, reason = Outcome.KEEP, holder.id, "grace"
    elif best is None:
        reason = "no-eligible-runner"
    elif group.grant_not_before is not None and group.grant_not_before > at:
        reason = "barrier"
    else:
        outcome, leader, reason = Outcome.ELECT, best.id, _reason(ballot, policy)
    return Decision(
        outcome,
        leader,
        None if successor is None else successor.id,
        reason,
        cause,
        deadline,
        _look_again(snapshot, policy, deadline, spared, successor),
        ballot,
    )


def _pinned(snapshot: Snapshot, policy: Policy, incumbent: Runner | None) -> Runner | None:
    """The pinned runner, if it is eligible.

    One that lost eligibility under the pin first proves that it is steady again, for as long as
    there is another leader to take over from.
    """
    pin = snapshot.group.pin
    if pin is None or (pin.expires_at is not None and pin.expires_at <= snapshot.at):
        return None
    if pin.runner_id == snapshot.released:
        return None  # it gave leadership up itself, so it stands last
    runner = snapshot.runner(pin.runner_id)
    if runner is None or runner is incumbent:
        return runner
    if refusals(runner, snapshot, policy):
        return None
    waits = _pin_waits_until(snapshot, runner, policy.stable_for)
    return runner if incumbent is None or waits is None or waits <= snapshot.at else None


def _pin_waits_until(snapshot: Snapshot, runner: Runner, stable_for: timedelta) -> datetime | None:
    pin = snapshot.group.pin
    if pin is None or pin.eligible_at is None:
        return None
    since = runner.healthy_since(snapshot.at)
    return since + stable_for if since is not None and since > pin.eligible_at else None


def _reason(ballot: tuple[_Entry, ...], policy: Policy) -> str:
    """The first preference in which the winner differs from the runner-up."""
    if len(ballot) < 2 or ballot[1][0]:
        return "only-eligible"
    mine, theirs = ballot[0][1], ballot[1][1]
    place = 0
    while mine[place] == theirs[place]:
        place += 1
    return preferences(policy)[place]


def _cause(
    holder: Runner, incumbent: Runner | None, pinned: Runner | None, ballot: tuple[_Entry, ...]
) -> Cause:
    """Why the live leader must go."""
    if incumbent is not None:
        return Cause.PREEMPTED if pinned is None else Cause.PINNED
    reasons = next(reasons for _, _, runner, reasons in ballot if runner is holder)
    return _CAUSES.get(reasons[0].code, Cause.NOT_SELECTED)


def _deadline(snapshot: Snapshot, holder: Runner, cause: Cause) -> datetime:
    """When the stepping leader's term is no longer extended, from the facts as they stand."""
    group = snapshot.group
    running = group.handover
    timeout = group.settings.handover_timeout
    if holder.drain is not None and holder.drain.timeout is not None:
        timeout = holder.drain.timeout
    started = snapshot.at if running is None else running.started_at
    deadline = started + timeout
    pin = group.pin
    if cause is Cause.PINNED and pin is not None and pin.immediate:
        deadline = min(deadline, max(pin.created_at, started))
    return deadline


def _spared_until(snapshot: Snapshot, holder: Runner) -> datetime | None:
    """Until when the silent leader is not deposed, as nobody could renew; `None`: it is now."""
    at = snapshot.at
    mark = refresh_mark(snapshot.mark, at, snapshot.mark.tick)
    lease_ends = None if holder.session is None else holder.session.lease_expires_at
    until = grace_until(mark, snapshot.group.settings.lease, lease_ends=lease_ends)
    handover = snapshot.group.handover
    if until is not None and handover is not None:
        # Past the deadline it is not deposed for silence: renewals would not have helped.
        until = min(until, handover.deadline)
    return until if until is not None and until > at else None


def _look_again(
    snapshot: Snapshot,
    policy: Policy,
    deadline: datetime | None,
    spared: datetime | None,
    successor: Runner | None,
) -> datetime | None:
    """The earliest time after the snapshot's that matters."""
    group = snapshot.group
    times = [deadline, spared, group.grant_not_before]
    for runner in snapshot.runners:
        if runner.taints:
            times += [taint.expires_at for taint in runner.taints]
        if (settles := policy.settles_at(runner, snapshot)) is not None:
            times.append(settles)
    if (pin := group.pin) is not None:
        times.append(pin.expires_at)
        if (pinned := snapshot.runner(pin.runner_id)) is not None:
            times.append(_pin_waits_until(snapshot, pinned, policy.stable_for))
    if successor is not None and successor.session is not None:
        times.append(successor.session.lease_expires_at)
    soonest: datetime | None = None
    for when in times:
        if when is not None and when > snapshot.at and (soonest is None or when < soonest):
            soonest = when
    return soonest
