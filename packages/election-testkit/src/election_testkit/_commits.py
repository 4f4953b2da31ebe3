"""Commits: compare-and-set, expectations, and answers that were lost."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import anyio
import pytest
from attrs import evolve

from election_core import (
    Conflict,
    Decide,
    DrainRunner,
    Live,
    OutcomeUnknown,
    Plan,
    TaintRunner,
    TermLease,
    Unavailable,
)
from election_testkit._faults import After, Before, FaultyStore
from election_testkit._fleet import Fleet, group_events
from election_testkit._subject import Subject
from election_testkit._suite import Suite

__all__ = ["Commits"]


class Commits(Suite):
    """What the port promises of `commit`."""

    async def test_one_winner_among_concurrent_commits(self, subject: Subject) -> None:
        """Of many commits planned from one revision exactly one is accepted, the rest conflict."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        plans = [
            await fleet.plan(DrainRunner(runner_id=fleet.runner("a"), reason=str(n)))
            for n in range(20)
        ]
        won = await self._race(fleet, plans)

        assert len(won) == 1
        after = await fleet.load()
        assert after.revision == plans[0].before.revision + 1
        drain = after.runners[0].drain
        assert drain is not None
        assert drain.reason == won[0]
        assert (await group_events(subject.store, fleet.group_id)).count("drained") == 1

    async def _race(self, fleet: Fleet, plans: list[Plan]) -> list[str]:
        """Commit them all at once; the numbers of those that were accepted."""
        won: list[str] = []

        async def commit(planned: Plan, number: int) -> None:
            try:
                await fleet.commit(planned)
            except Conflict:
                return
            won.append(str(number))

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for number, planned in enumerate(plans):
                    tasks.start_soon(commit, planned, number)
        return won

    async def test_stale_revision_conflicts_and_writes_nothing(self, subject: Subject) -> None:
        """A change planned from any other revision is refused, and the group stays as it was."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        planned = await fleet.plan(TaintRunner(runner_id=fleet.runner("a")))
        await fleet.do(DrainRunner(runner_id=fleet.runner("b")))
        before = await fleet.load()
        history = await group_events(subject.store, fleet.group_id)

        for revision in (planned.before.revision, 0, before.revision + 1):
            with pytest.raises(Conflict):
                await subject.store.commit(
                    planned.changes, expected_revision=revision, commit_id=f"late-{revision}"
                )
        assert await fleet.load() == before
        assert await group_events(subject.store, fleet.group_id) == history

    async def test_group_that_exists_is_not_created(self, subject: Subject) -> None:
        """Creating a group that is there is a conflict, its first revision is 1."""
        fleet = Fleet(subject.store)
        created = await fleet.create()
        assert created.revision == 1
        with pytest.raises(Conflict):
            await fleet.create()

    async def test_revision_rises_by_one(self, subject: Subject) -> None:
        """Each commit raises the revision by one and answers it with the store's time."""
        fleet = Fleet(subject.store)
        first = await fleet.create()
        await subject.advance(2)
        second = await fleet.commit(await fleet.plan(Decide()))

        assert second.revision == first.revision + 1 == (await fleet.load()).revision
        assert second.at - first.at == timedelta(seconds=2)

    async def test_repeated_commit_is_answered_again(self, subject: Subject) -> None:
        """The latest commit may be repeated: it is answered again and not applied twice."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        planned = await fleet.plan(DrainRunner(runner_id=fleet.runner("a")))
        first = await fleet.commit(planned, "once")
        await subject.advance(20)
        assert (await fleet.renew("a")).due  # a renewal that no commit may undo
        before = await fleet.load()
        history = await group_events(subject.store, fleet.group_id)

        assert await fleet.commit(planned, "once") == first
        assert await fleet.load() == before
        assert await group_events(subject.store, fleet.group_id) == history

    async def test_lost_answer_is_recognised_on_repeating(self, subject: Subject) -> None:
        """A commit that was applied with its answer lost is known when it is repeated."""
        store = FaultyStore(subject.store)
        fleet = Fleet(store)
        await fleet.create()
        await fleet.join("a")
        planned = await fleet.plan(DrainRunner(runner_id=fleet.runner("a")))
        store.plan("commit", After())
        with pytest.raises(OutcomeUnknown):
            await fleet.commit(planned, "lost")
        applied = await fleet.load()

        again = await fleet.commit(planned, "lost")

        assert again.revision == applied.revision == planned.before.revision + 1
        assert await fleet.load() == applied
        assert (await group_events(store, fleet.group_id)).count("drained") == 1

    async def test_failed_commit_may_be_repeated(self, subject: Subject) -> None:
        """A commit that was lost before it took effect is applied when it is repeated."""
        store = FaultyStore(subject.store)
        fleet = Fleet(store)
        await fleet.create()
        await fleet.join("a")
        planned = await fleet.plan(DrainRunner(runner_id=fleet.runner("a")))
        store.plan("commit", Before())
        with pytest.raises(Unavailable):
            await fleet.commit(planned, "lost")
        assert (await fleet.load()).revision == planned.before.revision

        again = await fleet.commit(planned, "lost")

        assert again.revision == planned.before.revision + 1
        assert (await fleet.load()).runners[0].drain is not None

    async def test_renewal_in_between_saves_the_leader(self, subject: Subject) -> None:
        """A leader that renews between the decision to depose it and its commit is not deposed."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await subject.advance(14)
        await fleet.beat("b")
        await subject.advance(2)
        planned = await fleet.plan(Decide())
        assert planned.after.group.epoch == 2
        assert any(isinstance(expected, TermLease) for expected in planned.changes.expects)
        await fleet.beat("a")
        revision = (await fleet.load()).revision

        with pytest.raises(Conflict):
            await subject.store.commit(
                planned.changes, expected_revision=revision, commit_id="depose"
            )
        assert (await fleet.leader(), await fleet.epoch()) == ("a", 1)

    async def test_barrier_covers_a_renewal_in_between(self, subject: Subject) -> None:
        """A term that ends by force is planned anew if its lease grew since."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await subject.advance(1)
        planned = await fleet.plan(fleet.deleting("a"))
        await fleet.beat("a")

        with pytest.raises(Conflict):
            await fleet.commit(planned)
        assert await fleet.leader() == "a"

    async def test_winner_that_fell_silent_is_not_granted(self, subject: Subject) -> None:
        """A runner whose lease ran out between the decision and its commit does not lead."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        planned = await fleet.plan(fleet.releasing("a", 1))
        assert Live(fleet.runner("b"), fleet.session("b")) in planned.changes.expects
        before = await fleet.load()
        await subject.advance(15)

        with pytest.raises(Conflict):
            await fleet.commit(planned)
        after = await fleet.load()
        assert (after.group, after.runners) == (before.group, before.runners)

    async def test_winner_that_is_not_ready_is_not_granted(self, subject: Subject) -> None:
        """A runner that reported not ready between the decision and its commit does not lead."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        planned = await fleet.plan(fleet.releasing("a", 1))
        await fleet.renew("b", ready=False)
        revision = (await fleet.load()).revision

        with pytest.raises(Conflict):
            await subject.store.commit(planned.changes, expected_revision=revision, commit_id="x")
        assert await fleet.leader() == "a"

    async def test_winner_of_another_session_is_not_granted(self, subject: Subject) -> None:
        """A session that is not its runner's does not lead, however live its runner is."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        planned = await fleet.plan(fleet.releasing("a", 1))
        for runner_id, session_id in (("b", fleet.session("a")), ("nobody", fleet.session("b"))):
            changes = evolve(planned.changes, expects=(Live(fleet.runner(runner_id), session_id),))
            with pytest.raises(Conflict):
                await subject.store.commit(
                    changes, expected_revision=planned.before.revision, commit_id="x"
                )
        assert await fleet.leader() == "a"

    async def test_grant_takes_the_lease_of_the_row(self, subject: Subject) -> None:
        """A winner that renewed after the decision holds its term as long as its lease."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        planned = await fleet.plan(fleet.releasing("a", 1))
        version = (await fleet.pulse("b")).standing_version
        await subject.advance(5)
        await fleet.beat("b")
        await fleet.commit(planned)

        pulse = await fleet.pulse("b")
        assert pulse.held_epoch == 2
        assert pulse.term_expires_at == pulse.lease_expires_at
        assert pulse.lease_expires_at == planned.before.at + timedelta(seconds=20)
        assert pulse.standing_version == version + 1
        old = await fleet.pulse("a")
        assert (old.held_epoch, old.term_expires_at) == (None, None)

    async def test_commit_keeps_what_renewals_own(self, subject: Subject) -> None:
        """A commit that had not seen a renewal writes nothing of its lease, number or readiness."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        planned = await fleet.plan(TaintRunner(runner_id=fleet.runner("b")))
        await subject.advance(1)
        await fleet.renew("b", seq=7)
        renewed = await fleet.record("b")
        await fleet.commit(planned)

        assert await fleet.record("b") == renewed
        assert (await fleet.load()).runners[1].taints != ()

    async def test_due_mark_outlives_a_commit(self, subject: Subject) -> None:
        """A commit that had not seen a renewal which made its group due does not undo that."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        planned = await fleet.plan(Decide())
        await subject.advance(1)
        assert (await fleet.renew("b", ready=False)).due
        with contextlib.suppress(Conflict):
            await fleet.commit(planned)
        assert await fleet.due()
