"""Rules of an election that hold whatever its settings become."""

from __future__ import annotations

from datetime import timedelta

from election_core import Configure, Settings
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
    world.elector()
    assert world.epoch == epoch
    term = world.snapshot.group.term
    assert term is not None
    assert term.runner_id == world.snapshot.runners[0].id
