"""Rules of an election that hold whatever its settings become."""

from __future__ import annotations

from datetime import timedelta

from election_core import Configure, Decide, OldestActive, PinLeader, Settings
from election_world import World


def test_a_lease_is_judged_as_it_was_given() -> None:
    """Settings that shorten leases depose nobody who was told that the old one lasts."""
    world = World(Settings(lease=timedelta(seconds=15)))
    world.join("a")
    world.join("b")
    epoch = world.epoch
    world.do(Configure(settings=Settings(lease=timedelta(seconds=3))))
    world.wait(5)
    world.beat(world.snapshot.runners[1].id)
    world.do(Decide())
    assert world.epoch == epoch
    term = world.snapshot.group.term
    assert term is not None
    assert term.runner_id == world.snapshot.runners[0].id


def test_a_runner_that_becomes_steady_is_looked_at_then() -> None:
    """An older runner that came back takes over when it is steady, not whenever somebody looks."""
    steady = timedelta(seconds=30)
    world = World(Settings(), OldestActive(preempt=True, stable_for=steady))
    older = world.join("a")
    world.join("b")
    world.leave(older)
    world.open(older)
    assert world.do(Decide()).decision.look_again_at == world.now + steady


def test_a_pinned_runner_that_becomes_steady_is_looked_at_then() -> None:
    """A pinned runner that was away is preferred again when it is steady."""
    steady = timedelta(seconds=30)
    world = World(Settings(), OldestActive(stable_for=steady))
    pinned = world.join("a")
    world.join("b")
    world.do(PinLeader(runner_id=pinned))
    world.wait(1)
    world.leave(pinned)
    world.open(pinned)
    assert world.do(Decide()).decision.look_again_at == world.now + steady


def test_a_leader_that_an_outage_spares_is_looked_at_when_its_grace_ends() -> None:
    """Nothing else makes a group due whose leader's lease was decided about."""
    world = World(Settings(lease=timedelta(seconds=15)))
    world.join("a")
    world.wait(40, store=False)
    decision = world.do(Decide()).decision
    assert decision.reason == "grace"
    assert decision.look_again_at == world.now + timedelta(seconds=15)
