"""Groups through the engine: making, changing, choosing, explaining, following."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from election_core import (
    ConflictError,
    CursorExpired,
    Invalid,
    LoseRunner,
    NewTaint,
    NoLeader,
    NotEligible,
    NotFound,
    Outcome,
    PinLeader,
    Role,
    Settings,
    TaintRunner,
)
from engine_fleet import GROUP, LEASE, a_fleet


async def test_creating_a_group_twice_finds_it() -> None:
    """The same id with the same settings is the same group; with others it is a conflict."""
    async with a_fleet() as fleet:
        info, created = await fleet.engine.create_group(GROUP, Settings(lease=LEASE))

        assert (info.id, created) == (GROUP, False)
        with pytest.raises(ConflictError):
            await fleet.engine.create_group(GROUP, Settings())


async def test_a_group_may_be_named_by_the_engine() -> None:
    """Without an id a group gets one of its own."""
    async with a_fleet() as fleet:
        one, _ = await fleet.engine.create_group()
        two, _ = await fleet.engine.create_group()

        page = await fleet.engine.groups(limit=2)
        rest = await fleet.engine.groups(cursor=page.next_cursor)
        assert [group.id for group in page.items + rest.items] == sorted([GROUP, one.id, two.id])


async def test_a_bad_id_or_setting_makes_no_group() -> None:
    """What is refused leaves nothing behind."""
    async with a_fleet() as fleet:
        with pytest.raises(Invalid):
            await fleet.engine.create_group("No Slug")
        with pytest.raises(Invalid):
            await fleet.engine.create_group("ok", Settings(lease=timedelta(0)))

        assert [group.id for group in (await fleet.engine.groups()).items] == [GROUP]


async def test_two_who_create_at_once_create_one() -> None:
    """Of two calls that race, one creates and the other finds."""
    async with a_fleet() as fleet:
        made: list[bool] = []

        async def create() -> None:
            made.append((await fleet.engine.create_group("both"))[1])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create)
            tasks.start_soon(create)

        assert sorted(made) == [False, True]


async def test_a_patch_is_checked_and_kept() -> None:
    """What a patch names is replaced, the rest stays, and a bad value is refused whole."""
    async with a_fleet() as fleet:
        info = await fleet.engine.update_group(GROUP, {"lease_seconds": 30})
        assert info.settings.lease == timedelta(seconds=30)

        with pytest.raises(Invalid):
            await fleet.engine.update_group(GROUP, {"lease_seconds": 0, "retention_days": 1})

        assert (await fleet.engine.group(GROUP)).settings == info.settings


async def test_a_deleted_group_is_gone_and_its_epoch_is_not() -> None:
    """A group that is made again goes on from its epoch, behind the barrier (bugs 23, 41)."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        with pytest.raises(ConflictError):
            await fleet.engine.delete_group(GROUP)

        await fleet.engine.delete_group(GROUP, force=True)

        for call in (fleet.engine.group, fleet.engine.leader, fleet.engine.explain):
            with pytest.raises(NotFound):
                await call(GROUP)
        with pytest.raises(NotFound):
            await fleet.engine.runner(first.runner_id)
        info, created = await fleet.engine.create_group(GROUP, Settings(lease=LEASE))
        assert (created, info.epoch) == (True, 1)
        again = await fleet.join("first")
        assert again.role is Role.STANDBY
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.keep_beating, again)
            await fleet.led_by(again.runner_id)
            tasks.cancel_scope.cancel()
        assert (await fleet.engine.leader(GROUP)).epoch == 2


async def test_the_leader_is_told_with_its_reason() -> None:
    """Who leads, under which epoch, until when, and why; or that nobody does."""
    async with a_fleet() as fleet:
        with pytest.raises(NoLeader) as caught:
            await fleet.engine.leader(GROUP)
        assert caught.value.facts == {"current_epoch": 0}

        first = await fleet.join("first")

        leader = await fleet.engine.leader(GROUP)
        assert (leader.runner.id, leader.session_id) == (first.runner_id, first.session_id)
        assert (leader.epoch, leader.reason, leader.kind) == (1, "only-eligible", "first")
        assert leader.lease_expires_at == leader.elected_at + LEASE


async def test_a_person_chooses_and_lets_go() -> None:
    """A pin hands over, and unpinning before the leader has given up cancels it."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")

        pinned = await fleet.engine.pin(GROUP, PinLeader(runner_id=second.runner_id))
        unpinned = await fleet.engine.unpin(GROUP)

        assert (pinned.outcome, pinned.successor_runner_id) == (
            Outcome.HAND_OVER,
            second.runner_id,
        )
        assert (unpinned.outcome, unpinned.leader_runner_id) == (Outcome.KEEP, first.runner_id)


async def test_who_cannot_lead_is_not_pinned() -> None:
    """A pin on an unknown runner or one that cannot lead is refused."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("first")

        with pytest.raises(NotEligible):
            await fleet.engine.pin(GROUP, PinLeader(runner_id=runner_id))
        with pytest.raises(NotFound):
            await fleet.engine.pin(GROUP, PinLeader(runner_id="nobody"))


async def test_what_if_writes_nothing() -> None:
    """One may ask what would happen without making it happen."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        before = await fleet.store.load(GROUP)

        decision = await fleet.engine.what_if(GROUP, [LoseRunner(runner_id=first.runner_id)])
        explained = await fleet.engine.explain(GROUP)
        tainted = await fleet.engine.what_if(
            GROUP, [TaintRunner(runner_id=first.runner_id), TaintRunner(runner_id=second.runner_id)]
        )

        assert (decision.outcome, decision.leader_runner_id) == (Outcome.ELECT, second.runner_id)
        assert (explained.outcome, explained.leader_runner_id) == (Outcome.KEEP, first.runner_id)
        assert tainted.outcome is Outcome.VACATE
        after = await fleet.store.load(GROUP)
        assert (after.revision, after.group) == (before.revision, before.group)


# History.


async def test_a_follower_misses_nothing() -> None:
    """Events that come while they are read are read next, each once and in order."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("first")
        seen: list[int] = []

        async def follow() -> None:
            async for event in fleet.engine.follow(GROUP):
                seen.append(event.id)
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            for _ in range(120):
                await fleet.engine.taint(runner_id, NewTaint())
                await fleet.engine.untaint(runner_id)
            await anyio.sleep(10)
            fleet.engine.stop_waiting()

        assert seen == [event.id for event in await fleet.engine.events(GROUP, limit=1000)]
        assert len(seen) == 242


async def test_news_reaches_a_follower_at_once() -> None:
    """A stream of one group or of all is woken by the commit, not by the next poll (bug 36)."""
    async with a_fleet(tick=timedelta(hours=1)) as fleet:
        last = (await fleet.engine.events(GROUP))[-1].id
        times: dict[tuple[int, str | None], float] = {}

        async def follow(group_id: str | None) -> None:
            async for event in fleet.engine.follow(group_id, after=last):
                times[event.id, group_id] = anyio.current_time()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow, GROUP)
            tasks.start_soon(follow, None)
            await anyio.sleep(2)
            await fleet.register("first")
            await anyio.sleep(1)
            fleet.engine.stop_waiting()

        assert times == {(last + 1, GROUP): 2, (last + 1, None): 2}


async def test_another_replicas_news_is_found_by_polling() -> None:
    """What another engine over the same store has committed is seen within a tick (bug 36)."""
    async with a_fleet() as fleet, a_fleet(store=fleet.store) as other:
        last = (await fleet.engine.events(GROUP))[-1].id
        times: dict[int, float] = {}

        async def follow() -> None:
            async for event in other.engine.follow(GROUP, after=last):
                times[event.id] = anyio.current_time()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await anyio.sleep(2.5)
            await fleet.register("first")
            await anyio.sleep(5)
            other.engine.stop_waiting()

        assert list(times) == [last + 1]
        assert times[last + 1] <= 3.5


async def test_a_follower_from_before_the_kept_history_is_told() -> None:
    """Who was away too long learns that events are missing."""
    async with a_fleet(Settings(retention=timedelta(seconds=30))) as fleet:
        await fleet.register("first")
        await anyio.sleep(60)
        await fleet.register("second")
        await fleet.store.prune()

        with pytest.raises(CursorExpired):
            await fleet.engine.events(GROUP, after=1)
        assert len(await fleet.engine.events(GROUP, after=2)) == 1


async def test_only_a_groups_own_history_expires_its_cursors() -> None:
    """A quiet group's follower is not cut off when others' events are pruned."""
    async with a_fleet() as fleet:
        last = (await fleet.engine.events(GROUP))[-1].id
        await fleet.engine.create_group("short", Settings(retention=timedelta(seconds=30)))
        await fleet.engine.register("short", "other")
        await anyio.sleep(60)
        await fleet.store.prune()

        assert await fleet.engine.events(GROUP, after=last) == []
        with pytest.raises(CursorExpired):
            await fleet.engine.events(None, after=last)
        with pytest.raises(NotFound):
            await fleet.engine.events("nowhere")


async def test_a_follower_sees_the_groups_end() -> None:
    """The stream of a group ends with its deletion, after the event that says so."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("first")
        seen: list[str] = []

        async def follow() -> None:
            seen.extend([event.kind async for event in fleet.engine.follow(GROUP)])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await anyio.sleep(1)
            await fleet.engine.delete_runner(runner_id)
            await fleet.engine.delete_group(GROUP)

        assert seen == ["group-created", "runner-registered", "runner-deleted", "group-deleted"]


async def test_a_follower_of_a_recreated_group_passes_its_earlier_end() -> None:
    """An earlier deletion in the history is not the end of the group that goes on from it."""
    async with a_fleet() as fleet:
        await fleet.engine.delete_group(GROUP)
        await fleet.engine.create_group(GROUP)
        seen: list[str] = []

        async def follow() -> None:
            seen.extend([event.kind async for event in fleet.engine.follow(GROUP)])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await anyio.sleep(1)
            await fleet.register("first")
            await anyio.sleep(1)
            fleet.engine.stop_waiting()

        assert seen == ["group-created", "group-deleted", "group-created", "runner-registered"]
