"""What is due: which groups have to be decided, in which order, and by whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import anyio

from election_core import DeleteGroup, DrainRunner, NewTaint, Settings, TaintRunner
from election_core.ports import Due
from election_testkit._fleet import Fleet
from election_testkit._subject import Ability, FullStore, Subject
from election_testkit._suite import Suite

__all__ = ["DueGroups"]

_ALL = 1_000_000
_TICK = timedelta(seconds=1)
_HOLD = timedelta(seconds=5)


async def _of(
    store: FullStore, fleets: Sequence[Fleet], *, hold: timedelta = timedelta()
) -> list[Fleet]:
    """Those of these groups that are due, in the order in which they are answered."""
    mine = {fleet.group_id: fleet for fleet in fleets}
    group_ids = (await store.due(_ALL, hold=hold)).group_ids
    assert len(group_ids) == len(set(group_ids))
    return [mine[group_id] for group_id in group_ids if group_id in mine]


class DueGroups(Suite):
    """What the port promises of `due`."""

    async def test_longest_due_comes_first(self, subject: Subject) -> None:
        """Groups come in the order of their times, as many as are asked for."""
        late, early, middle = fleets = [Fleet(subject.store) for _ in range(3)]
        for each, seconds in zip(fleets, (9, 3, 6), strict=True):
            await each.create(Settings(lease=timedelta(seconds=seconds)))
            await each.join("a")
        assert await _of(subject.store, fleets) == []
        await subject.advance(6)
        assert await _of(subject.store, fleets) == [early, middle]
        await subject.advance(60)
        assert await _of(subject.store, fleets) == [early, middle, late]

        everything = (await subject.store.due(_ALL)).group_ids
        for limit in (1, 2, len(everything)):
            assert (await subject.store.due(limit)).group_ids == everything[:limit]

    async def test_no_groups_are_asked_for_the_time(self, subject: Subject) -> None:
        """With a limit of 0 the time is told, and no group, nor is one held."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await subject.advance(20)
        due = await subject.store.due(0, hold=_HOLD)
        assert (due.group_ids, due.at) == ((), (await fleet.load()).at)
        assert await fleet.due()

    async def test_leader_whose_lease_is_over_is_due(self, subject: Subject) -> None:
        """A group is due from the very end of its term's lease on, which renewals put off."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await subject.advance(10)
        await fleet.beat("a", "b")
        await subject.advance(14.999999)
        assert not await fleet.due()
        await subject.advance(0.000001)
        assert await fleet.due()
        await fleet.beat("b")
        await fleet.decide()
        assert (await fleet.leader(), await fleet.due()) == ("b", False)

    async def test_standby_whose_lease_is_over_is_not_due(self, subject: Subject) -> None:
        """Nothing is to be decided when a runner falls silent that does not lead."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        for _ in range(4):
            await subject.advance(5)
            await fleet.beat("a")
        assert not await fleet.due()

    async def test_decided_group_is_not_due_again(self, subject: Subject) -> None:
        """A silent leader about whom was decided is not due at every tick, only in the end."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await subject.store.mark(_TICK)
        await subject.advance(20)
        await subject.store.mark(timedelta(hours=1))  # an outage, so the leader has grace
        assert await fleet.due()
        await fleet.decide()
        assert (await fleet.leader(), await fleet.due()) == ("a", False)
        await subject.advance(14.999999)
        assert not await fleet.due()
        await subject.advance(0.000001)
        assert await fleet.due()
        await fleet.decide()
        assert (await fleet.leader(), await fleet.due()) == (None, False)

    async def test_due_when_it_is_time_to_look_again(self, subject: Subject) -> None:
        """A group is due when a decision said so: here when a taint ends, and not before."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.do(DrainRunner(runner_id=await self._registered(fleet, "a")))
        taint = NewTaint(ttl=timedelta(seconds=5))
        await fleet.join("b")
        await fleet.do(TaintRunner(runner_id=fleet.runner("b"), taint=taint))
        await fleet.leave("b")
        await fleet.reopen("b")
        assert await fleet.leader() is None
        await subject.advance(4.999999)
        assert not await fleet.due()
        await subject.advance(0.000001)
        assert await fleet.due()
        await fleet.decide()
        assert (await fleet.leader(), await fleet.due()) == ("b", False)

    async def _registered(self, fleet: Fleet, name: str) -> str:
        await fleet.join(name)
        await fleet.leave(name)
        return fleet.runner(name)

    async def test_next_time_is_known(self, subject: Subject) -> None:
        """While nothing is due it is told when something will be, a term's end included."""
        fleet = Fleet(subject.store)
        await fleet.create(Settings(lease=timedelta(seconds=1)))
        await fleet.join("a")
        ends = (await fleet.pulse("a")).term_expires_at
        assert ends is not None
        for _ in range(3):
            await subject.advance(0.3)
            due = await subject.store.due(1)
            assert due.next_at is not None
            assert due.at < due.next_at <= ends
        await fleet.beat("a")
        await subject.advance(0.2)
        assert not await fleet.due()
        due = await subject.store.due(1)
        assert due.next_at is not None
        assert due.at < due.next_at <= ends + timedelta(seconds=0.9)

    async def test_deleted_group_is_never_due(self, subject: Subject) -> None:
        """The remains of a group need no decision, not at the end of the barrier either."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await subject.advance(20)
        await fleet.renew("a")
        assert await fleet.due()
        await fleet.do(DeleteGroup(force=True))
        for seconds in (0, 14, 1, 3600):
            await subject.advance(seconds)
            assert not await fleet.due()

    # Holding.

    async def _both_due(self, subject: Subject) -> list[Fleet]:
        """Two groups that are due, the first for longer."""
        fleets = [Fleet(subject.store) for _ in range(2)]
        for each in fleets:
            await subject.advance(0.000001)
            await each.create()
            await each.join("a", "b")
            await each.renew("b", ready=False)
        return fleets

    async def test_held_group_is_answered_once(self, subject: Subject) -> None:
        """Who is answered a group with a hold has it alone, until the hold is over."""
        fleets = await self._both_due(subject)
        assert await _of(subject.store, fleets, hold=_HOLD) == fleets
        assert await _of(subject.store, fleets) == []
        await subject.advance(4.999999)
        assert await _of(subject.store, fleets, hold=_HOLD) == []
        await subject.advance(0.000001)
        assert await _of(subject.store, fleets) == fleets

    async def test_nothing_is_held_without_a_hold(self, subject: Subject) -> None:
        """Who asks without a hold takes nothing from anybody."""
        fleets = await self._both_due(subject)
        for _ in range(2):
            assert await _of(subject.store, fleets) == fleets

    async def test_only_what_is_answered_is_held(self, subject: Subject) -> None:
        """What was beyond the limit of a call that holds is left to others."""
        fleets = await self._both_due(subject)
        held: list[str] = []
        while not {each.group_id for each in fleets} & set(held):
            before = (await subject.store.due(_ALL)).group_ids
            held = list((await subject.store.due(1, hold=_HOLD)).group_ids)
            assert held == list(before[:1])
            assert (await subject.store.due(_ALL)).group_ids == before[1:]

    async def test_hold_ends_with_the_revision(self, subject: Subject) -> None:
        """A group that was held and changed is due again when its time comes, hold or not."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        for seconds in (5, 6):
            taint = NewTaint(key=str(seconds), ttl=timedelta(seconds=seconds))
            await fleet.do(TaintRunner(runner_id=fleet.runner("b"), taint=taint))
        await subject.advance(5)
        await fleet.beat("a", "b")
        assert await _of(subject.store, [fleet], hold=timedelta(seconds=60)) == [fleet]
        assert not await fleet.due()
        await fleet.decide()
        assert not await fleet.due()
        await subject.advance(1)
        assert await fleet.due()

    async def test_next_time_counts_the_end_of_a_hold(self, subject: Subject) -> None:
        """Who finds a group held is told to come again no later than when its hold ends."""
        fleets = await self._both_due(subject)
        await _of(subject.store, fleets, hold=timedelta(seconds=0.5))
        due = await subject.store.due(1)
        assert due.next_at is not None
        assert due.next_at <= due.at + timedelta(seconds=0.5)

    async def test_concurrent_calls_share_what_is_due(self, subject: Subject) -> None:
        """However many ask at once with a hold, each group is answered to one of them."""
        await self._share(subject, [subject.store] * 6)

    async def test_hold_holds_for_other_objects_too(self, subject: Subject) -> None:
        """What is held by one store object is answered by no other one over the data."""
        self.need(Ability.SIBLING)
        await self._share(subject, [subject.store, await self.sibling(subject)] * 3)

    async def _share(self, subject: Subject, stores: Sequence[FullStore]) -> None:
        fleets = await self._both_due(subject) + await self._both_due(subject)
        found: list[Due] = []

        async def ask(store: FullStore) -> None:
            found.append(await store.due(_ALL, hold=_HOLD))

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for store in stores:
                    tasks.start_soon(ask, store)
        answered = Counter(group_id for due in found for group_id in due.group_ids)
        assert [answered[each.group_id] for each in fleets] == [1] * len(fleets)
        for store in stores:
            assert await _of(store, fleets) == []
