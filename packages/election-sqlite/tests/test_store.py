"""Groups, sessions and time in the store: what the port promises of each method."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from attrs import evolve

from election_core import (
    Conflict,
    CursorExpired,
    Decide,
    DeleteGroup,
    DeleteRunner,
    DrainRunner,
    Ended,
    JobState,
    Leave,
    Live,
    Mark,
    NotFound,
    Outage,
    Pulse,
    Release,
    RunnerStatus,
    Settings,
    Snapshot,
    TaintRunner,
    create_group,
)
from election_core.ports import AccessStore, Beat, Census, JobStore, Store
from election_sqlite import SqliteStore, _groups
from election_sqlite._lane import Transaction
from sqlite_clock import NOW, ManualClock
from sqlite_fleet import Fleet

_TICK = timedelta(seconds=1)
_LEASE = timedelta(seconds=15)


@pytest.fixture
async def fleet(store: SqliteStore) -> Fleet:
    """A group led by runner a under epoch 1, with b standing by."""
    made = Fleet(store)
    await made.create()
    await made.join("a", "b")
    return made


async def pulse_of(fleet: Fleet, runner_id: str, session_id: str | None = None) -> Pulse:
    """The pulse of a runner's current session."""
    found = await fleet.store.pulse(runner_id, session_id or f"{runner_id}1")
    assert isinstance(found, Pulse)
    return found


async def renew(fleet: Fleet, runner_id: str, **more: int | bool) -> Pulse:
    """Renew a runner's first session."""
    beat = Beat(runner_id=runner_id, session_id=f"{runner_id}1", **more)  # type: ignore[arg-type]
    (found,) = await fleet.store.beat([beat])
    assert isinstance(found, Pulse)
    return found


async def test_store_is_all_three_ports(store: SqliteStore) -> None:
    """One object is the store of groups, of jobs and of tokens."""
    groups: Store = store  # the type checker's test
    jobs: JobStore = store
    access: AccessStore = store
    assert len({id(port) for port in (groups, jobs, access)}) == 1


class TestCommit:
    """Compare-and-set of a group."""

    async def test_other_revision_is_a_conflict(self, fleet: Fleet) -> None:
        """A change planned from another revision is refused, wholly."""
        planned = await fleet.plan(TaintRunner(runner_id="a"))
        await fleet.do(DrainRunner(runner_id="b"))
        before = await fleet.store.load("g")

        for revision in (planned.before.revision, 0, before.revision + 1):
            with pytest.raises(Conflict):
                await fleet.store.commit(
                    planned.changes, expected_revision=revision, commit_id="late"
                )
        assert await fleet.store.load("g") == before

    async def test_group_that_exists_is_not_created(self, fleet: Fleet) -> None:
        """Creating a group that is there is a conflict."""
        changes = create_group("g", Settings(), at=NOW)
        with pytest.raises(Conflict):
            await fleet.store.commit(changes, expected_revision=0, commit_id="again")

    async def test_repeated_commit_is_answered_again(
        self, fleet: Fleet, clock: ManualClock
    ) -> None:
        """The latest commit may be repeated; it is not applied twice, and gets the same answer."""
        planned = await fleet.plan(DrainRunner(runner_id="b"))
        revision = planned.before.revision
        first = await fleet.store.commit(
            planned.changes, expected_revision=revision, commit_id="once"
        )
        before = await fleet.store.events("g")
        clock.advance(20)
        await fleet.beat("a")  # it revives the session, which raises the revision

        again = await fleet.store.commit(
            planned.changes, expected_revision=revision, commit_id="once"
        )

        assert again == first
        assert await fleet.store.events("g") == before

    async def test_renewal_in_between_saves_the_leader(
        self, fleet: Fleet, clock: ManualClock
    ) -> None:
        """A leader that renews between the decision to depose it and its commit is not deposed."""
        clock.advance(14.9)
        await fleet.beat("b")
        clock.advance(0.2)
        planned = await fleet.plan(Decide())
        assert planned.after.group.epoch == 2
        clock.advance(0.1)
        changes = planned.changes
        await fleet.store._writer.run(  # as a renewal would that did not lapse
            lambda t: t.connection.execute(
                "UPDATE election_runner SET term_expires_at = term_expires_at + 1 WHERE id = 'a'"
            ).fetchall()
        )

        with pytest.raises(Conflict, match="renewed"):
            await fleet.store.commit(
                changes, expected_revision=planned.before.revision, commit_id="x"
            )
        assert await fleet.epoch() == 1

    async def test_winner_that_fell_silent_is_not_granted(
        self, fleet: Fleet, clock: ManualClock
    ) -> None:
        """A runner whose lease ran out between the decision and its commit does not lead."""
        planned = await fleet.plan(Release(runner_id="a", session_id="a1", epoch=1))
        assert Live("b", "b1") in planned.changes.expects
        before = await fleet.store.load("g")
        clock.advance(15)

        with pytest.raises(Conflict, match="not live"):
            await fleet.store.commit(
                planned.changes, expected_revision=planned.before.revision, commit_id="x"
            )
        after = await fleet.store.load("g")
        assert (after.group, after.runners) == (before.group, before.runners)

    async def test_grant_takes_the_lease_of_the_row(self, fleet: Fleet, clock: ManualClock) -> None:
        """A winner that renewed after the decision holds its term as long as its lease."""
        planned = await fleet.plan(Release(runner_id="a", session_id="a1", epoch=1))
        clock.advance(5)
        await fleet.beat("b")
        await fleet.store.commit(
            planned.changes, expected_revision=planned.before.revision, commit_id="x"
        )

        pulse = await pulse_of(fleet, "b")
        assert pulse.held_epoch == 2
        assert pulse.term_expires_at == pulse.lease_expires_at == NOW + timedelta(seconds=20)
        assert pulse.standing_version == 2
        assert (await pulse_of(fleet, "a")).term_expires_at is None

    async def test_claims_end_with_their_term(self, fleet: Fleet) -> None:
        """Handing leadership over hands jobs back without counting the attempt."""
        await fleet.enqueue("job")
        await fleet.store.claim("a", "a1", claim_id="c", epoch=1, limit=1, tokens=["t"])
        await fleet.do(Release(runner_id="a", session_id="a1", epoch=1))

        job = await fleet.store.job("job")
        assert (job.state, job.attempts) == (JobState.QUEUED, 0)

    async def test_addressed_claims_end_with_their_session(self, fleet: Fleet) -> None:
        """A superseded session loses its addressed jobs, one that leaves hands them back."""
        for job_id, runner_id in (("of a", "a"), ("of b", "b")):
            await fleet.enqueue(job_id, runner_id=runner_id)
            await fleet.store.claim(
                runner_id,
                f"{runner_id}1",
                claim_id=job_id,
                epoch=None,
                limit=1,
                tokens=[job_id],
            )
        await fleet.reopen("a")
        await fleet.do(Leave(runner_id="b", session_id="b1"))

        lost, back = await fleet.store.job("of a"), await fleet.store.job("of b")
        assert (lost.state, lost.error) == (JobState.FAILED, "lost")
        assert (back.state, back.attempts) == (JobState.QUEUED, 0)

    async def test_addressed_jobs_fail_with_their_runner(self, fleet: Fleet) -> None:
        """Deleting a runner fails what only it could have done, running or not."""
        await fleet.enqueue("running", "queued", runner_id="b")
        await fleet.store.claim("b", "b1", claim_id="c", epoch=None, limit=1, tokens=["t"])
        await fleet.do(DeleteRunner(runner_id="b"))

        for job_id in ("running", "queued"):
            job = await fleet.store.job(job_id)
            assert (job.state, job.error) == (JobState.FAILED, "runner-deleted")

    async def test_remains_of_a_group(self, fleet: Fleet, clock: ManualClock) -> None:
        """A deleted group keeps its epoch and barrier, and loses its runners and jobs."""
        await fleet.enqueue("job")
        await fleet.do(DeleteGroup(force=True))

        remains = await fleet.store.load("g")
        assert remains.group.deleted_at == NOW
        assert remains.group.epoch == 1
        assert remains.group.grant_not_before == NOW + _LEASE
        assert remains.runners == ()
        assert await fleet.store.job_counts() == {}
        assert (await fleet.store.groups()).items == ()
        with pytest.raises(NotFound):
            await fleet.store.find_runner("a")

        changes = create_group("g", Settings(), at=NOW, remains=remains.group)
        await fleet.store.commit(changes, expected_revision=remains.revision, commit_id="again")
        fleet.sessions.clear()
        await fleet.join("c")
        clock.advance(14)
        await fleet.beat("c")
        assert (await fleet.decide()).after.group.term is None
        clock.advance(1)
        assert (await fleet.decide()).after.group.epoch == 2


class TestBeat:
    """Renewals."""

    async def test_lease_moves(self, fleet: Fleet, clock: ManualClock) -> None:
        """A renewal moves the session's lease, and the term's with it, to now plus the lease."""
        clock.advance(4)
        pulse = await renew(fleet, "a")

        assert pulse.at == NOW + timedelta(seconds=4)
        assert pulse.lease_expires_at == pulse.term_expires_at == pulse.at + _LEASE
        assert pulse.margin == timedelta(seconds=11)
        assert not pulse.due
        assert await pulse_of(fleet, "a") == evolve(pulse, margin=None)

    async def test_lease_never_moves_back(self, fleet: Fleet, store: SqliteStore) -> None:
        """A shorter lease applies from the renewal at which it does not shorten what was told."""
        snapshot = await store.load("g")
        await store._writer.run(
            lambda t: t.connection.execute("UPDATE election_group SET lease = 1000000").fetchall()
        )
        pulse = await renew(fleet, "a")

        assert snapshot.runners[0].session is not None
        assert pulse.lease_expires_at == snapshot.runners[0].session.lease_expires_at
        assert pulse.term_expires_at == pulse.lease_expires_at

    async def test_stepping_leader_past_its_deadline(
        self, fleet: Fleet, clock: ManualClock
    ) -> None:
        """From the handover deadline on the session is renewed and its term is not."""
        await fleet.do(DrainRunner(runner_id="a", timeout=timedelta(seconds=5)))
        clock.advance(4.999999)
        assert (await renew(fleet, "a")).term_expires_at == NOW + timedelta(seconds=19.999999)
        clock.advance(0.000001)
        pulse = await renew(fleet, "a")

        assert pulse.term_expires_at == NOW + timedelta(seconds=19.999999)
        assert pulse.lease_expires_at == NOW + timedelta(seconds=20)

    async def test_revival(self, fleet: Fleet, clock: ManualClock) -> None:
        """A renewal of a lapsed session revives it, resumes its term and makes its group due."""
        clock.advance(15)
        before = await fleet.store.load("g")
        pulse = await renew(fleet, "a")

        assert pulse.due
        assert pulse.margin == timedelta()
        assert pulse.held_epoch == 1
        after = await fleet.store.load("g")
        assert after.group.look_again_at == NOW + _LEASE
        assert after.revision == before.revision + 1
        session = after.runners[0].session
        assert session is not None
        assert session.healthy_since == NOW + _LEASE

    async def test_readiness(self, fleet: Fleet, clock: ManualClock) -> None:
        """A change of readiness makes the group due; turning ready starts health anew."""
        clock.advance(1)
        assert (await renew(fleet, "b", ready=False)).due
        assert not (await renew(fleet, "b")).due
        clock.advance(1)
        assert (await renew(fleet, "b", ready=True)).due
        session = (await fleet.store.load("g")).runners[1].session
        assert session is not None
        assert session.healthy_since == NOW + timedelta(seconds=2)

    async def test_due_mark_outlives_a_commit_that_had_not_seen_it(
        self, fleet: Fleet, clock: ManualClock
    ) -> None:
        """A commit planned before a renewal that made the group due does not undo that."""
        planned = await fleet.plan(Decide())
        clock.advance(1)
        await renew(fleet, "b", ready=False)
        with pytest.raises(Conflict):
            await fleet.store.commit(
                planned.changes, expected_revision=planned.before.revision, commit_id="x"
            )
        assert (await fleet.store.due(1)).group_ids == ("g",)

    async def test_older_renewal_changes_nothing(self, fleet: Fleet, clock: ManualClock) -> None:
        """A renewal that was overtaken changes nothing; one of the same number counts."""
        await renew(fleet, "a", seq=5)
        clock.advance(1)
        before = await fleet.store.load("g")
        pulse = await renew(fleet, "a", seq=4, ready=False)
        assert (await fleet.store.load("g")) == before
        assert pulse.lease_expires_at == NOW + _LEASE

        assert (await renew(fleet, "a", seq=5)).lease_expires_at == NOW + timedelta(seconds=16)

    async def test_only_the_own_session_is_renewed(self, fleet: Fleet, clock: ManualClock) -> None:
        """A session of another runner, an earlier one and an invented one renew nothing."""
        await fleet.reopen("a")
        clock.advance(1)
        before = await fleet.store.load("g")
        answers = await fleet.store.beat(
            [
                Beat(runner_id="b", session_id="a2"),
                Beat(runner_id="a", session_id="a1"),
                Beat(runner_id="nobody", session_id="b1"),
            ]
        )

        assert answers[0] is answers[2] is None
        assert answers[1] == await fleet.store.ended_session("a", session_id="a1")
        assert await fleet.store.load("g") == before

    async def test_cancellations_are_told(self, fleet: Fleet) -> None:
        """A session learns of the running jobs whose end was asked for, in order of enqueueing."""
        await fleet.enqueue("one", "two", "three")
        await fleet.store.claim(
            "a", "a1", claim_id="c", epoch=1, limit=3, tokens=["t1", "t2", "t3"]
        )
        version = (await pulse_of(fleet, "a")).standing_version
        for job_id in ("three", "one", "one"):
            await fleet.store.cancel(job_id)

        pulse = await renew(fleet, "a")
        assert pulse.cancel == ("one", "three")
        assert pulse.standing_version == version + 2
        assert (await renew(fleet, "b")).cancel == ()

    async def test_leader_is_told_while_its_lease_lasts(
        self, fleet: Fleet, clock: ManualClock
    ) -> None:
        """A standby is told who leads, and nobody once that one's lease is over."""
        assert (await renew(fleet, "b")).leader_runner_id == "a"
        clock.advance(15)
        assert (await pulse_of(fleet, "b")).leader_runner_id is None
        answers = await fleet.store.beat(
            [Beat(runner_id="a", session_id="a1"), Beat(runner_id="b", session_id="b1")]
        )
        assert isinstance(answers[1], Pulse)
        assert answers[1].leader_runner_id == "a"

    async def test_no_beats(self, store: SqliteStore) -> None:
        """Nothing to renew is answered with nothing."""
        assert await store.beat([]) == []


class TestSessions:
    """How sessions ended."""

    async def test_ends_are_remembered(self, fleet: Fleet) -> None:
        """How each session ended can be asked by its id and by its key, also of deleted runners."""
        store = fleet.store
        await fleet.reopen("a")
        await fleet.do(Leave(runner_id="a", session_id="a2"))
        await fleet.do(DeleteRunner(runner_id="b"))

        for runner_id, session_id, how in (
            ("a", "a1", Ended.SUPERSEDED),
            ("a", "a2", Ended.LEFT),
            ("b", "b1", Ended.DELETED),
        ):
            ended = await store.ended_session(runner_id, session_id=session_id)
            assert ended is not None
            assert ended.how is how
            assert ended == await store.ended_session(runner_id, key=f"key of {session_id}")
            assert ended == await store.pulse(runner_id, session_id)

    async def test_nothing_is_known_of_others(self, fleet: Fleet) -> None:
        """A current session has not ended, and one of another runner is not this one's."""
        await fleet.reopen("a")
        store = fleet.store
        assert await store.ended_session("a", session_id="a2") is None
        assert await store.ended_session("b", session_id="a1") is None
        assert await store.ended_session("a") is None


class TestDue:
    """Which groups are to be decided."""

    async def test_longest_due_first(self, store: SqliteStore, clock: ManualClock) -> None:
        """Groups come in the order of their times, as many as asked for."""
        for number, group_id in enumerate(("late", "early", "middle")):
            fleet = Fleet(store, group_id)
            await fleet.create(Settings(lease=timedelta(seconds=(9, 3, 6)[number])))
            await fleet.join(f"{group_id}-a")

        due = await store.due(10)
        assert due.group_ids == ()
        assert due.next_at == NOW + timedelta(seconds=3)
        clock.advance(6)
        due = await store.due(10)
        assert due.group_ids == ("early", "middle")
        assert due.next_at == NOW + timedelta(seconds=9)
        clock.advance(60)
        assert (await store.due(2)).group_ids == ("early", "middle")
        assert (await store.due(10)).next_at is None

    async def test_decided_group_is_not_due_again(self, fleet: Fleet, clock: ManualClock) -> None:
        """A silent leader that was decided about is not looked at at every tick."""
        await fleet.store.mark(_TICK)
        clock.advance(20)
        await fleet.store.mark(_TICK)  # an outage: grace
        assert (await fleet.store.due(1)).group_ids == ("g",)
        await fleet.decide()

        due = await fleet.store.due(1)
        assert due.group_ids == ()
        assert due.next_at == NOW + timedelta(seconds=35)

    async def test_deleted_group_is_never_due(self, fleet: Fleet, clock: ManualClock) -> None:
        """The remains of a group need no decision."""
        await fleet.do(DeleteGroup(force=True))
        clock.advance(3600)
        assert (await fleet.store.due(1)).group_ids == ()


class TestMark:
    """The mark of the electors."""

    async def test_first_mark(self, store: SqliteStore, clock: ManualClock) -> None:
        """A new store has no outage, however late its first mark comes."""
        fleet = Fleet(store)
        await fleet.create()
        assert (await store.load("g")).mark == Mark(at=NOW)
        clock.advance(100)
        assert await store.mark(_TICK) == Mark(at=NOW + timedelta(seconds=100))

    async def test_gap_is_an_outage(self, fleet: Fleet, clock: ManualClock) -> None:
        """More than three ticks without a mark are an outage, which a snapshot shows."""
        await fleet.store.mark(_TICK)
        clock.advance(3)
        assert (await fleet.store.mark(_TICK)).outages == ()
        clock.advance(3.000001)
        mark = await fleet.store.mark(_TICK)

        since = NOW + timedelta(seconds=3)
        assert mark.outages == (Outage(since, mark.at),)
        assert (await fleet.store.load("g")).mark == mark


class TestReads:
    """Reads beside writes."""

    async def test_nothing_is_seen_of_a_time_to_come(
        self, fleet: Fleet, clock: ManualClock
    ) -> None:
        """A snapshot shows nothing that was committed after the time it tells."""
        began, go_on = threading.Event(), threading.Event()

        def look(transaction: Transaction) -> Snapshot:
            began.set()
            assert go_on.wait(30)
            return _groups.load(transaction, "g")

        looking = asyncio.ensure_future(fleet.store._reader.run(look))
        assert await asyncio.to_thread(began.wait, 30)
        clock.advance(1)
        await fleet.beat("a")
        go_on.set()
        snapshot = await looking

        assert snapshot.at == NOW
        session = snapshot.runners[0].session
        assert session is not None
        assert session.lease_expires_at == NOW + _LEASE
        assert (await fleet.store.load("g")).at == NOW + _TICK


class TestLookups:
    """Runners, counts, and what is kept how long."""

    async def test_runner(self, fleet: Fleet, clock: ManualClock) -> None:
        """A runner is told as it is now."""
        assert (await fleet.store.find_runner("a")).status is RunnerStatus.ACTIVE
        clock.advance(15)
        assert (await fleet.store.find_runner("a")).status is RunnerStatus.OFFLINE
        with pytest.raises(NotFound):
            await fleet.store.find_runner("c")

    async def test_census(self, fleet: Fleet, clock: ManualClock) -> None:
        """Groups led and sessions live are counted by the store's time."""
        await Fleet(fleet.store, "h").create()
        assert await fleet.store.census() == Census(groups=2, led=1, runners=2, live_sessions=2)
        clock.advance(10)
        await fleet.beat("b")
        clock.advance(5)
        assert await fleet.store.census() == Census(groups=2, led=0, runners=2, live_sessions=1)

    async def test_retention(self, store: SqliteStore, clock: ManualClock) -> None:
        """Each group's events and ended sessions are kept as long as its own retention."""
        short, long = Fleet(store, "short"), Fleet(store, "long")
        await short.create(Settings(retention=timedelta(hours=1)))
        await long.create()
        await short.join("a")
        await long.join("b")
        await short.reopen("a")
        last = (await store.events("short"))[-1].id
        clock.advance(3599.999999)
        assert await store.prune() == 0
        clock.advance(0.000001)
        assert await store.prune() > 0
        assert await store.prune() == 0

        assert await store.events("short") == []
        assert [event.group_id for event in await store.events(None)] == ["long"] * 4
        assert await store.ended_session("a", session_id="a1") is None
        assert await store.events("short", after=last) == []
        for group_id, after in (("short", last - 1), (None, 0)):
            with pytest.raises(CursorExpired):
                await store.events(group_id, after=after)
        assert len(await store.events("long", after=0)) == 4

    async def test_prune_stops_at_its_limit(self, store: SqliteStore, clock: ManualClock) -> None:
        """Pruning deletes so many rows of a kind and says how many, until none are left."""
        fleet = Fleet(store)
        await fleet.create(Settings(retention=timedelta(seconds=1)))
        await fleet.join(*"abcdef")
        events = len(await store.events(None))
        clock.advance(1)

        pruned = []
        while number := await store.prune(5):
            pruned.append(number)
        assert sum(pruned) == events
        assert pruned[:-1] == [5] * (len(pruned) - 1)

    async def test_event_ids_are_never_used_again(
        self, store: SqliteStore, clock: ManualClock
    ) -> None:
        """The id of the newest event is not given out again once that event was pruned."""
        fleet = Fleet(store)
        await fleet.create(Settings(retention=timedelta(seconds=1)))
        last = (await store.events(None))[-1].id
        clock.advance(1)
        await store.prune()
        await fleet.join("a")

        assert (await store.events(None))[0].id == last + 1
