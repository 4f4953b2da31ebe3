"""Decisions in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from election_cli._output import when
from election_core import Cause, DecisionInfo, GroupInfo, Kind, Leader, Outcome

__all__ = ["BALLOT", "ballot_rows", "explanation", "named", "supposition", "verdict"]

BALLOT: Final = ("PLACE", "RUNNER", "ELIGIBLE", "WHY NOT", "ID")

_PREFERENCES: Final = {
    "only-eligible": "no other runner is eligible",
    "not-released": "the other one has just given leadership up",
    "pinned": "it is pinned",
    "incumbent": "it leads already, and a healthy leader stays",
    "steady": "it leads already, and no older runner has been healthy for long enough",
    "fewest-prefer-no-elect-taints": "it has the fewest prefer-no-elect taints",
    "preferred-labels": "it has more of the labels that the policy prefers",
    "oldest": "it is the oldest",
    "id": "its id comes first, all else being equal",
    "grace": "the store was away, so for one lease nobody is deposed for silence",
    "no-eligible-runner": "no runner is eligible",
    "barrier": "the last leader may still trust its lease",
}

_CAUSES: Final[Mapping[str, str]] = {
    Cause.TAINTED: "it is tainted",
    Cause.DRAINING: "it is draining",
    Cause.NOT_READY: "it reported not ready",
    Cause.NOT_SELECTED: "the policy no longer selects it",
    Cause.PINNED: "the other one is pinned",
    Cause.PREEMPTED: "the policy prefers the other one, which has been healthy long enough",
}

_KINDS: Final[Mapping[str, str]] = {
    Kind.FIRST: "the group had no leader",
    Kind.FAILOVER: "the leader before it fell silent",
    Kind.HANDOVER: "the leader before it handed over",
    Kind.RELEASE: "the leader before it gave leadership up",
    Kind.RESTART: "the leader's process was started anew",
    Kind.LEFT: "the leader before it left",
    Kind.DELETED: "the leader before it was deleted",
    Kind.RESTORED: "the store was restored, which ended all terms",
}


def named(runner_id: str | None, names: Mapping[str, str]) -> str:
    """A runner's name where it is known, else its id."""
    return "nobody" if runner_id is None else names.get(runner_id, runner_id)


def _why(reason: str) -> str:
    return _PREFERENCES.get(reason) or _CAUSES.get(reason) or reason


def verdict(decision: DecisionInfo, names: Mapping[str, str]) -> str:
    """What a decision does, and why, in one sentence."""
    leader = named(decision.leader_runner_id, names)
    why = _why(decision.reason)
    match decision.outcome:
        case Outcome.KEEP:
            return f"{leader} goes on leading, because {why}."
        case Outcome.ELECT:
            return f"{leader} is elected, because {why}."
        case Outcome.HAND_OVER:
            successor = named(decision.successor_runner_id, names)
            return (
                f"{leader} hands over to {successor}, because {_CAUSES.get(decision.reason, why)}."
            )
        case Outcome.VACATE if decision.leader_runner_id is not None:
            cause = _CAUSES.get(decision.reason, why)
            return f"{leader} steps down, because {cause}, and nobody can follow."
        case Outcome.VACATE:
            return f"Nobody leads, because {why}."
        case _:
            return f"{decision.outcome}: {leader}, because {why}."


def explanation(
    group: GroupInfo, leader: Leader | None, decision: DecisionInfo, names: Mapping[str, str]
) -> list[str]:
    """Who leads a group, why, and when it will be looked at again, as sentences."""
    said = []
    if leader is None:
        last = f"; its last epoch is {group.epoch}" if group.epoch else ""
        said.append(f"Nobody leads {group.id} now{last}.")
    else:
        said.append(
            f"{leader.runner.name} leads {group.id} under epoch {leader.epoch} "
            f"since {when(leader.elected_at)}; its lease ends at {when(leader.lease_expires_at)}."
        )
        before = _KINDS.get(leader.kind)
        said.append(
            f"It was elected because {_why(leader.reason)}" + (f"; {before}." if before else ".")
        )
    said.append(f"As things stand: {verdict(decision, names)}")
    if group.handover is not None:
        said.append(f"The handover has to be done by {when(group.handover.deadline)}.")
    if group.pin is not None:
        said.append(_pinned(group, names))
    if group.grant_not_before is not None:
        said.append(f"Nobody is elected before {when(group.grant_not_before)}.")
    said.append(_looked_at(decision))
    return said


def _pinned(group: GroupInfo, names: Mapping[str, str]) -> str:
    pin = group.pin
    assert pin is not None  # noqa: S101 - the caller looked
    owner = f" by {pin.owner}" if pin.owner else ""
    until = " until it is unpinned" if pin.expires_at is None else f" until {when(pin.expires_at)}"
    reason = f" ({pin.reason})" if pin.reason else ""
    return f"{named(pin.runner_id, names)} is pinned{owner}{until}{reason}."


def _looked_at(decision: DecisionInfo) -> str:
    if decision.look_again_at is None:
        return "It is looked at again when something changes or a lease runs out."
    return (
        "It is looked at again when something changes or a lease runs out, "
        f"and at {when(decision.look_again_at)} because of the time."
    )


def supposition(decision: DecisionInfo, names: Mapping[str, str]) -> list[str]:
    """What would come out, as sentences."""
    return [f"Then: {verdict(decision, names)}", "Nothing was changed."]


def ballot_rows(decision: DecisionInfo, names: Mapping[str, str]) -> list[tuple[str | int, ...]]:
    """The ballot in order of preference, as rows below :data:`BALLOT`."""
    return [
        (
            place,
            named(line.runner_id, names),
            "yes" if line.eligible else "no",
            "; ".join(
                f"{reason.code}: {reason.detail}" if reason.detail else reason.code
                for reason in line.reasons
            ),
            line.runner_id,
        )
        for place, line in enumerate(decision.ballot, 1)
    ]
