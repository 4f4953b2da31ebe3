"""Calls that are cancelled, and more calls than there are connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio

from election_core import (
    DrainRunner,
    Pulse,
    Settings,
    TaintRunner,
    Undrain,
    create_group,
)
from election_core.ports import Beat
from election_testkit._cancellation import everywhere
from election_testkit._fleet import Fleet, fresh, group_events
from election_testkit._subject import Ability, FullStore, Subject
from election_testkit._suite import Suite

__all__ = ["Interrupted"]

_TICK = timedelta(days=365)
_HOLD = timedelta(seconds=5)


class Interrupted(Suite):
    """What the port promises of callers that do not wait for the end, and of many at once."""

    async def _stores(self, subject: Subject) -> list[FullStore]:
        """All through which it shows that a lock was left behind."""
        if Ability.SIBLING in self.lacks:
            return [subject.store]
        return [subject.store, await self.sibling(subject)]

    async def _goes_on(self, fleet: Fleet, stores: list[FullStore]) -> None:
        """Renew, change and mark through every store object, as if nothing had been."""
        for store in stores:
            other = Fleet(store, group_id=fleet.group_id)
            other.opened = fleet.opened
            await other.renew("a")
            await other.do(TaintRunner(runner_id=fleet.runner("b")))
            await store.mark(_TICK)

    async def test_cancelled_commit_was_made_or_not(self, subject: Subject) -> None:
        """Wherever a commit is cancelled, all of it was written or nothing, and all goes on."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        stores, commits = await self._stores(subject), 0
        for cancel in everywhere():
            commits += 1
            reason = str(commits)
            planned = await fleet.plan(DrainRunner(runner_id=fleet.runner("b"), reason=reason))
            history = len(await group_events(subject.store, fleet.group_id))
            with anyio.fail_after(self.patience):
                await cancel(fleet.commit(planned, reason))
                found = await fleet.load()
                made = found.revision - planned.before.revision
                assert made in (0, 1)
                assert found.runners == (planned.after if made else planned.before).runners
                written = len(await group_events(subject.store, fleet.group_id)) - history
                assert written == made * len(planned.changes.events)
                again = await fleet.commit(planned, reason)
                assert again.revision == planned.before.revision + 1
                await fleet.do(Undrain(runner_id=fleet.runner("b")))
                await self._goes_on(fleet, stores)
        told = await group_events(subject.store, fleet.group_id)
        assert told.count("drained") == told.count("undrained") == commits

    async def test_cancelled_creation_was_made_or_not(self, subject: Subject) -> None:
        """Wherever the creation of a group is cancelled, it may be repeated and counts once."""
        for cancel in everywhere():
            fleet = Fleet(subject.store)
            at = (await subject.store.due(0)).at
            changes = create_group(fleet.group_id, Settings(), at=at)
            with anyio.fail_after(self.patience):
                await cancel(
                    subject.store.commit(changes, expected_revision=0, commit_id=fleet.group_id)
                )
                again = await subject.store.commit(
                    changes, expected_revision=0, commit_id=fleet.group_id
                )
                assert again.revision == 1
                assert await group_events(subject.store, fleet.group_id) == ["group-created"]

    async def test_cancelled_renewal_was_made_or_not(self, subject: Subject) -> None:
        """Wherever renewals are cancelled, all of a group's were written or none, wholly."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        stores = await self._stores(subject)
        for seq, cancel in enumerate(everywhere(), 1):
            await subject.advance(1)
            before = [await fleet.record(name) for name in ("a", "b")]
            at = (await fleet.load()).at
            beats = [
                Beat(runner_id=fleet.runner(name), session_id=fleet.session(name), seq=seq)
                for name in ("a", "b")
            ]
            with anyio.fail_after(self.patience):
                await cancel(subject.store.beat(beats))
                after = [await fleet.record(name) for name in ("a", "b")]
                made = [record.seq == seq for record in after]
                assert made in ([True, True], [False, False])
                if made[0]:
                    ends = at + timedelta(seconds=15)
                    assert [record.lease_expires_at for record in after] == [ends, ends]
                    assert after[0].term_expires_at == ends
                else:
                    assert after == before
                answers = await subject.store.beat(beats)
                assert all(isinstance(answer, Pulse) for answer in answers)
                await self._goes_on(fleet, stores)

    async def test_cancelled_hold_was_made_or_not(self, subject: Subject) -> None:
        """Wherever a call for what is due is cancelled, its group is due again after the hold."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        stores = await self._stores(subject)
        for cancel in everywhere():
            await fleet.renew("b", ready=False)
            assert await fleet.due()
            with anyio.fail_after(self.patience):
                await cancel(subject.store.due(1_000_000, hold=_HOLD))
                await subject.advance(_HOLD.total_seconds())
                assert await fleet.due()
                await fleet.renew("b", ready=True)
                await fleet.decide()
                assert not await fleet.due()
                await self._goes_on(fleet, stores)

    async def test_cancelled_calls_leave_no_lock(self, subject: Subject) -> None:
        """Wherever any other call is cancelled, all goes on at once, through all store objects."""
        fleet, store = Fleet(subject.store), subject.store
        await fleet.create()
        await fleet.join("a", "b")
        stores = await self._stores(subject)
        calls: list[Callable[[], Awaitable[object]]] = [
            fleet.load,
            lambda: store.mark(_TICK),
            lambda: store.pulse(fleet.runner("a"), fleet.session("a")),
            lambda: store.find_runner(fleet.runner("a")),
            lambda: store.groups(limit=1),
            lambda: store.runners(fleet.group_id),
            lambda: store.events(fleet.group_id),
            store.census,
            store.prune,
            store.ready,
        ]
        for call in calls:
            with anyio.fail_after(self.patience):
                for cancel in everywhere():
                    await cancel(call())
                await self._goes_on(fleet, stores)

    async def test_more_calls_than_connections(self, subject: Subject) -> None:
        """However many calls are made at once, each is answered, renewals among them."""
        fleets = [Fleet(subject.store) for _ in range(4)]
        for each in fleets:
            await each.create()
            await each.join("a", "b")
        answered = 0

        async def ask(number: int) -> None:
            nonlocal answered
            fleet = fleets[number % len(fleets)]
            match number // len(fleets) % 5:
                case 0:
                    assert await fleet.leader() == "a"
                case 1:
                    assert (await fleet.renew("a")).held_epoch == 1
                case 2:
                    await Fleet(subject.store).create()
                case 3:
                    await fleet.enqueue(fresh("job"))
                case _:
                    await subject.store.due(1, hold=timedelta(milliseconds=1))
            answered += 1

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for number in range(self.many_calls):
                    tasks.start_soon(ask, number)
        assert answered == self.many_calls
        for each in fleets:
            await each.release("a")
            assert await each.leader() == "b"

    async def test_ready_store_says_so(self, subject: Subject) -> None:
        """A store that answers, with the schema of its version, is ready."""
        await subject.store.ready()
