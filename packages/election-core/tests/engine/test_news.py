"""Replicas: several engines on one store, which tell each other what has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import attrs
import pytest
from attrs import field
from typing_extensions import override

from election_core import (
    Changes,
    Effect,
    JobOutcome,
    JobSpec,
    NewTaint,
    Settings,
    Settlement,
    Unavailable,
)
from election_core.engine import Engine
from election_core.memory import SharedMemoryStore
from election_core.ports import Committed, Due, Topic
from engine_fleet import LEASE
from virtual_time import store_clock

TICK = timedelta(seconds=1)
LONG = timedelta(minutes=1)


@attrs.define(kw_only=True, slots=False, repr=False)
class Watched(SharedMemoryStore):
    """A store whose announcements can be lost, and whose listeners can be cut off."""

    deaf: bool = field(default=False, init=False)
    """Nobody can listen."""
    mute: bool = field(default=False, init=False)
    """What is announced reaches nobody."""
    told: list[frozenset[Topic]] = field(factory=list, init=False)
    refused: int = field(default=0, init=False)
    commits: int = field(default=0, init=False)

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        await anyio.lowlevel.checkpoint()  # so that others can come between
        self.commits += 1
        return await super().commit(
            changes, expected_revision=expected_revision, commit_id=commit_id
        )

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        await anyio.lowlevel.checkpoint()
        return await super().due(limit, hold=hold)

    @override
    async def announce(self, topics: Collection[Topic]) -> None:
        if self.refused:
            self.refused -= 1
            raise Unavailable("the store is away")
        self.told.append(frozenset(topics))
        if not self.mute:
            await super().announce(topics)

    @override
    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[frozenset[Topic] | None]]:
        if self.deaf:
            raise Unavailable("nobody can listen here")
        async with super().changes() as heard:
            yield self._until_deaf(heard)

    async def _until_deaf(
        self, heard: AsyncIterator[frozenset[Topic] | None]
    ) -> AsyncIterator[frozenset[Topic] | None]:
        async for topics in heard:
            if self.deaf:
                raise Unavailable("the connection that listens was lost")
            yield topics


@asynccontextmanager
async def replicas(*, number: int = 2, **options: Any) -> AsyncIterator[tuple[Any, ...]]:
    """A store with group ``g``, and engines on it that each believe to be one of several."""
    store = Watched(clock=store_clock)
    with anyio.fail_after(3600):
        async with AsyncExitStack() as stack:
            engines = [
                await stack.enter_async_context(Engine(place, **options))
                for place in (store, *(store.replica() for _ in range(number - 1)))
            ]
            await engines[0].create_group("g", Settings(lease=LEASE))
            yield (store, *engines)


async def a_runner(engine: Engine, name: str) -> Any:
    """A runner with a session; its standing."""
    await anyio.sleep(0.001)
    runner, _ = await engine.register("g", name)
    return await engine.open_session(runner.id, session_key=name)


async def elapsed_until_woken(engine: Engine, standing: Any, change: Any) -> float:
    """How long a heartbeat that waits on an engine waits for a change made elsewhere."""
    waited: list[float] = []

    async def wait() -> None:
        fresh = await engine.beat(
            standing.runner_id, standing.session_id, seen=standing.standing_version, wait=LONG
        )
        assert fresh.standing_version > standing.standing_version
        waited.append(anyio.current_time() - began)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(0.1)
        began = anyio.current_time()
        await change()
    return waited[0]


async def test_a_change_through_one_replica_wakes_who_waits_on_another() -> None:
    """The successor hears of its election at once, whichever replica carried it out."""
    async with replicas() as (_, one, other):
        leader, successor = await a_runner(one, "a"), await a_runner(one, "b")

        async def release() -> None:
            await one.release(leader.runner_id, leader.session_id, 1)

        assert await elapsed_until_woken(other, successor, release) < 0.1


async def test_a_job_through_one_replica_reaches_a_claim_on_another() -> None:
    """A claim that waits is answered once there is work, whoever took it in."""
    async with replicas() as (_, one, other):
        leader = await a_runner(one, "a")
        claimed: list[Any] = []

        async def claim() -> None:
            claimed.append(
                await other.claim(
                    leader.runner_id, leader.session_id, claim_id="c", epoch=1, wait=LONG
                )
            )

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(claim)
            await anyio.sleep(0.1)
            began = anyio.current_time()
            await one.enqueue("g", JobSpec(kind="work"))
        assert anyio.current_time() - began < 0.1
        assert len(claimed[0].items) == 1


async def test_a_settlement_that_requeues_reaches_a_claim_on_another() -> None:
    """A job that was handed back is claimed again through any replica."""
    async with replicas() as (_, one, other):
        leader = await a_runner(one, "a")
        await one.enqueue("g", JobSpec(kind="work"))
        (item,) = (
            await one.claim(leader.runner_id, leader.session_id, claim_id="c", epoch=1)
        ).items

        async def claim() -> None:
            again = await other.claim(
                leader.runner_id, leader.session_id, claim_id="d", epoch=1, wait=LONG
            )
            assert len(again.items) == 1

        with anyio.fail_after(0.3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(claim)
                await anyio.sleep(0.1)
                await one.settle(
                    item.job.id, item.claim_token, Settlement(outcome=JobOutcome.RELEASED)
                )


async def test_a_lost_announcement_costs_a_tick_or_two() -> None:
    """Whoever made the change died before telling: the history tells (bug 36)."""
    async with replicas() as (store, one, other):
        leader, successor = await a_runner(one, "a"), await a_runner(one, "b")
        store.mute = True

        async def release() -> None:
            await one.release(leader.runner_id, leader.session_id, 1)

        assert 0.1 < await elapsed_until_woken(other, successor, release) <= 2.1


async def test_what_the_history_tells_wakes_the_whole_group() -> None:
    """A leader that is asked to step down hears of it, and its successor of its election."""
    async with replicas() as (store, one, other):
        leader, standby = await a_runner(one, "a"), await a_runner(one, "b")

        async def wait_for_ever() -> None:
            while True:
                await other.beat(standby.runner_id, standby.session_id, wait=LONG)

        async def taint() -> None:
            await one.taint(leader.runner_id, NewTaint(key="k", effect=Effect.NO_LEAD))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_ever)  # somebody waits, so the history is looked at
            await anyio.sleep(2.5)
            store.mute = True
            waited = await elapsed_until_woken(other, leader, taint)
            tasks.cancel_scope.cancel()

        assert 0 < waited <= 1


async def test_without_listening_everybody_looks_again_at_every_tick() -> None:
    """Where LISTEN is forbidden or its connection lost, changes are found by polling."""
    async with replicas() as (store, one, other):
        leader, successor = await a_runner(one, "a"), await a_runner(one, "b")
        store.deaf = True
        await one.enqueue("g", JobSpec(kind="work"))  # cuts the listeners off
        await anyio.sleep(5)

        async def release() -> None:
            await one.release(leader.runner_id, leader.session_id, 1)

        assert 0.1 < await elapsed_until_woken(other, successor, release) <= 2.1


async def test_listening_is_taken_up_again() -> None:
    """Once it is possible again, news come at once again."""
    async with replicas() as (store, one, other):
        leader, successor = await a_runner(one, "a"), await a_runner(one, "b")
        store.deaf = True
        await one.enqueue("g", JobSpec(kind="work"))
        await anyio.sleep(5)
        store.deaf = False
        await anyio.sleep(2)

        async def release() -> None:
            await one.release(leader.runner_id, leader.session_id, 1)

        assert await elapsed_until_woken(other, successor, release) < 0.1


async def test_an_announcement_that_fails_is_made_with_the_next() -> None:
    """What could not be told now is told when it can be."""
    async with replicas() as (store, one, _):
        await anyio.sleep(1)
        store.told.clear()
        store.refused = 1
        await one.enqueue("g", JobSpec(kind="work"))
        await anyio.sleep(3)

        assert store.told == [frozenset({("jobs", "g")})]


async def test_announcements_go_together() -> None:
    """The first is made at once, those of the next moment in one."""
    async with replicas() as (store, one, _):
        await anyio.sleep(1)
        store.told.clear()
        for name in "hijk":
            await one.create_group(name)
        await anyio.sleep(1)

        assert len(store.told) == 2
        assert {group for topics in store.told for _, group in topics} == {*"hijk", "*"}


async def test_revoked_tokens_are_forgotten_everywhere() -> None:
    """Whoever remembers tokens is told to ask again, also when it may have missed something."""
    async with replicas() as (store, one, other):
        await anyio.sleep(1)
        before = other.token_news
        one.tokens_revoked()
        await anyio.sleep(0.1)
        heard = other.token_news
        store.deaf = True
        await one.enqueue("g", JobSpec(kind="work"))  # cuts the listeners off
        await anyio.sleep(2)

        assert before < heard < other.token_news


async def test_nobody_hears_of_heartbeats() -> None:
    """A renewal that changes nothing for anybody is announced to nobody."""
    async with replicas() as (store, one, other):
        standing = await a_runner(one, "a")
        await anyio.sleep(1)
        store.told.clear()
        for _ in range(20):
            await other.beat(standing.runner_id, standing.session_id)
            await anyio.sleep(0.1)

        assert store.told == []


@pytest.mark.parametrize("number", [1, 3])
async def test_replicas_share_what_is_due(number: int) -> None:
    """Groups that are due together are decided once each, whoever gets to them."""
    async with replicas(number=number) as (store, one, *_):
        groups = [f"g{place}" for place in range(200)]
        for group_id in groups:
            await one.create_group(group_id, Settings(lease=LEASE))
            for name in ("a", "b"):
                runner, _ = await one.register(group_id, name)
                await one.open_session(runner.id, session_key=name)
        store.commits = 0
        await anyio.sleep(LEASE.total_seconds() + 2)

        assert store.commits == len(groups)  # one decision each: nobody is left to lead
        assert [(await store.load(group_id)).group.term for group_id in groups] == [None] * 200


async def test_a_replica_that_dies_delays_what_it_held_by_the_hold_alone() -> None:
    """Groups that nobody decides are due again when they are no longer held."""
    async with replicas() as (store, one, _):
        standing = await a_runner(one, "a")
        ends = LEASE.total_seconds() - 0.0015
        await anyio.sleep(ends)  # the lease is about to run out
        dead = store.replica()
        with anyio.fail_after(1):
            while not (await dead.due(10, hold=TICK)).group_ids:  # noqa: ASYNC110 - then it dies
                await anyio.sleep(0.0001)
        held = anyio.current_time()
        while (await store.load("g")).group.term is not None:  # noqa: ASYNC110 - from outside
            await anyio.sleep(0.01)

        assert standing.epoch == 1
        assert anyio.current_time() - held <= 1.1
