"""A live leader that must go: how it steps down, when it is overruled, and when it may stay."""

from __future__ import annotations

import pytest
from attrs import evolve

from election_cases import span
from election_core import (
    Cause,
    Decide,
    DrainRunner,
    Effect,
    Kind,
    Leadership,
    NewTaint,
    NotEligible,
    OldestActive,
    Outcome,
    PinLeader,
    Settings,
    TaintRunner,
    Undrain,
    Unpin,
    Untaint,
    elect,
    leadership,
)
from election_world import World

LEASE = span(10)
TIMEOUT = span(20)


def a_world(*, preempt: bool = False, stable_for: float = 30) -> tuple[World, str, str]:
    """A group of two, the first of which leads."""
    policy = OldestActive(preempt=preempt, stable_for=span(stable_for))
    world = World(Settings(lease=LEASE, handover_timeout=TIMEOUT), policy)
    first, second = world.join("first"), world.join("second")
    assert world.leader == first
    return world, first, second


def make_go(world: World, runner_id: str, cause: Cause) -> None:
    """Give a leader that cause to step down, in whatever way."""
    if cause is Cause.TAINTED:
        world.do(TaintRunner(runner_id=runner_id))
    elif cause is Cause.DRAINING:
        world.do(DrainRunner(runner_id=runner_id))
    elif cause is Cause.NOT_READY:
        world.beat(runner_id, ready=False)
        world.elector()
    elif cause is Cause.NOT_SELECTED:
        world.policy = OldestActive(require_labels={"zone": "1"})
        world.do(Decide())


OWN_CAUSES = [Cause.TAINTED, Cause.DRAINING, Cause.NOT_READY, Cause.NOT_SELECTED]


@pytest.mark.parametrize("cause", OWN_CAUSES)
def test_a_leader_that_must_go_is_asked_first(cause: Cause) -> None:
    """It learns of the handover and its deadline, and still holds its epoch."""
    world, first, _ = a_world()

    make_go(world, first, cause)

    handover = world.snapshot.group.handover
    assert handover is not None
    assert (handover.cause, handover.deadline) == (cause, world.now + TIMEOUT)
    session = world.session(first)
    assert (session.held_epoch, session.step_down_at) == (1, handover.deadline)
    assert leadership(world.snapshot) is Leadership.STEPPING_DOWN


def test_the_release_elects_the_successor() -> None:
    """What the leader gives up goes to the successor in the same step, under the next epoch."""
    world, first, second = a_world()
    world.do(DrainRunner(runner_id=first))
    handover = world.snapshot.group.handover
    assert handover is not None
    assert handover.successor_runner_id == second

    decision = world.release(first).decision

    term = world.term
    assert term is not None
    assert decision.outcome is Outcome.ELECT
    assert (world.leader, term.epoch, term.kind) == (second, 2, Kind.HANDOVER)
    assert world.snapshot.group.handover is None


def test_the_successor_is_chosen_at_the_release() -> None:
    """Who was to follow and cannot any more does not follow."""
    world, first, second = a_world()
    third = world.join("third")
    world.do(DrainRunner(runner_id=first))
    world.do(TaintRunner(runner_id=second))

    world.release(first)

    assert world.leader == third


def test_until_the_deadline_the_term_is_extended() -> None:
    """A leader that is finishing keeps its lease as long as it has time."""
    world, first, second = a_world()
    world.do(DrainRunner(runner_id=first))

    world.live(19, [first, second])

    assert world.leader == first
    assert world.session(first).term_expires_at == world.now + LEASE


def test_past_the_deadline_the_term_runs_out_and_the_successor_follows() -> None:
    """Renewals at and after the deadline extend the session, not the term; then the next leads."""
    world, first, second = a_world()
    world.do(DrainRunner(runner_id=first))
    world.live(19, [first, second])
    term_ends = world.session(first).term_expires_at

    world.live(5, [first, second])

    session = world.session(first)
    assert (session.term_expires_at, session.lease_expires_at) == (term_ends, world.now + LEASE)
    assert world.leader == first
    world.live(5, [first, second])
    term = world.term
    assert term is not None
    assert (world.leader, term.kind) == (second, Kind.HANDOVER)
    assert world.now == term_ends


def test_no_grace_puts_a_passed_deadline_off() -> None:
    """Past its deadline a leader is not deposed for silence, so an outage does not spare it."""
    world, first, second = a_world()
    world.do(DrainRunner(runner_id=first, timeout=span(0)))

    world.wait(11, store=False)
    world.beat(second)
    world.elector()

    assert first != second
    assert world.leader == second


@pytest.mark.parametrize("cause", [Cause.TAINTED, Cause.DRAINING, Cause.NOT_READY])
def test_a_reason_that_is_gone_cancels_under_the_same_epoch(cause: Cause) -> None:
    """A leader that need not go any more leads on, and its renewals count again."""
    world, first, second = a_world()
    make_go(world, first, cause)
    world.live(5, [first, second])

    if cause is Cause.TAINTED:
        world.do(Untaint(runner_id=first))
    elif cause is Cause.DRAINING:
        world.do(Undrain(runner_id=first))
    else:
        world.beat(first, ready=True)
        world.elector()

    session = world.session(first)
    assert (world.leader, world.epoch, session.step_down_at) == (first, 1, None)
    assert world.snapshot.group.handover is None
    assert "handover-cancelled" in world.kinds


def test_a_cancelled_handover_gives_the_term_its_lease_back() -> None:
    """A term that stood still past its deadline is as long as the session again."""
    world, first, second = a_world()
    world.do(DrainRunner(runner_id=first, timeout=span(0)))
    world.live(5, [first, second])
    assert world.session(first).term_expires_at != world.session(first).lease_expires_at

    world.do(Undrain(runner_id=first))

    assert world.session(first).term_expires_at == world.session(first).lease_expires_at
    assert world.leader == first


@pytest.mark.parametrize("cause", OWN_CAUSES)
def test_with_nobody_to_follow_the_group_is_left_vacant(cause: Cause) -> None:
    """A leader that must go goes even if nobody can follow."""
    world, first, second = a_world()
    world.leave(second)
    make_go(world, first, cause)
    handover = world.snapshot.group.handover
    assert handover is not None
    assert handover.successor_runner_id is None

    world.release(first)

    assert (world.term, world.epoch) == (None, 1)


def test_with_nobody_to_follow_a_passed_deadline_ends_in_vacancy() -> None:
    """Nobody leads once the term of a leader that had to go ran out, as nobody could follow."""
    world, first, second = a_world()
    world.leave(second)
    world.do(TaintRunner(runner_id=first))

    world.live(31, [first])

    assert world.term is None
    assert world.kinds[-1] == "vacated"


def test_a_pin_without_anybody_to_follow_is_cancelled() -> None:
    """A leader that had to go for another stays if that other is gone."""
    world, first, second = a_world()
    world.do(PinLeader(runner_id=second))
    assert world.session(first).step_down_at is not None

    world.leave(second)

    assert (world.leader, world.session(first).step_down_at) == (first, None)


def test_a_preemption_without_anybody_to_follow_is_cancelled() -> None:
    """A leader that had to go for an older runner stays if that one falls silent."""
    world, second = _preempted()
    first = world.snapshot.runners[0].id

    world.live(11, [second])

    assert first != second
    assert (world.leader, world.snapshot.group.handover) == (second, None)


def _preempted() -> tuple[World, str]:
    """A group whose leader has to go for an older runner that came back; the leader."""
    world, first, second = a_world(preempt=True, stable_for=5)
    world.leave(first)
    assert world.leader == second
    world.open(first)
    world.live(6, [first, second])
    handover = world.snapshot.group.handover
    assert handover is not None
    assert (handover.cause, handover.successor_runner_id) == (Cause.PREEMPTED, first)
    return world, second


def test_immediate_means_a_deadline_of_now() -> None:
    """An immediate pin gives the leader no time to finish beyond the lease it has."""
    world, first, second = a_world()

    world.do(PinLeader(runner_id=second, immediate=True))

    assert world.session(first).step_down_at == world.now
    ends = world.session(first).term_expires_at
    world.live(9, [first, second])
    assert world.leader == second
    assert ends is not None
    assert world.now >= ends


def test_immediate_cuts_a_running_handover_short() -> None:
    """A person who does not want to wait for a drain pins another at once."""
    world, first, second = a_world()
    world.do(PinLeader(runner_id=second))
    world.live(5, [first, second])

    world.do(PinLeader(runner_id=second, immediate=True))

    assert world.session(first).step_down_at == world.now


def test_a_drain_may_bring_its_own_timeout() -> None:
    """The drain's timeout replaces the group's, for this handover."""
    world, first, _ = a_world()

    world.do(DrainRunner(runner_id=first, timeout=span(3)))

    assert world.session(first).step_down_at == world.now + span(3)


def test_a_later_deadline_counts_from_the_start_of_the_handover() -> None:
    """A timeout that is changed while a leader steps down is not begun anew."""
    world, first, second = a_world()
    world.do(DrainRunner(runner_id=first))
    started = world.now
    world.live(5, [first, second])

    world.do(DrainRunner(runner_id=first, timeout=span(60)))

    assert world.session(first).step_down_at == started + span(60)


# Pins.


def test_a_pin_moves_leadership() -> None:
    """The pinned runner leads once the leader has given up, and nothing moves it back (bug 30)."""
    world, first, second = a_world()
    world.do(PinLeader(runner_id=second))
    world.release(first)
    assert world.leader == second

    world.live(30, [first, second])

    assert (world.leader, world.epoch) == (second, 2)
    assert elect(world.snapshot, world.policy).reason == "pinned"


def test_a_pin_falls_back_to_the_policy() -> None:
    """While the pinned runner cannot lead the policy chooses; the pin stays."""
    world, first, second = a_world()
    world.do(PinLeader(runner_id=second))
    world.release(first)

    world.live(12, [first])

    assert world.leader == first
    pin = world.snapshot.group.pin
    assert pin is not None
    assert pin.runner_id == second


def test_a_pinned_runner_that_was_away_waits_until_it_is_steady() -> None:
    """A pinned runner that flaps does not take leadership back before `stable_for`."""
    world, first, second = a_world(stable_for=10)
    world.do(PinLeader(runner_id=second))
    world.release(first)
    world.live(12, [first])
    assert world.leader == first

    world.live(9, [first, second])
    assert world.session(first).step_down_at is None

    world.live(2, [first, second])
    assert world.session(first).step_down_at is not None


def test_a_pinned_leader_that_restarts_leads_again() -> None:
    """With no other leader to take over from, the pinned runner has nothing to wait for."""
    world, first, second = a_world()
    world.do(PinLeader(runner_id=second))
    world.release(first)
    assert world.leader == second
    world.live(5, [first, second])

    world.open(second, previous_session_id=world.session(second).id)

    assert world.leader == second


def test_a_pin_ends_sharp() -> None:
    """A pin that expires leaves the leader where it is; the policy sees no need to move it."""
    world, first, second = a_world()
    world.do(PinLeader(runner_id=second, ttl=span(6)))
    world.live(5.5, [first, second], step=0.5)
    assert world.session(first).step_down_at is not None

    world.live(0.5, [first, second], step=0.5)

    assert world.snapshot.group.pin is None
    assert world.session(first).step_down_at is None
    assert "pin-expired" in world.kinds


def test_unpinning_cancels_the_move() -> None:
    """Without the pin the leader need not go."""
    world, first, second = a_world()
    world.do(PinLeader(runner_id=second))

    world.do(Unpin())

    assert world.session(first).step_down_at is None


def test_whom_a_pin_names_must_be_able_to_lead() -> None:
    """Pinning a runner that cannot lead is refused and says why."""
    world, _, second = a_world()
    world.do(TaintRunner(runner_id=second, taint=NewTaint(effect=Effect.NO_ELECT)))

    with pytest.raises(NotEligible) as caught:
        world.do(PinLeader(runner_id=second))

    assert caught.value.facts == {"runner_id": second, "reason": "tainted"}


def test_a_no_elect_leader_may_be_pinned() -> None:
    """A pin on the leader that is barred from election alone keeps it where it is."""
    world, first, _ = a_world()
    world.do(TaintRunner(runner_id=first, taint=NewTaint(effect=Effect.NO_ELECT)))

    world.do(PinLeader(runner_id=first))

    assert world.leader == first


def test_a_pin_may_wait_for_eligibility() -> None:
    """`when_eligible` pins a runner that cannot lead yet, and it leads when it can."""
    world, first, second = a_world()
    world.do(DrainRunner(runner_id=second))
    world.do(PinLeader(runner_id=second, when_eligible=True))
    assert world.session(first).step_down_at is None

    world.do(Undrain(runner_id=second))

    assert world.session(first).step_down_at is not None


def test_the_same_pin_again_is_the_same_pin() -> None:
    """Repeating a pin does not make it younger."""
    world, _, second = a_world()
    command = PinLeader(runner_id=second, owner="ann")
    world.do(command)

    world.wait(1)

    assert not world.do(command).changed
    assert world.do(evolve(command, owner="bob")).changed


# Preemption.


def test_an_older_runner_takes_over_once_it_is_steady() -> None:
    """With `preempt` the oldest leads again after it has been healthy for `stable_for`."""
    world, second = _preempted()
    first = world.snapshot.runners[0].id

    world.release(second)

    assert world.leader == first


def test_a_flapping_older_runner_causes_no_churn() -> None:
    """An older runner that comes and goes faster than `stable_for` never disturbs the leader."""
    world, first, second = a_world(preempt=True, stable_for=8)
    world.leave(first)
    epoch = world.epoch

    for _ in range(5):
        world.open(first)
        world.live(7, [first, second])
        world.leave(first)
        world.live(3, [second])

    assert (world.leader, world.epoch) == (second, epoch)
    assert "handover-started" not in world.kinds


@pytest.mark.parametrize("bar", ["drain", "taint", "expiring-taint"])
def test_who_was_barred_is_steady_only_since_then(bar: str) -> None:
    """The time in which an older runner was drained or tainted does not count as healthy."""
    world, first, second = a_world(preempt=True, stable_for=8)
    world.leave(first)
    world.open(first)
    if bar == "drain":
        world.do(DrainRunner(runner_id=first))
    else:
        ttl = span(20) if bar == "expiring-taint" else None
        world.do(TaintRunner(runner_id=first, taint=NewTaint(ttl=ttl)))
    world.live(20, [first, second])
    world.do(Undrain(runner_id=first) if bar == "drain" else Untaint(runner_id=first))

    world.live(7, [first, second])
    assert world.session(second).step_down_at is None
    world.live(1, [first, second])
    assert world.session(second).step_down_at is not None


def test_readiness_that_flaps_causes_no_churn() -> None:
    """An older runner is steady only while it reports ready without a break."""
    world, first, second = a_world(preempt=True, stable_for=8)
    world.leave(first)
    world.open(first)

    for _ in range(4):
        world.live(6, [first, second])
        world.beat(first, ready=False)
        world.live(1, [first, second])
        world.beat(first, ready=True)

    assert "handover-started" not in world.kinds


def test_without_preempt_an_older_runner_waits() -> None:
    """By default a healthy leader stays when an older runner comes back (bug 34)."""
    world, first, second = a_world()
    world.leave(first)
    world.open(first)

    world.live(60, [first, second])

    assert world.leader == second
