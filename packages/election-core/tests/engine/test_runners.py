"""Runners through the engine."""

from __future__ import annotations

from datetime import timedelta

import pytest

from election_core import (
    ConflictError,
    Effect,
    Invalid,
    NewTaint,
    NotFound,
    OwnedByOther,
    Role,
    RunnerStatus,
)
from engine_fleet import GROUP, a_fleet


async def test_registering_again_finds_the_runner() -> None:
    """A name is one runner, and what is said again is updated."""
    async with a_fleet() as fleet:
        one, created = await fleet.engine.register(GROUP, "a", labels={"zone": "1"})
        two, again = await fleet.engine.register(GROUP, "a", version="2")

        assert (created, again) == (True, False)
        assert (one.id, two.version, two.labels) == (two.id, "2", {"zone": "1"})


async def test_an_instance_proves_itself_by_its_key() -> None:
    """Who joins under a name that is taken has to bring the key it was registered with."""
    async with a_fleet() as fleet:
        await fleet.engine.register(GROUP, "a", instance_key="secret", joining=True)

        with pytest.raises(ConflictError):
            await fleet.engine.register(GROUP, "a", instance_key="guess", joining=True)
        _, created = await fleet.engine.register(GROUP, "a", instance_key="secret", joining=True)

        assert not created


async def test_a_runner_needs_a_name_and_a_group() -> None:
    """Names are 1 to 200 characters, and the group has to exist."""
    async with a_fleet() as fleet:
        for name in ("", "n" * 201):
            with pytest.raises(Invalid):
                await fleet.engine.register(GROUP, name)
        with pytest.raises(NotFound):
            await fleet.engine.register("nowhere", "a")


async def test_runners_are_listed_the_oldest_first() -> None:
    """Pages go on where the last one ended."""
    async with a_fleet() as fleet:
        ids = [(await fleet.join(name)).runner_id for name in "cab"]

        page = await fleet.engine.runners(GROUP, limit=2)
        rest = await fleet.engine.runners(GROUP, cursor=page.next_cursor)

        assert [runner.id for runner in page.items + rest.items] == ids
        assert rest.next_cursor is None
        with pytest.raises(Invalid):
            await fleet.engine.runners(GROUP, cursor="?")


async def test_taints_come_and_go() -> None:
    """Tainting and untainting answer the runner as it is then."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("a")

        tainted = await fleet.engine.taint(runner_id, NewTaint(owner="ann"))
        with pytest.raises(OwnedByOther):
            await fleet.engine.untaint(runner_id, key="manual", owner="bob")
        free = await fleet.engine.untaint(runner_id, owner="ann")

        assert [taint.effect for taint in tainted.taints] == [Effect.NO_LEAD]
        assert free.taints == ()
        with pytest.raises(Invalid):
            await fleet.engine.taint(runner_id, NewTaint(key=""))
        with pytest.raises(NotFound):
            await fleet.engine.taint("nobody", NewTaint())


async def test_a_drain_hands_over_and_lasts() -> None:
    """A drained leader steps down; a new session of it does not end the drain."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")

        drained = await fleet.engine.drain(
            first.runner_id, reason="disk", timeout=timedelta(seconds=5)
        )
        standing = await fleet.engine.beat(first.runner_id, first.session_id)
        await fleet.engine.release(first.runner_id, first.session_id, 1)
        await fleet.open(first.runner_id, "restarted")

        assert drained.status is RunnerStatus.DRAINING
        assert (standing.role, standing.step_down_in) == (
            Role.STEPPING_DOWN,
            timedelta(seconds=5),
        )
        assert await fleet.leader() == second.runner_id
        assert (await fleet.engine.runner(first.runner_id)).status is RunnerStatus.DRAINING
        undrained = await fleet.engine.undrain(first.runner_id)
        assert undrained.status is RunnerStatus.ACTIVE


async def test_a_deleted_runner_is_gone() -> None:
    """Deleting a runner ends what it had; it is not found again."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")

        await fleet.engine.delete_runner(first.runner_id)

        with pytest.raises(NotFound):
            await fleet.engine.runner(first.runner_id)
        with pytest.raises(NotFound):
            await fleet.engine.delete_runner(first.runner_id)
        assert await fleet.leader() is None
