"""What the strategies draw is what a store may hold, and comes to every state that matters."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeVar, get_args

from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from election_core import (
    Command,
    Effect,
    ElectionError,
    Mark,
    NewTaint,
    OldestActive,
    Outage,
    Outcome,
    Pin,
    Plan,
    Runner,
    Session,
    Snapshot,
    elect,
    grace_until,
    plan,
)
from election_testkit import START
from election_testkit.strategies import (
    commands,
    marks,
    new_taints,
    outages,
    pins,
    policies,
    runners,
    sessions,
    snapshots,
    spans,
    times,
)

T = TypeVar("T")
_NOT_DRAWN = {"DeleteGroup", "Reincarnate"}
"""What is asked of a group whatever its state."""
_SEARCH = settings(
    max_examples=10_000,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def leader(snapshot: Snapshot) -> Runner | None:
    """The runner that holds the term, live or not."""
    term = snapshot.group.term
    return None if term is None else snapshot.runner(term.runner_id)


def check(snapshot: Snapshot) -> None:
    """A store may hold this: what the core's rules rest on is so."""
    group = snapshot.group
    ids = [runner.id for runner in snapshot.runners]
    assert len(ids) == len(set(ids))
    assert {runner.group_id for runner in snapshot.runners} <= {group.id}
    held = {
        runner.id: runner.session.held_epoch
        for runner in snapshot.runners
        if runner.session is not None and runner.session.held_epoch is not None
    }
    if group.term is None:
        assert held == {}
        assert group.handover is None
    else:
        assert held == {group.term.runner_id: group.term.epoch}
        assert group.term.epoch == group.epoch
        assert group.grant_not_before is None
    for runner in snapshot.runners:
        marked = [(taint.key, taint.owner) for taint in runner.taints]
        assert len(marked) == len(set(marked))
        session = runner.session
        if session is None:
            continue
        leads = group.term is not None and group.term.runner_id == runner.id
        deadline = group.handover.deadline if leads and group.handover is not None else None
        assert session.step_down_at == deadline
        assert (session.term_expires_at is not None) == leads
        if session.term_expires_at is not None:
            assert session.term_expires_at <= session.lease_expires_at


@given(snapshot=snapshots())
def test_snapshots_are_consistent(snapshot: Snapshot) -> None:
    """Who holds which epoch, until when and on what terms, is said alike wherever it is said."""
    check(snapshot)


@given(
    snapshot=snapshots(least=2, most=3, led=True, pinned=True, well=True),
    vacant=snapshots(led=False, pinned=False),
)
def test_snapshots_are_what_was_asked_for(snapshot: Snapshot, vacant: Snapshot) -> None:
    """As many runners as were asked for, led and pinned or not, and all of them well."""
    assert 2 <= len(snapshot.runners) <= 3
    assert snapshot.group.term is not None
    assert snapshot.group.pin is not None
    for runner in snapshot.runners:
        assert runner.session is not None
        assert runner.session.ready
        assert runner.session.lease_expires_at > snapshot.at
        assert runner.drain is None
        assert {taint.effect for taint in runner.taints} <= {Effect.PREFER_NO_ELECT}
    assert (vacant.group.term, vacant.group.pin) == (None, None)


def planned(snapshot: Snapshot, command: Command, policy: OldestActive) -> Plan | None:
    """What the core makes of a command; nothing, if it refuses it."""
    try:
        return plan(snapshot, command, policy, actor="test")
    except ElectionError:
        return None


@given(data=st.data(), snapshot=snapshots(), policy=policies())
def test_commands_can_be_planned(
    data: st.DataObject, snapshot: Snapshot, policy: OldestActive
) -> None:
    """Each command is carried out or refused, and what is carried out keeps the group in order."""
    made = planned(snapshot, data.draw(commands(snapshot)), policy)
    if made is not None:
        assert made.before == snapshot
        assert made.after.group.epoch >= snapshot.group.epoch
        check(made.after)


@given(drawn=outages())
def test_outages_are_apart(drawn: tuple[Outage, ...]) -> None:
    """Outages come the oldest first, end before the next begins, and outlast three ticks."""
    for outage in drawn:
        assert outage.ended - outage.began > timedelta(seconds=3)
    for earlier, later in pairwise(drawn):
        assert earlier.ended <= later.began


@given(mark=marks())
def test_marks_are_of_the_past(mark: Mark) -> None:
    """A mark was refreshed when its last outage ended or later, and not after now."""
    assert all(outage.ended <= mark.at for outage in mark.outages)
    assert mark.at <= START


@given(taint=new_taints(), pin=pins(("r0", "r1")), runner=runners("r0"), session=sessions("r0"))
def test_parts_are_drawn_by_themselves(
    taint: NewTaint, pin: Pin, runner: Runner, session: Session
) -> None:
    """What snapshots are made of can be drawn without one."""
    assert taint.ttl is None or taint.ttl > timedelta()
    assert pin.runner_id in {"r0", "r1"}
    assert runner.id == "r0"
    assert (session.held_epoch, session.term_expires_at, session.step_down_at) == (None, None, None)


@given(time=times(-1, 2), span=spans(1, 2), policy=policies(preempt=True, selective=False))
def test_bounds_and_options_are_kept(time: datetime, span: timedelta, policy: OldestActive) -> None:
    """Times and spans are within what was asked for, policies as they were asked for."""
    assert START - timedelta(seconds=1) <= time <= START + timedelta(seconds=2)
    assert timedelta(seconds=1) <= span <= timedelta(seconds=2)
    assert policy.preempt
    assert policy.require_labels == {}


# What is reached.


def is_over(snapshot: Snapshot) -> bool:
    """Whether there is a term, and its lease is over."""
    runner = leader(snapshot)
    return (
        runner is not None
        and runner.session is not None
        and runner.session.term_expires_at is not None
        and runner.session.term_expires_at <= snapshot.at
    )


def in_grace(snapshot: Snapshot) -> bool:
    """Whether an outage protects the leader, whose lease is over."""
    until = grace_until(snapshot.mark, snapshot.group.settings.lease)
    return is_over(snapshot) and until is not None and until > snapshot.at


def past_deadline(snapshot: Snapshot) -> bool:
    """Whether a leader that steps down had its time, and keeps its session alone."""
    runner, handover = leader(snapshot), snapshot.group.handover
    if handover is None or runner is None or runner.session is None:
        return False
    ends = runner.session.term_expires_at
    return (
        handover.deadline <= snapshot.at < runner.session.lease_expires_at
        and ends is not None
        and ends < runner.session.lease_expires_at
    )


def pins_whom_it_cannot_elect(snapshot: Snapshot) -> bool:
    """Whether a person chose a runner that is not there for it."""
    pin = snapshot.group.pin
    runner = None if pin is None else snapshot.runner(pin.runner_id)
    return runner is not None and runner.session is None


def keeps_whom_it_would_not_elect(snapshot: Snapshot) -> bool:
    """Whether a leader bears taints that are no reason to depose it."""
    runner = leader(snapshot)
    return runner is not None and {taint.effect for taint in runner.taints} == {Effect.NO_ELECT}


def is_barred(snapshot: Snapshot) -> bool:
    """Whether nobody leads, somebody could, and the barrier is in the way."""
    barrier = snapshot.group.grant_not_before
    return (
        snapshot.group.term is None
        and barrier is not None
        and barrier > snapshot.at
        and any(runner.session is not None for runner in snapshot.runners)
    )


def lost_its_electors(snapshot: Snapshot) -> bool:
    """Whether the mark is older than three ticks."""
    return snapshot.mark.gap(snapshot.at)


def reached(
    drawn: st.SearchStrategy[T], names: Callable[[T], set[str]], wanted: Collection[str]
) -> set[str]:
    """What comes up, by name, until all that is wanted did or patience is over."""
    found: set[str] = set()

    def all_wanted(example: T) -> bool:
        found.update(names(example))
        return found.issuperset(wanted)

    with contextlib.suppress(NoSuchExample):
        find(drawn, all_wanted, settings=_SEARCH)
    return found


def test_snapshots_reach_each_state() -> None:
    """Every state that a rule is about comes up."""
    states = {
        state.__name__: state
        for state in (
            in_grace,
            is_barred,
            is_over,
            keeps_whom_it_would_not_elect,
            lost_its_electors,
            past_deadline,
            pins_whom_it_cannot_elect,
        )
    }

    def names(snapshot: Snapshot) -> set[str]:
        return {name for name, state in states.items() if state(snapshot)}

    drawn = snapshots(most=1, led=True) | snapshots(least=1, most=1, led=False)
    assert reached(drawn, names, states) == set(states)


def test_snapshots_and_policies_reach_each_outcome() -> None:
    """Every outcome of a decision comes up."""

    def names(drawn: tuple[Snapshot, OldestActive]) -> set[str]:
        return {elect(*drawn).outcome}

    drawn = st.tuples(snapshots(most=2), policies())
    assert reached(drawn, names, set(Outcome)) == set(Outcome)


def test_commands_reach_each_that_changes_something() -> None:
    """Every command comes up for a group in which it changes something."""

    def names(drawn: tuple[Snapshot, Command, OldestActive]) -> set[str]:
        made = planned(*drawn)
        return {type(drawn[1]).__name__} if made is not None and made.changed else set()

    drawn = snapshots(most=2).flatmap(
        lambda snapshot: st.tuples(st.just(snapshot), commands(snapshot), policies())
    )
    wanted = {kind.__name__ for kind in get_args(Command)} - _NOT_DRAWN
    assert reached(drawn, names, wanted) == wanted
