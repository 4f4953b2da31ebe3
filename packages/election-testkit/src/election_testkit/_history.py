"""The history: events in order, none of them missed, and how long they are kept."""

from __future__ import annotations

from datetime import timedelta

import anyio
import anyio.lowlevel
import pytest
from attrs import evolve

from election_core import (
    CursorExpired,
    DeleteGroup,
    DrainRunner,
    Event,
    Settings,
    TaintRunner,
    Undrain,
)
from election_testkit._fleet import Fleet, group_events
from election_testkit._subject import FullStore, Subject
from election_testkit._suite import Suite

__all__ = ["History"]

_ALL = 100_000


async def _pruned(store: FullStore) -> int:
    """Prune until nothing is left to prune; how many rows were deleted."""
    total = 0
    while deleted := await store.prune():
        total += deleted
    return total


async def _newest(store: FullStore, fleet: Fleet) -> int:
    """The id of the newest event of a group."""
    return (await store.events(fleet.group_id, limit=_ALL))[-1].id


class History(Suite):
    """What the port promises of `events` and `prune`."""

    async def test_events_are_told_as_they_were_committed(self, subject: Subject) -> None:
        """Each commit's events follow those before it, in their order, with all that they tell."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        for command in (
            TaintRunner(runner_id=fleet.runner("b")),
            DrainRunner(runner_id=fleet.runner("a"), reason='"lunch" – 😀'),
            fleet.releasing("a", 1),
            Undrain(runner_id=fleet.runner("a")),
        ):
            await subject.advance(0.000001)
            last = await _newest(subject.store, fleet)
            planned = await fleet.do(command)
            found = await subject.store.events(fleet.group_id, after=last)
            ids = [event.id for event in found]
            assert ids == sorted(set(ids))
            assert [evolve(event, id=0) for event in found] == list(planned.changes.events)
            assert found != []

    async def test_events_of_one_group_and_of_all(self, subject: Subject) -> None:
        """Events come by id, of one group or of all, from behind the last one that was seen."""
        store, (one, other) = subject.store, [Fleet(subject.store) for _ in range(2)]
        await one.create()
        start = await _newest(store, one)
        await other.create()
        for name in ("a", "b"):
            await one.join(name)
            await other.join(name)
        everything = await store.events(None, after=start)

        assert [event.id for event in everything] == sorted({event.id for event in everything})
        assert {event.group_id for event in everything} == {one.group_id, other.group_id}
        for each in (one, other):
            mine = [event for event in everything if event.group_id == each.group_id]
            assert await store.events(each.group_id, after=start) == mine
            assert (await store.events(each.group_id))[-len(mine) :] == mine
            assert await store.events(each.group_id, after=mine[0].id, limit=2) == mine[1:3]
            assert await store.events(each.group_id, after=mine[-1].id) == []
        assert await store.events(None, after=start, limit=3) == everything[:3]

    async def test_no_event_fills_a_gap_later(self, subject: Subject) -> None:
        """Who goes on behind the last event it saw misses none, however many commits race."""
        fleets = [Fleet(subject.store) for _ in range(6)]
        for each in fleets:
            await each.create()
            await each.join("a")
        start = await _newest(subject.store, fleets[-1])
        seen: list[Event] = []
        left = len(fleets)

        async def change(fleet: Fleet) -> None:
            nonlocal left
            for _ in range(6):
                await fleet.do(DrainRunner(runner_id=fleet.runner("a")))
                await fleet.do(Undrain(runner_id=fleet.runner("a")))
            left -= 1

        async def follow() -> None:
            while True:
                over = left == 0
                last = seen[-1].id if seen else start
                more = await subject.store.events(None, after=last)
                if over and not more:
                    return
                seen.extend(more)
                await anyio.lowlevel.checkpoint()

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                for each in fleets:
                    tasks.start_soon(change, each)
        # What was seen while commits were under way is what is there once all are done.
        assert seen == await subject.store.events(None, after=start, limit=_ALL)
        for each in fleets:
            told = [event.kind for event in seen if event.group_id == each.group_id]
            assert (told.count("drained"), told.count("undrained")) == (6, 6)

    # Pruning.

    async def test_events_are_kept_as_long_as_agreed(self, subject: Subject) -> None:
        """Each group's events are kept for its own retention, and not a moment longer."""
        store = subject.store
        short, long = Fleet(store), Fleet(store)
        await short.create(Settings(retention=timedelta(hours=1)))
        await long.create()
        for each in (short, long):
            await each.join("a")
        history = await group_events(store, long.group_id)
        await subject.advance(3599.999999)
        await _pruned(store)
        assert len(await store.events(short.group_id)) == len(history)
        await subject.advance(0.000001)
        assert await _pruned(store) >= len(history)
        assert await store.prune() == 0

        assert await store.events(short.group_id) == []
        assert await group_events(store, long.group_id) == history

    async def test_cursor_behind_what_was_pruned_has_expired(self, subject: Subject) -> None:
        """Who would miss events that were pruned is told so, and nobody who would not."""
        store = subject.store
        short, long = Fleet(store), Fleet(store)
        await long.create()
        first = await _newest(store, long)
        await short.create(Settings(retention=timedelta(hours=1)))
        await long.join("a")
        await short.join("a")
        history = await group_events(store, long.group_id)
        last = await _newest(store, short)
        await subject.advance(3600)
        await _pruned(store)

        for group_id in (short.group_id, None):
            for after in (0, first, last - 1):
                with pytest.raises(CursorExpired):
                    await store.events(group_id, after=after)
        assert await store.events(short.group_id, after=last) == []
        assert await store.events(None, after=last) == []
        kept = await store.events(long.group_id, after=first)
        assert [event.kind for event in kept] == history[1:]
        await short.do(DrainRunner(runner_id=short.runner("a")))
        (drained, *_) = await store.events(short.group_id, after=last)
        assert drained.kind == "drained"
        assert drained in await store.events(None, limit=_ALL)

    async def test_ids_of_events_are_not_used_again(self, subject: Subject) -> None:
        """The id of the newest event is not given to another once that one was pruned."""
        fleet = Fleet(subject.store)
        await fleet.create(Settings(retention=timedelta(seconds=1)))
        last = await _newest(subject.store, fleet)
        await subject.advance(1)
        await _pruned(subject.store)
        assert await subject.store.events(fleet.group_id) == []
        await fleet.join("a")
        assert all(event.id > last for event in await subject.store.events(fleet.group_id))

    async def test_ended_sessions_are_kept_as_long_as_agreed(self, subject: Subject) -> None:
        """How a session ended is remembered for its group's retention."""
        fleet = Fleet(subject.store)
        await fleet.create(Settings(retention=timedelta(hours=1)))
        await fleet.join("a")
        old = await fleet.reopen("a")
        await subject.advance(1)
        await fleet.reopen("a")
        runner_id = fleet.runner("a")
        await subject.advance(3598.999999)
        await _pruned(subject.store)
        for number in (1, 2):
            session_id = fleet.session("a", number)
            assert await subject.store.ended_session(runner_id, session_id=session_id) is not None
        await subject.advance(0.000001)
        await _pruned(subject.store)

        first = fleet.session("a", 1)
        assert await subject.store.ended_session(runner_id, session_id=first) is None
        assert await subject.store.ended_session(runner_id, key=f"key of {first}") is None
        assert await fleet.beat_as("a", first) is None
        assert await subject.store.ended_session(runner_id, session_id=old) is not None

    async def test_remains_are_pruned_by_their_last_settings(self, subject: Subject) -> None:
        """What a deleted group leaves behind is kept for its retention; its epoch for ever."""
        fleet = Fleet(subject.store)
        await fleet.create(Settings(retention=timedelta(hours=1)))
        await fleet.join("a")
        await fleet.do(DeleteGroup(force=True))
        remains = (await fleet.load()).group
        await subject.advance(3599.999999)
        await _pruned(subject.store)
        assert "group-deleted" in await group_events(subject.store, fleet.group_id)
        assert await fleet.beat_as("a", fleet.session("a")) is not None
        await subject.advance(0.000001)
        await _pruned(subject.store)

        assert await group_events(subject.store, fleet.group_id) == []
        assert await fleet.beat_as("a", fleet.session("a")) is None
        assert (await fleet.load()).group == remains

    async def test_prune_stops_at_its_limit(self, subject: Subject) -> None:
        """A call deletes so many rows of each kind at most, and says how many it did."""
        store = subject.store
        fleet = Fleet(store)
        await fleet.create(Settings(retention=timedelta(hours=1)))
        await fleet.join(*"abcdef")
        for name in "abc":
            await fleet.leave(name)
        await subject.advance(3599.999999)
        await _pruned(store)  # what others left behind
        await subject.advance(0.000001)
        events, ended = len(await store.events(fleet.group_id)), 3
        assert events > 15
        first = await store.prune(4)
        assert events - len(await store.events(fleet.group_id)) <= 4
        assert 4 <= first <= 4 + ended
        total = first
        while deleted := await store.prune(4):
            assert deleted <= 4 + ended
            total += deleted
        assert total == events + ended
        assert await store.events(fleet.group_id) == []
