"""Epochs: that no number is granted twice, and that nothing is forgotten."""

from __future__ import annotations

from datetime import timedelta

from election_core import DeleteGroup, Kind
from election_testkit._fleet import Fleet, group_events
from election_testkit._subject import Ability, Subject
from election_testkit._suite import Suite

__all__ = ["Epochs"]


class Epochs(Suite):
    """What the port promises of epochs and barriers, whatever happens to their group."""

    async def test_each_grant_is_a_new_epoch(self, subject: Subject) -> None:
        """Released, left, silent, superseded or deleted: whoever follows has the next epoch."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        found = [(await fleet.leader(), await fleet.epoch())]

        async def note() -> None:
            found.append((await fleet.leader(), await fleet.epoch()))

        await fleet.release("a")
        await note()
        await fleet.leave("b")
        await note()
        await subject.advance(14)
        await fleet.reopen("b")
        await subject.advance(2)
        await fleet.decide()
        await note()
        await fleet.reopen("b", previous=fleet.session("b"))
        await note()
        await fleet.beat("a")
        await fleet.do(fleet.deleting("b"))
        await subject.advance(14)
        await fleet.beat("a")
        await note()
        await subject.advance(1)
        await fleet.decide()
        await note()

        assert found == [("a", 1), ("b", 2), ("a", 3), ("b", 4), ("b", 5), (None, 5), ("a", 6)]

    async def test_epoch_rises_for_the_same_runner_too(self, subject: Subject) -> None:
        """A runner that gives its epoch up and is elected again leads under another."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        for epoch in range(2, 5):
            await fleet.release("a")
            assert await fleet.epoch() == (await fleet.pulse("a")).held_epoch == epoch

    async def test_epoch_outlives_a_vacancy(self, subject: Subject) -> None:
        """A group that was without a leader goes on from its last epoch."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.leave("a")
        group = (await fleet.load()).group
        assert (group.term, group.epoch, group.ended) == (None, 1, Kind.LEFT)
        await subject.advance(3600)
        await fleet.decide()
        assert await fleet.epoch() == 1

        await fleet.reopen("a")
        assert (await fleet.pulse("a")).held_epoch == 2

    async def test_epoch_outlives_deletion(self, subject: Subject) -> None:
        """A group that is deleted and created again goes on from its last epoch, each time."""
        fleet = Fleet(subject.store)
        await fleet.create()
        for number in range(1, 4):
            name = f"runner-{number}"
            await fleet.join(name)
            assert (await fleet.pulse(name)).held_epoch == number
            await fleet.leave(name)
            await fleet.do(DeleteGroup())
            assert await fleet.epoch() == number
            await fleet.create_again()
            assert await fleet.epoch() == number

    async def test_barrier_outlives_deletion(self, subject: Subject) -> None:
        """Whoever led when a group was deleted by force may trust its lease, so all others wait."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.do(DeleteGroup(force=True))
        await subject.advance(1)
        await fleet.create_again()
        await fleet.join("b")
        assert (await fleet.load()).group.grant_not_before is not None
        await subject.advance(13)
        await fleet.beat("b")
        await fleet.decide()
        assert (await fleet.leader(), await fleet.epoch()) == (None, 1)

        await subject.advance(1)
        await fleet.decide()
        assert (await fleet.leader(), await fleet.epoch()) == ("b", 2)

    async def test_epoch_outlives_reopening(self, subject: Subject) -> None:
        """A store that is opened again knows each epoch, that of a deleted group too."""
        self.need(Ability.REOPEN)
        fleet, vacant, deleted = (Fleet(subject.store) for _ in range(3))
        for each in (fleet, vacant, deleted):
            await each.create()
            await each.join("a")
            await each.release("a")
        await vacant.leave("a")
        await deleted.leave("a")
        await deleted.do(DeleteGroup())
        store = await self.reopened(subject)
        for each in (fleet, vacant, deleted):
            each.store = store
            assert await each.epoch() == 2
        await deleted.create_again()

        await fleet.release("a")
        await vacant.reopen("a")
        await deleted.join("b")
        for each, name in ((fleet, "a"), (vacant, "a"), (deleted, "b")):
            assert (await each.pulse(name)).held_epoch == 3

    async def test_reopened_store_holds_all(self, subject: Subject) -> None:
        """A store that is opened again has what was committed, and renews nobody by itself."""
        self.need(Ability.REOPEN)
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.release("a")
        await fleet.reopen("a")
        ended = await fleet.store.ended_session(fleet.runner("a"), session_id=fleet.session("a", 1))
        assert ended is not None
        await subject.advance(1)
        await fleet.renew("b", seq=3)
        await subject.advance(14)
        before, history = await fleet.load(), await group_events(fleet.store, fleet.group_id)

        store = fleet.store = await self.reopened(subject)

        after = await fleet.load()
        assert (after.group, after.runners) == (before.group, before.runners)
        assert (after.revision, after.mark) == (before.revision, before.mark)
        assert await group_events(store, fleet.group_id) == history
        assert ended == await store.ended_session(fleet.runner("a"), key=ended.key)
        pulse = await fleet.renew("b", seq=2)
        assert pulse.lease_expires_at == before.at + timedelta(seconds=1)
        pulse = await fleet.renew("b", seq=3)
        assert pulse.lease_expires_at == pulse.at + timedelta(seconds=15)
        assert pulse.held_epoch == 2
