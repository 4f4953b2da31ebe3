"""Refused claims, in the order of the HTTP contract."""

from __future__ import annotations

import pytest

from election_core import (
    DrainRunner,
    JobState,
    LeaseExpired,
    NotFound,
    NotLeader,
    SessionEnded,
    SessionSuperseded,
    StaleEpoch,
    SteppingDown,
)
from election_testkit._claims import job_names
from election_testkit._fleet import Fleet
from election_testkit._subject import Subject
from election_testkit._suite import Suite

__all__ = ["Refusals"]


class Refusals(Suite):
    """Who claims nothing, and what it is told."""

    async def test_stranger_is_not_found(self, subject: Subject) -> None:
        """A runner that does not exist, and of which no session is remembered, is not found."""
        fleet = Fleet(subject.store)
        await fleet.create()
        with pytest.raises(NotFound):
            await fleet.claim("nobody", session_id="none")

    async def test_superseded_session_claims_nothing(self, subject: Subject) -> None:
        """A session that was superseded is told so, before anything else is looked at."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.enqueue("x")
        await fleet.enqueue("mine", runner="a")
        await fleet.reopen("a")
        for epoch in (1, 2, 9, None):
            with pytest.raises(SessionSuperseded):
                await fleet.claim("a", session_id=fleet.session("a", 1), epoch=epoch)
        assert (await fleet.look("x")).attempts == (await fleet.look("mine")).attempts == 0

    async def test_ended_session_claims_nothing(self, subject: Subject) -> None:
        """A session that left, was deleted with its runner or never was is told so."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b", "c")
        await fleet.enqueue("mine", runner="a")
        await fleet.leave("a")
        await fleet.do(fleet.deleting("b"))
        for name, session_id in (
            ("a", fleet.session("a")),
            ("b", fleet.session("b")),
            ("c", "never"),
        ):
            for epoch in (1, 9, None):
                with pytest.raises(SessionEnded):
                    await fleet.claim(name, session_id=session_id, epoch=epoch)

    async def test_stale_epoch_claims_nothing(self, subject: Subject) -> None:
        """An epoch that is not the current one is refused with the one that is, whoever asks."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.enqueue("x")
        await fleet.release("a")
        assert await fleet.epoch() == 2
        for seconds in (1, 20):  # at last the lease is over too, and that comes later
            await subject.advance(seconds)
            for name in ("a", "b"):
                for epoch in (1, 3):
                    with pytest.raises(StaleEpoch) as refused:
                        await fleet.claim(name, epoch=epoch)
                    assert refused.value.facts["current_epoch"] == 2
        assert (await fleet.look("x")).state is JobState.QUEUED

    async def test_standby_claims_nothing_of_the_group(self, subject: Subject) -> None:
        """Only the session that holds the epoch claims under it; others hear who leads."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.enqueue("x")
        with pytest.raises(NotLeader):
            await fleet.claim("b")
        await subject.advance(20)  # the lease is over too, and that comes later
        with pytest.raises(NotLeader) as refused:
            await fleet.claim("b")

        assert refused.value.facts["leader_runner_id"] == fleet.runner("a")
        assert (await fleet.look("x")).state is JobState.QUEUED

    async def test_vacant_epoch_claims_nothing(self, subject: Subject) -> None:
        """Once its holder gave it up, an epoch is nobody's, though no other has begun."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.enqueue("x")
        await fleet.do(DrainRunner(runner_id=fleet.runner("a")))
        await fleet.release("a")
        assert await fleet.leader() is None
        with pytest.raises(NotLeader):
            await fleet.claim("a", epoch=await fleet.epoch())

    async def test_lease_that_is_over_claims_nothing(self, subject: Subject) -> None:
        """From the end of its lease on a leader claims nothing, until it renews."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.enqueue("x")
        await fleet.enqueue("mine", runner="a")
        await subject.advance(15)
        for epoch in (1, None):
            with pytest.raises(LeaseExpired):
                await fleet.claim("a", epoch=epoch)
        assert (await fleet.look("x")).attempts == (await fleet.look("mine")).attempts == 0
        await fleet.beat("a")

        assert job_names(fleet, await fleet.claim("a", limit=2)) == ["x", "mine"]

    async def test_who_steps_down_claims_nothing_of_the_group(self, subject: Subject) -> None:
        """A leader that hands over claims no more of the group's jobs, only its own."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.enqueue("x")
        await fleet.enqueue("mine", runner="a")
        await fleet.do(DrainRunner(runner_id=fleet.runner("a")))
        assert await fleet.leader() == "a"
        with pytest.raises(SteppingDown):
            await fleet.claim("a")

        assert job_names(fleet, await fleet.claim("a", epoch=None, limit=2)) == ["mine"]
        assert (await fleet.look("x")).state is JobState.QUEUED
