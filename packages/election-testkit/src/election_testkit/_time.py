"""Time: the store's own, which never goes back, and what is marked of the electors'."""

from __future__ import annotations

from datetime import datetime, timedelta

import anyio

from election_core import LONGEST_LEASE, Mark, NewTaint, Outage, PinLeader, TaintRunner
from election_testkit._fleet import Fleet
from election_testkit._subject import Ability, Subject
from election_testkit._suite import Suite

__all__ = ["StoreTime"]

_TICK = timedelta(seconds=1)


async def _times(fleet: Fleet) -> list[datetime | None]:
    """The time that each call tells, one after the other."""
    store = fleet.store
    return [
        (await fleet.load()).at,
        (await store.due(0)).at,
        (await fleet.renew("a")).at,
        (await fleet.pulse("a")).at,
        (await fleet.commit(await fleet.plan(TaintRunner(runner_id=fleet.runner("b"))))).at,
        (await store.mark(timedelta(days=365))).at,
        (await fleet.claim("a")).at,
        (await store.due(1)).at,
    ]


class StoreTime(Suite):
    """What the port promises of time, and of `mark`."""

    async def test_time_never_goes_back(self, subject: Subject) -> None:
        """Each call sees the time of the one before or a later one, wherever clients' clocks go."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        times: list[datetime] = []
        for number, off in enumerate((0, 3600, -3600, 86400, -86400)):
            with subject.client_clock(off):
                await subject.advance(0.5)
                found = await _times(fleet)
            (at,) = set(found)
            assert at is not None
            times.append(at)
            assert at - times[0] == timedelta(seconds=0.5) * number

    async def test_time_outlives_reopening(self, subject: Subject) -> None:
        """A store that is opened again goes on from its time, whatever clock its client has."""
        self.need(Ability.REOPEN)
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        before = await fleet.renew("a")
        for off in (0, -3600):
            with subject.client_clock(off):
                fleet.store = await self.reopened(subject)
                assert (await fleet.load()).at >= before.at
                after = await fleet.pulse("a")
                assert after.lease_expires_at == before.lease_expires_at

    async def test_client_clock_changes_nothing(self, subject: Subject) -> None:
        """Whatever the client's wall clock says, a group lives as with a clock that is right."""
        lives = []
        for off in (0, 3600, -3600):
            with subject.client_clock(off):
                lives.append(await self._life(subject))
        assert lives == [lives[0]] * len(lives)

    async def _life(self, subject: Subject) -> list[object]:
        """What is told of a group from its creation to a failover, in seconds since the first."""
        fleet = Fleet(subject.store)
        at = (await fleet.create()).at
        told: list[object] = []

        def seconds(time: datetime | None) -> float | None:
            return None if time is None else (time - at).total_seconds()

        async def note() -> None:
            snapshot = await fleet.load()
            told.extend(seconds(runner.created_at) for runner in snapshot.runners)
            for name in ("a", "b"):
                pulse, record = await fleet.pulse(name), await fleet.record(name)
                times = (pulse.at, pulse.lease_expires_at, record.opened_at, record.healthy_since)
                told.append((pulse.held_epoch, *map(seconds, times)))
            told.append((await fleet.leader(), await fleet.due()))
            told.extend(
                (event.kind, seconds(event.at))
                for event in await fleet.store.events(fleet.group_id)
            )

        await fleet.join("a", "b")
        taint = NewTaint(ttl=timedelta(seconds=10))
        await fleet.do(TaintRunner(runner_id=fleet.runner("b"), taint=taint))
        await fleet.do(PinLeader(runner_id=fleet.runner("a"), ttl=timedelta(seconds=7)))
        for _ in range(3):
            await note()
            await subject.advance(6)
            await fleet.beat("b")
            if await fleet.due():
                await fleet.decide()
        await note()
        await fleet.enqueue("x")
        told.append((await fleet.claim("b", epoch=2)).items[0].job.epoch)
        return told

    # The mark.

    async def _settled(self, subject: Subject) -> Mark:
        """A mark of now, with outages of no other test."""
        for _ in range(10):
            mark = await subject.store.mark(_TICK)
            if not mark.outages:
                return mark
            await subject.store.mark(timedelta(days=365))
            await subject.advance(LONGEST_LEASE.total_seconds())
        raise AssertionError("outages are kept for ever")

    async def test_ticks_in_time_are_no_outage(self, subject: Subject) -> None:
        """A mark that is refreshed within three ticks notes nothing but its time."""
        mark = await self._settled(subject)
        for seconds in (0, 1, 3, 2.999999):
            await subject.advance(seconds)
            after = await subject.store.mark(_TICK)
            assert after == Mark(at=mark.at + timedelta(seconds=seconds), tick=_TICK)
            mark = after

    async def test_gap_is_an_outage(self, subject: Subject) -> None:
        """More than three ticks without a mark are an outage, from the last one until now."""
        mark = await self._settled(subject)
        await subject.advance(3.000001)
        first = await subject.store.mark(2 * _TICK)
        assert first.outages == (Outage(mark.at, first.at),)
        # It is the tick of the last mark that counts.
        await subject.advance(6)
        assert (await subject.store.mark(_TICK)).outages == first.outages
        await subject.advance(4)
        last = await subject.store.mark(_TICK)
        assert last.outages == (*first.outages, Outage(last.at - timedelta(seconds=4), last.at))

    async def test_outages_are_dropped_in_the_end(self, subject: Subject) -> None:
        """An outage is kept until its grace is over for the longest lease there can be."""
        await self._settled(subject)
        await subject.advance(60)
        mark = await subject.store.mark(timedelta(days=365))
        assert len(mark.outages) == 1
        await subject.advance(LONGEST_LEASE.total_seconds() - 0.000001)
        assert (await subject.store.mark(timedelta(days=365))).outages == mark.outages
        await subject.advance(0.000001)
        assert (await subject.store.mark(_TICK)).outages == ()

    async def test_mark_is_in_every_snapshot(self, subject: Subject) -> None:
        """A snapshot has the current mark, of a group that is older or younger than it."""
        older, younger = Fleet(subject.store), Fleet(subject.store)
        await older.create()
        await self._settled(subject)
        await subject.advance(10)
        mark = await subject.store.mark(_TICK)
        assert len(mark.outages) == 1
        assert (await older.load()).mark == mark
        await younger.create()
        now = (await younger.load()).mark
        assert now == (await older.load()).mark
        assert now.outages == mark.outages

    async def test_gap_is_noted_once(self, subject: Subject) -> None:
        """However many electors come back at the same time, an outage is noted once."""
        mark = await self._settled(subject)
        await subject.advance(10)
        found: list[Mark] = []

        async def refresh() -> None:
            found.append(await subject.store.mark(_TICK))

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(refresh)
        outage = Outage(mark.at, mark.at + timedelta(seconds=10))
        assert [after.outages for after in found] == [(outage,)] * 8
        assert (await subject.store.mark(_TICK)).outages == (outage,)

    async def test_mark_is_everybodys(self, subject: Subject) -> None:
        """A mark that another store object refreshed counts for this one."""
        self.need(Ability.SIBLING)
        other = await self.sibling(subject)
        fleet = Fleet(subject.store)
        await fleet.create()
        mark = await self._settled(subject)
        for store in (other, subject.store, other):
            await subject.advance(3)
            mark = Mark(at=mark.at + timedelta(seconds=3), tick=_TICK)
            assert await store.mark(_TICK) == mark
            assert (await fleet.load()).mark == mark
