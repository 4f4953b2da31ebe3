"""The loop that decides the groups whose time has come."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

import anyio
import pytest
from typing_extensions import override

from election_cases import NOW, span
from election_core import (
    EPOCH_JUMP,
    Event,
    Kind,
    NewTaint,
    NotFound,
    OldestActive,
    PinLeader,
    Policy,
    PolicySpec,
    Rank,
    Role,
    Runner,
    Settings,
    Snapshot,
    default_policies,
)
from engine_fleet import GROUP, LEASE, a_fleet
from store_faults import FaultyStore
from virtual_time import store_clock


async def test_a_silent_leader_is_followed_within_a_lease_and_a_tick() -> None:
    """Once the leader's lease is over the next runner leads within a tick (I5)."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.keep_beating, second)
            began = anyio.current_time()

            await fleet.led_by(second.runner_id)

            assert anyio.current_time() - began <= 11
            leader = await fleet.engine.leader(GROUP)
            assert (leader.epoch, leader.kind) == (2, Kind.FAILOVER)
            tasks.cancel_scope.cancel()
        assert first.runner_id != second.runner_id


async def test_leadership_moves_through_nobody() -> None:
    """From a leader to none and on to the next, nothing is left behind (bug 29)."""
    async with a_fleet() as fleet:
        await fleet.join("first")
        runner_id = await fleet.register("second")
        await fleet.led_by(None)
        await anyio.sleep(30)

        await fleet.open(runner_id)
        await fleet.led_by(runner_id)

        assert (await fleet.engine.leader(GROUP)).epoch == 2


async def test_taints_left_behind_expire() -> None:
    """Taints with a time to live end by themselves, so a group is not leaderless for ever."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("first")
        await fleet.engine.taint(runner_id, NewTaint(ttl=timedelta(seconds=4)))
        standing = await fleet.open(runner_id)
        assert standing.role is Role.STANDBY
        began = anyio.current_time()

        await fleet.led_by(runner_id)

        assert 4 <= anyio.current_time() - began <= 5


async def test_a_deadline_is_met_without_a_tick() -> None:
    """The elector wakes for the next deadline, so a long tick does not make it late."""
    async with a_fleet(tick=timedelta(minutes=5)) as fleet:
        runner_id = await fleet.register("first")
        await fleet.engine.taint(runner_id, NewTaint(ttl=timedelta(seconds=4)))
        session_id = (await fleet.open(runner_id)).session_id
        await fleet.engine.beat(runner_id, session_id, ready=False)
        await fleet.engine.beat(runner_id, session_id, ready=True)
        began = anyio.current_time()

        await fleet.led_by(runner_id)

        assert anyio.current_time() - began <= 5


async def test_an_outage_deposes_nobody_who_comes_back() -> None:
    """After a time in which the store was away the leader has one lease to renew (bug 18)."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        fleet.store.away = True
        await anyio.sleep(60)
        fleet.store.away = False
        await anyio.sleep(5)
        await fleet.engine.beat(second.runner_id, second.session_id)

        await anyio.sleep(4)
        await fleet.engine.beat(first.runner_id, first.session_id)
        await anyio.sleep(2)

        leader = await fleet.engine.leader(GROUP)
        assert (leader.runner.id, leader.epoch) == (first.runner_id, 1)


async def test_a_jump_of_the_clock_is_an_outage() -> None:
    """A clock that leaps ahead deposes nobody (bug 16)."""
    ahead = [0.0]

    def clock() -> datetime:
        return store_clock() + span(ahead[0])

    async with a_fleet(store=FaultyStore(clock=clock)) as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.keep_beating, first, second)
            await anyio.sleep(5)
            ahead[0] = 3600
            await anyio.sleep(30)

            leader = await fleet.engine.leader(GROUP)
            tasks.cancel_scope.cancel()
        assert (leader.runner.id, leader.epoch) == (first.runner_id, 1)


async def test_a_clock_that_falls_back_stands_still() -> None:
    """Store time never goes back, so no lease ends twice and no epoch is granted anew (bug 16)."""
    ahead = [3600.0]

    def clock() -> datetime:
        return store_clock() + span(ahead[0])

    async with a_fleet(store=FaultyStore(clock=clock)) as fleet:
        first = await fleet.join("first")
        ahead[0] = 0
        await anyio.sleep(1)

        snapshot = await fleet.store.load(GROUP)

        assert snapshot.at >= NOW + span(3600)
        assert (await fleet.engine.leader(GROUP)).runner.id == first.runner_id


async def test_a_restored_store_jumps_ahead() -> None:
    """When commits may be missing all terms end, and the next epoch is far ahead (bug 40)."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.keep_beating, first, second)
            fleet.store.lose_commits()
            restored = anyio.current_time()
            await fleet.led_by(None)

            await fleet.led_by(first.runner_id)

            assert anyio.current_time() - restored >= LEASE.total_seconds()
            leader = await fleet.engine.leader(GROUP)
            assert (leader.epoch, leader.kind) == (1 + EPOCH_JUMP + 1, Kind.RESTORED)
            tasks.cancel_scope.cancel()


async def test_a_group_that_the_restore_lost_goes_far_ahead_too() -> None:
    """A group that is made again because its creation was lost reuses none of its epochs."""
    async with a_fleet() as fleet:
        fleet.store.lose_commits()
        await anyio.sleep(1.5)

        with pytest.raises(NotFound):
            await fleet.engine.group("lost")
        info, created = await fleet.engine.create_group("lost")

        assert (created, info.epoch) == (True, EPOCH_JUMP)
        assert info.grant_not_before is not None


class Broken(OldestActive):
    """A policy with a fault."""

    @override
    def rank(self, runner: Runner, snapshot: Snapshot, incumbent: Runner | None) -> Rank:
        """Fail."""
        raise ZeroDivisionError


def broken(options: Mapping[str, object]) -> Policy:
    """Make the faulty policy."""
    return Broken()


async def test_one_groups_fault_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A policy that fails stops its own group only, and is logged."""
    policies = default_policies()
    policies.register("broken", lambda _: OldestActive())
    async with a_fleet(policies=policies) as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        spec = Settings(lease=LEASE, policy=PolicySpec(name="broken"))
        await fleet.engine.create_group("a", spec)
        other, _ = await fleet.engine.register("a", "other")
        await fleet.engine.open_session(other.id, session_key="k")
        policies.register("broken", broken)
        await fleet.engine.beat(second.runner_id, second.session_id)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.keep_beating, second)
            await fleet.led_by(second.runner_id)
            await anyio.sleep(2)
            tasks.cancel_scope.cancel()

        assert first.runner_id != second.runner_id
        assert "group a could not be decided" in caplog.text
        caplog.clear()


async def test_many_faulty_groups_do_not_starve_a_good_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """More groups that cannot be decided than fit in a batch do not keep another waiting."""
    caplog.set_level(logging.CRITICAL, "election_core.engine")
    policies = default_policies()
    policies.register("broken", lambda _: OldestActive())
    async with a_fleet(policies=policies) as fleet:
        spec = Settings(lease=timedelta(seconds=5), policy=PolicySpec(name="broken"))
        for number in range(510):
            await fleet.engine.create_group(f"a{number}", spec)
            runner, _ = await fleet.engine.register(f"a{number}", "r")
            await fleet.engine.open_session(runner.id, session_key="k")
        first, second = await fleet.join("first"), await fleet.join("second")
        policies.register("broken", broken)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.keep_beating, second)
            await anyio.sleep(14)
            leader = await fleet.leader()
            tasks.cancel_scope.cancel()

        assert leader == second.runner_id
        assert first.runner_id != second.runner_id


async def test_a_slow_decision_does_not_look_like_an_outage() -> None:
    """While a decision takes long the mark is refreshed all the same."""
    async with a_fleet() as fleet:
        await fleet.join("first")
        await anyio.sleep(9)
        fleet.store.slow_commits = 8
        await anyio.sleep(10)

        assert (await fleet.store.load(GROUP)).mark.outages == ()
        assert "vacated" in [event.kind for event in await fleet.engine.events(GROUP)]


async def test_a_store_that_is_away_for_a_while_is_survived(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The elector goes on when the store is back."""
    async with a_fleet() as fleet:
        fleet.store.away = True
        await anyio.sleep(20)
        fleet.store.away = False
        first = await fleet.join("first")
        second = await fleet.join("second")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.keep_beating, second)
            await fleet.led_by(second.runner_id)
            tasks.cancel_scope.cancel()

        assert first.runner_id != second.runner_id
        assert "the store did not answer" in caplog.text


async def test_a_deleted_group_is_not_decided(caplog: pytest.LogCaptureFixture) -> None:
    """A group that goes while it is due is no fault."""
    async with a_fleet() as fleet:
        await fleet.join("first")
        await anyio.sleep(9)
        await fleet.engine.delete_group(GROUP, force=True)
        await anyio.sleep(20)

    assert caplog.text == ""


async def test_history_is_pruned() -> None:
    """What the group's retention no longer keeps goes by itself, in the background."""
    settings = Settings(lease=LEASE, retention=timedelta(seconds=30))
    async with a_fleet(settings) as fleet:
        first = await fleet.join("first")
        await fleet.engine.leave(first.runner_id, first.session_id)
        before: list[Event] = await fleet.engine.events(GROUP)

        await anyio.sleep(130)

        assert before != []
        assert await fleet.engine.events(GROUP) == []


async def test_pruning_survives_a_store_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """A store that cannot be pruned now is pruned later."""
    async with a_fleet(Settings(retention=timedelta(seconds=30))) as fleet:
        fleet.store.away = True
        await anyio.sleep(70)
        fleet.store.away = False
        await anyio.sleep(70)

        assert await fleet.engine.events(GROUP) == []
        assert "could not be pruned" in caplog.text


async def test_a_pin_that_waits_is_decided_when_its_runner_comes() -> None:
    """A renewal that makes the pinned runner ready has its group decided at once."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        await fleet.engine.beat(second.runner_id, second.session_id, ready=False)
        await fleet.engine.pin(GROUP, PinLeader(runner_id=second.runner_id, when_eligible=True))

        await fleet.engine.beat(second.runner_id, second.session_id, ready=True)
        await anyio.sleep(0.1)

        standing = await fleet.engine.beat(first.runner_id, first.session_id)
        assert standing.role is Role.STEPPING_DOWN
