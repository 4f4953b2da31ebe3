"""Renewals: which leases they move, how far, and what they call for."""

from __future__ import annotations

from datetime import timedelta

import anyio
from attrs import evolve

from election_core import Configure, DrainRunner, Pulse, Settings
from election_testkit._fleet import Fleet
from election_testkit._subject import Subject
from election_testkit._suite import Suite

__all__ = ["Renewals"]

_LEASE = timedelta(seconds=15)


class Renewals(Suite):
    """What the port promises of `beat` to one session."""

    async def test_renewal_moves_both_leases(self, subject: Subject) -> None:
        """A renewal moves the session's lease, and its term's, to the store's time plus a lease."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        before = await fleet.load()
        await subject.advance(4)
        leads, stands_by = await fleet.renew("a"), await fleet.renew("b")

        assert leads.at == before.at + timedelta(seconds=4)
        assert leads.lease_expires_at == leads.term_expires_at == leads.at + _LEASE
        assert (stands_by.lease_expires_at, stands_by.term_expires_at) == (leads.at + _LEASE, None)
        assert (leads.held_epoch, stands_by.held_epoch, stands_by.group_epoch) == (1, None, 1)
        assert leads.margin == stands_by.margin == timedelta(seconds=11)
        assert not leads.due
        record = await fleet.record("a")
        assert (record.lease_expires_at, record.term_expires_at) == (leads.at + _LEASE,) * 2

    async def test_renewal_takes_no_part_in_compare_and_set(self, subject: Subject) -> None:
        """A renewal that revives nobody and changes no readiness leaves the revision alone."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        before = await fleet.load()
        for seq in range(5):
            await subject.advance(1)
            await fleet.renew("a", seq=seq, ready=True)
            await fleet.renew("b")

        after = await fleet.load()
        assert (after.revision, after.group) == (before.revision, before.group)
        assert not await fleet.due()

    async def test_slow_renewal_does_not_extend_trust(self, subject: Subject) -> None:
        """However long a renewal takes, what is answered is what its write left of the lease."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        answers: list[Pulse] = []

        async def renew() -> None:
            answers.append(await fleet.renew("a"))

        for steps in range(20):
            began = (await fleet.load()).at
            with anyio.fail_after(self.patience):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(renew)
                    for _ in range(steps):
                        await anyio.lowlevel.checkpoint()
                    await subject.advance(5)
            answer, record = answers[-1], await fleet.record("a")

            assert began <= answer.at <= began + timedelta(seconds=5)
            assert answer.lease_expires_at == answer.at + _LEASE == record.lease_expires_at
            assert answer.term_expires_at == record.term_expires_at == record.lease_expires_at

    async def test_renewal_shortens_no_lease(self, subject: Subject) -> None:
        """A lease that was made shorter applies once it does not end before what was told."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        told = await fleet.renew("a")
        await fleet.do(Configure(settings=Settings(lease=timedelta(seconds=5))))
        await subject.advance(1)
        soon = await fleet.renew("a")
        assert soon.lease_expires_at == soon.term_expires_at == told.lease_expires_at

        await subject.advance(10)
        late = await fleet.renew("a")
        assert late.lease_expires_at == late.term_expires_at == late.at + timedelta(seconds=5)

    async def test_older_renewal_changes_nothing(self, subject: Subject) -> None:
        """A renewal of a lower number than the last one counts for nothing, its readiness too."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        first = await fleet.renew("a", seq=5)
        await subject.advance(1)
        before = await fleet.load()
        late = await fleet.renew("a", seq=4, ready=False)

        assert late.lease_expires_at == late.term_expires_at == first.lease_expires_at
        assert not late.due
        assert await fleet.load() == before
        same = await fleet.renew("a", seq=5)
        assert same.lease_expires_at == same.at + _LEASE
        await subject.advance(1)
        unnumbered = await fleet.renew("a")
        assert unnumbered.lease_expires_at == unnumbered.at + _LEASE
        assert (await fleet.record("a")).seq == 5

    async def test_older_renewal_revives_nobody(self, subject: Subject) -> None:
        """A renewal that was overtaken does not bring a session back whose lease is over."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.renew("a", seq=2)
        await subject.advance(20)
        before = await fleet.load()
        late = await fleet.renew("a", seq=1)

        assert late.lease_expires_at < late.at
        assert not late.due
        assert await fleet.load() == before

    async def test_handover_deadline_ends_the_extension(self, subject: Subject) -> None:
        """From the deadline on a leader's session is renewed, and its term is not."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        drain = DrainRunner(runner_id=fleet.runner("a"), timeout=timedelta(seconds=5))
        deadline = (await fleet.do(drain)).before.at + timedelta(seconds=5)
        await subject.advance(4.999999)
        last = await fleet.renew("a")
        assert last.step_down_at == deadline
        assert last.term_expires_at == last.lease_expires_at == last.at + _LEASE
        for _ in range(2):
            await subject.advance(0.000001)
            pulse = await fleet.renew("a")
            assert pulse.term_expires_at == last.term_expires_at
            assert pulse.lease_expires_at == pulse.at + _LEASE
            assert pulse.held_epoch == 1

    async def test_revival_resumes_the_term(self, subject: Subject) -> None:
        """A session that lapsed and beats holds its term still, if nothing was decided since."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        before = await fleet.record("a")
        await subject.advance(15)
        pulse = await fleet.renew("a")

        assert (pulse.held_epoch, pulse.margin) == (1, timedelta())
        assert pulse.lease_expires_at == pulse.term_expires_at == pulse.at + _LEASE
        record = await fleet.record("a")
        assert before.healthy_since < record.healthy_since == pulse.at
        assert evolve(record, healthy_since=before.healthy_since) == evolve(
            before,
            lease_expires_at=pulse.lease_expires_at,
            term_expires_at=pulse.term_expires_at,
        )

    async def test_revival_makes_the_group_due(self, subject: Subject) -> None:
        """A group is to be decided when a session of it revives, whose ever it is."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.leave("a")
        await fleet.do(DrainRunner(runner_id=fleet.runner("a")))
        await fleet.join("b")
        await subject.advance(20)
        await fleet.decide()
        assert (await fleet.leader(), await fleet.due()) == (None, False)
        pulse = await fleet.renew("b")

        assert pulse.due
        assert pulse.margin == timedelta(seconds=-5)
        assert await fleet.due()
        assert not (await fleet.renew("b")).due
        await fleet.decide()
        assert (await fleet.leader(), await fleet.due()) == ("b", False)

    async def test_change_of_readiness_makes_the_group_due(self, subject: Subject) -> None:
        """Turning unready or ready is decided about, and only turning ready starts health anew."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        opened = await fleet.record("b")
        for ready in (False, True):
            await subject.advance(1)
            pulse = await fleet.renew("b", ready=ready)
            assert pulse.due
            assert await fleet.due()
            record = await fleet.record("b")
            assert record.ready is ready
            assert record.healthy_since == (pulse.at if ready else opened.healthy_since)
            await fleet.decide()
            assert not await fleet.due()
            for same in (ready, None):
                assert not (await fleet.renew("b", ready=same)).due
            assert not await fleet.due()
            assert await fleet.record("b") == record

    async def test_who_leads_is_told_while_its_lease_lasts(self, subject: Subject) -> None:
        """Who stands by is told of a leader, and of none once that one's lease is over."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        assert (await fleet.renew("b")).leader_runner_id == fleet.runner("a")
        await subject.advance(15)
        assert (await fleet.pulse("b")).leader_runner_id is None
        assert (await fleet.renew("b")).leader_runner_id is None
        await fleet.beat("a")
        assert (await fleet.pulse("b")).leader_runner_id == fleet.runner("a")

    async def test_pulse_renews_nothing(self, subject: Subject) -> None:
        """A look at a session tells what its last renewal left, and leaves it so."""
        fleet = Fleet(subject.store)
        await fleet.create(Settings(heartbeat=timedelta(seconds=2)))
        await fleet.join("a", "b")
        renewed = await fleet.renew("a", seq=1)
        assert await fleet.pulse("a") == evolve(renewed, margin=None)
        assert renewed.heartbeat == timedelta(seconds=2)
        before = await fleet.load()
        await subject.advance(20)

        pulse = await fleet.pulse("a")
        assert pulse == evolve(renewed, margin=None, at=pulse.at, leader_runner_id=None)
        assert (await fleet.load()).runners == before.runners
