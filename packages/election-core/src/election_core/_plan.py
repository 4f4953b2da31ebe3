"""From a snapshot and a command to the changes that carry it out.

`plan` applies the command, decides in the same step, and says what a store has to write. It
reads nothing but its arguments, so what-if is the same function with the answer thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import assert_never

from attrs import evolve, frozen

from election_core._apply import apply
from election_core._changes import Changes
from election_core._commands import Command, Reincarnate
from election_core._draft import Draft
from election_core._elect import Decision, Outcome, elect
from election_core._events import EventKind
from election_core._policy import OldestActive, Policy
from election_core._state import Group, Handover, Kind, Mark, Settings, Snapshot
from election_core._states import LEADERSHIP, Leadership, leadership
from election_core._taints import excluding

__all__ = ["Plan", "create_group", "plan", "reincarnate", "what_if"]


@frozen(kw_only=True)
class Plan:
    """What a command does to a group."""

    before: Snapshot
    after: Snapshot
    """The group once the changes are committed."""
    changes: Changes
    decision: Decision
    """The decision that was made along with the command."""

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit beyond the time of the decision itself."""
        before, after = self.before.group, self.after.group
        return (
            evolve(before, decided_at=None, look_again_at=None)
            != evolve(after, decided_at=None, look_again_at=None)
            or bool(self.changes.runners)
            or bool(self.changes.deleted)
            or bool(self.changes.events)
        )


def plan(snapshot: Snapshot, command: Command, policy: Policy, *, actor: str = "") -> Plan:
    """Apply a command and decide.

    Args:
        snapshot: The group, not deleted.
        command: What is asked.
        policy: The policy in force once the command is applied.
        actor: Who asks, for the history.

    Raises:
        ElectionError: The command is refused; each command says with what.
    """
    draft = Draft(snapshot, actor)
    apply(draft, command, policy)
    _expire(draft)
    decision = decide(draft, policy)
    return Plan(before=snapshot, after=draft.snapshot(), changes=draft.changes(), decision=decision)


def what_if(snapshot: Snapshot, commands: Iterable[Command], policy: Policy) -> Decision:
    """The decision that would come out at once if all the commands were carried out together."""
    draft = Draft(snapshot, "")
    for command in commands:
        apply(draft, command, policy)
    _expire(draft)
    return elect(draft.snapshot(), policy)


def create_group(
    group_id: str,
    settings: Settings,
    *,
    at: datetime,
    remains: Group | None = None,
    actor: str = "",
) -> Changes:
    """The changes that create a group.

    Args:
        group_id: Its id.
        settings: Its settings.
        at: The store's time.
        remains: What is left of a deleted group of that id: the epoch and barrier go on from there.
        actor: Who asks.
    """
    group = Group(id=group_id, settings=settings, created_at=at, decided_at=at)
    if remains is not None:
        group = evolve(group, epoch=remains.epoch, grant_not_before=remains.grant_not_before)
        group = evolve(group, look_again_at=remains.grant_not_before)
    draft = Draft(Snapshot(at=at, revision=0, group=group, mark=Mark(at=at)), actor)
    draft.note(EventKind.GROUP_CREATED)
    return draft.changes()


def _expire(draft: Draft) -> None:
    """Take away the taints and the pin whose time is over."""
    for runner in list(draft.runners.values()):
        gone = [taint for taint in runner.taints if not taint.current(draft.at)]
        if not gone:
            continue
        steady = max(
            [runner.steady_since, *(t.expires_at for t in gone if t.expires_at and excluding(t))]
        )
        left = tuple(taint for taint in runner.taints if taint.current(draft.at))
        draft.put(evolve(runner, taints=left, steady_since=steady))
        for taint in gone:
            draft.note(
                EventKind.TAINT_EXPIRED,
                runner_id=runner.id,
                reason=taint.reason,
                data={"key": taint.key, "owner": taint.owner},
            )
    pin = draft.group.pin
    if pin is not None and pin.expires_at is not None and pin.expires_at <= draft.at:
        draft.group = evolve(draft.group, pin=None)
        draft.note(EventKind.PIN_EXPIRED, runner_id=pin.runner_id, reason=pin.reason)


def decide(draft: Draft, policy: Policy) -> Decision:
    """Decide about the draft, and carry the decision out in it."""
    snapshot = draft.snapshot()
    group = snapshot.group
    decision = elect(snapshot, policy)
    if group.deleted_at is not None:
        return decision
    state = leadership(snapshot)
    after, event = LEADERSHIP[state, decision.outcome]
    pin = group.pin
    if pin is not None and pin.eligible_at is None and _eligible(decision, pin.runner_id):
        draft.group = evolve(draft.group, pin=evolve(pin, eligible_at=draft.at))
    holder = snapshot.incumbent
    match after:
        case Leadership.LED if decision.outcome is Outcome.ELECT:
            leaderless_since = group.ended_at
            if state is Leadership.SUSPENDED:
                draft.end_term(_how_it_lapsed(snapshot))
                leaderless_since = draft.group.ended_at
            winner = draft.runner(decision.leader_runner_id or "")
            previous = draft.before.group.term
            kind = draft.grant(winner, reason=decision.reason)
            draft.note(
                event or "",
                runner_id=winner.id,
                reason=decision.reason,
                data={
                    "kind": kind.value,
                    "previous_runner_id": None if previous is None else previous.runner_id,
                    "leaderless_seconds": None
                    if leaderless_since is None
                    else (draft.at - leaderless_since).total_seconds(),
                    **_ballot(decision),
                },
            )
        case Leadership.LED:
            assert holder is not None  # noqa: S101 - it keeps leading
            draft.step_down(holder, None)
            if event is not None:
                draft.group = evolve(draft.group, handover=None)
                draft.note(
                    event,
                    runner_id=decision.leader_runner_id,
                    reason=decision.reason,
                    data=_ballot(decision),
                )
        case Leadership.STEPPING_DOWN:
            assert holder is not None  # noqa: S101 - it still leads
            assert decision.cause is not None  # noqa: S101 - it has to go
            assert decision.deadline is not None  # noqa: S101 - and has until then
            started = group.handover.started_at if group.handover is not None else draft.at
            draft.group = evolve(
                draft.group,
                handover=Handover(
                    cause=decision.cause,
                    started_at=started,
                    deadline=decision.deadline,
                    successor_runner_id=decision.successor_runner_id,
                ),
            )
            draft.step_down(holder, decision.deadline)
            if event is not None:
                draft.note(
                    event,
                    runner_id=decision.leader_runner_id,
                    reason=decision.reason,
                    data={
                        "successor_runner_id": decision.successor_runner_id,
                        **_ballot(decision),
                    },
                )
        case Leadership.VACANT:
            if state is Leadership.SUSPENDED:
                draft.end_term(_how_it_lapsed(snapshot))
                draft.note(
                    event or "",
                    runner_id=None if holder is None else holder.id,
                    reason=decision.reason,
                    data=_ballot(decision),
                )
        case Leadership.SUSPENDED:
            pass
        case _:
            assert_never(after)
    draft.group = evolve(draft.group, decided_at=draft.at, look_again_at=decision.look_again_at)
    return decision


def _how_it_lapsed(snapshot: Snapshot) -> Kind:
    """A leader past its handover deadline was handed over; any other fell silent."""
    handover = snapshot.group.handover
    if handover is not None and handover.deadline <= snapshot.at:
        return Kind.HANDOVER
    return Kind.FAILOVER


def _eligible(decision: Decision, runner_id: str) -> bool:
    return any(verdict.eligible and verdict.runner_id == runner_id for verdict in decision.ballot)


def _ballot(decision: Decision) -> dict[str, object]:
    """The ballot as JSON values, for the history."""
    return {
        "ballot": [
            {
                "runner_id": verdict.runner_id,
                "eligible": verdict.eligible,
                "reasons": [
                    {"code": reason.code, "detail": reason.detail} for reason in verdict.reasons
                ],
            }
            for verdict in decision.ballot
        ]
    }


def reincarnate(snapshot: Snapshot, not_before: datetime) -> Changes:
    """What a store that may have lost commits does to each group, before anything else.

    The term and its claims end, the epoch jumps by 2^20, and no grant is made before `not_before`.
    Deciding comes later: the group is due at once.
    """
    draft = Draft(snapshot, "store")
    apply(draft, Reincarnate(not_before=not_before), OldestActive())
    if draft.group.deleted_at is None:
        draft.group = evolve(draft.group, look_again_at=draft.at)
    return draft.changes()
