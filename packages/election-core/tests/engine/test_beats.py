"""Group commit of renewals."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import anyio
import pytest

from election_core import Invalid, Unavailable
from election_core.engine import Engine
from election_core.engine._beats import Beats
from election_core.engine._observer import Unobserved
from election_core.ports import Beat
from engine_fleet import GROUP, a_fleet
from store_faults import FaultyStore
from virtual_time import store_clock


async def test_renewals_that_arrive_together_are_written_together() -> None:
    """Two hundred renewals take two flushes, however long each of them takes."""
    async with a_fleet() as fleet:
        standings = [await fleet.join(f"r{number}") for number in range(200)]
        fleet.store.batches.clear()
        fleet.store.slow = 0.5

        async with anyio.create_task_group() as tasks:
            for standing in standings:
                tasks.start_soon(fleet.engine.beat, standing.runner_id, standing.session_id)

        assert len(fleet.store.batches) <= 2
        assert sum(map(len, fleet.store.batches)) == 200


async def test_a_flush_has_each_runner_once() -> None:
    """Two renewals of one runner go one after the other, and both are answered."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        fleet.store.batches.clear()

        async with anyio.create_task_group() as tasks:
            for seq in range(5):
                for standing in (first, second):
                    beat = partial(fleet.engine.beat, seq=seq)
                    tasks.start_soon(beat, standing.runner_id, standing.session_id)

        assert sum(map(len, fleet.store.batches)) == 10
        assert all(len(set(batch)) == len(batch) for batch in fleet.store.batches)


@pytest.mark.parametrize(
    ("runner_id", "session_id", "seq"),
    [("r\ud800", "s", None), ("r", "s\0", None), ("r", "s", 2**53), ("r", "s", -(2**53))],
)
async def test_what_no_store_can_take_spoils_no_batch(
    runner_id: str, session_id: str, seq: int | None
) -> None:
    """A renewal by which a store would refuse all that are written with it gets to none."""
    async with a_fleet() as fleet:
        fleet.store.batches.clear()
        with pytest.raises(Invalid):
            await fleet.engine.beat(runner_id, session_id, seq=seq)
        assert fleet.store.batches == []


async def test_a_flush_has_a_largest_size() -> None:
    """What does not fit goes with the next flush."""
    store = FaultyStore(clock=store_clock)
    beats = Beats(store, Unobserved(), lambda: None, most=3)
    beats.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beats.run)
        async with anyio.create_task_group() as asking:
            for number in range(8):
                asking.start_soon(beats.beat, Beat(runner_id=f"r{number}", session_id=f"s{number}"))
        tasks.cancel_scope.cancel()

    assert [len(batch) for batch in store.batches] == [3, 3, 2]


async def test_a_crowd_is_written_in_few_flushes() -> None:
    """Where renewals come one after the other, but several to a flush, they wait for each other."""
    async with a_fleet() as fleet:
        standings = [await fleet.join(f"r{number}") for number in range(51)]
        fleet.store.batches.clear()

        async with anyio.create_task_group() as tasks:
            for number, standing in enumerate(standings):
                if number > 1:
                    await anyio.sleep(0.001)
                tasks.start_soon(fleet.engine.beat, standing.runner_id, standing.session_id)

        assert sum(map(len, fleet.store.batches)) == 51
        assert len(fleet.store.batches) <= 7


async def test_a_caller_alone_does_not_wait_for_others() -> None:
    """A renewal is written at once when the flush before it was of one."""
    async with a_fleet() as fleet:
        standing = await fleet.join("first")
        fleet.store.batches.clear()
        start = anyio.current_time()

        for _ in range(20):
            await fleet.engine.beat(standing.runner_id, standing.session_id)

        assert len(fleet.store.batches) == 20
        assert anyio.current_time() - start < 0.01


async def test_a_renewal_that_could_not_be_written_spoils_no_other() -> None:
    """Whoever's row is locked is told to try again; who was renewed with it is answered."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        fleet.store.locked = {first.runner_id}
        fleet.store.batches.clear()
        told: list[str] = []

        async def beat(runner_id: str, session_id: str) -> None:
            try:
                await fleet.engine.beat(runner_id, session_id)
            except Unavailable:
                told.append(runner_id)

        async with anyio.create_task_group() as tasks:
            for standing in (first, second):
                tasks.start_soon(beat, standing.runner_id, standing.session_id)

        assert told == [first.runner_id]
        assert [len(batch) for batch in fleet.store.batches] == [2]


async def test_everybody_in_a_flush_learns_that_it_failed() -> None:
    """A flush that could not be written is refused to each who waited for it, and the next goes."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        fleet.store.away = True
        refused: list[str] = []

        async def beat(runner_id: str, session_id: str) -> None:
            with pytest.raises(Unavailable):
                await fleet.engine.beat(runner_id, session_id)
            refused.append(runner_id)

        async with anyio.create_task_group() as tasks:
            for standing in (first, second):
                tasks.start_soon(beat, standing.runner_id, standing.session_id)

        assert sorted(refused) == sorted([first.runner_id, second.runner_id])
        fleet.store.away = False
        await fleet.engine.beat(first.runner_id, first.session_id)


async def test_a_caller_that_goes_does_not_hold_others_up() -> None:
    """A renewal whose caller was cancelled is written all the same, and the flush goes on."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        fleet.store.slow = 1

        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(0.5):
                tasks.start_soon(fleet.engine.beat, second.runner_id, second.session_id)
                await fleet.engine.beat(first.runner_id, first.session_id)

        written = [runner_id for batch in fleet.store.batches for runner_id in batch]
        assert sorted(written) == sorted([first.runner_id, second.runner_id])


async def test_who_waits_when_the_engine_stops_is_told() -> None:
    """A renewal that was on its way when the engine stopped fails, and may be repeated."""
    store = FaultyStore(clock=store_clock)
    refused: list[str] = []

    async def beat(runner_id: str) -> None:
        with pytest.raises(Unavailable, match="stopped"):
            await beats.beat(Beat(runner_id=runner_id, session_id="s"))
        refused.append(runner_id)

    async def mark() -> None:
        with pytest.raises(Unavailable, match="stopped"):
            await beats.mark(timedelta(seconds=1))
        refused.append("mark")

    beats = Beats(store, Unobserved(), lambda: None)
    store.slow = 60
    beats.open()
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as running:
            tasks.start_soon(beat, "flushed")

            async def stop() -> None:
                await anyio.sleep(1)
                tasks.start_soon(beat, "queued")
                tasks.start_soon(mark)
                await anyio.sleep(1)
                running.cancel()

            tasks.start_soon(stop)
            await beats.run()

    assert sorted(refused) == ["flushed", "mark", "queued"]


async def test_the_mark_takes_the_path_of_renewals() -> None:
    """While renewals cannot be flushed the mark is not refreshed either, so its gap tells."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        await anyio.sleep(2)
        fleet.store.slow = 8
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.engine.beat, first.runner_id, first.session_id)
        fleet.store.slow = 0
        await anyio.sleep(2)

        mark = (await fleet.store.load(GROUP)).mark
        assert len(mark.outages) == 1


async def test_an_engine_that_was_not_entered_refuses_renewals() -> None:
    """Nobody waits for ever for an engine that does not run yet."""
    engine = Engine(FaultyStore(clock=store_clock))

    with pytest.raises(Unavailable, match="not running"):
        await engine.beat("runner", "session")
