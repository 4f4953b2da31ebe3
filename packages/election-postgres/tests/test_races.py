"""Renewals, commits and elections that meet, in the order that a lock forces upon them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from election_core import (
    Conflict,
    Decide,
    DeleteRunner,
    EndedSession,
    OpenSession,
    Pulse,
    RegisterRunner,
    Release,
    Snapshot,
    Unavailable,
)
from election_core.ports import Due
from election_postgres import PostgresStore
from postgres_fleet import DEADLINE, Fleet, connected, fresh, shift_clock, waiting

ROW = "SELECT FROM election.runner WHERE id = $1 FOR UPDATE"


@pytest.fixture
async def own(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own, to hold locks with."""
    async with connected(database) as connection:
        yield connection


@pytest.fixture
async def watcher(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that looks on."""
    async with connected(database) as connection:
        yield connection


@pytest.fixture
async def fleet(store: PostgresStore) -> Fleet:
    """A group that `a` leads under epoch 1."""
    fleet = Fleet(store)
    await fleet.create("a", "b")
    return fleet


async def lapse(fleet: Fleet, own: asyncpg.Connection) -> None:
    """The leases run out, and those of all but `a` are renewed."""
    await shift_clock(own, 3600)
    await fleet.beat("b")


# Renewal against election.


async def test_a_leader_that_renewed_in_time_is_not_deposed(
    fleet: Fleet, own: asyncpg.Connection, watcher: asyncpg.Connection
) -> None:
    """A decision that saw the lease over, and meets its renewal, is refused."""
    await lapse(fleet, own)
    deposing = await fleet.plan(Decide())
    assert deposing.changes.group.term is not None
    assert deposing.changes.group.term.epoch == 2
    async with own.transaction():
        # A renewal that has written and is not committed yet.
        renewed = await own.fetch(
            "SELECT term_expires_at FROM election.beat(NULL, $1, $2, $3, $4)",
            [fleet.runner("a")], [fleet.session("a")], [None], [None],
        )  # fmt: skip
        committing = asyncio.create_task(fleet.commit(deposing))
        await waiting(watcher)

    with pytest.raises(Conflict):
        await committing
    assert await fleet.epoch() == 1
    pulse = await fleet.beat("a")
    assert isinstance(pulse, Pulse)
    assert pulse.held_epoch == 1
    assert pulse.term_expires_at is not None
    assert pulse.term_expires_at >= renewed[0]["term_expires_at"]


async def test_a_deposed_leader_is_not_told_its_old_epoch(
    fleet: Fleet, own: asyncpg.Connection, watcher: asyncpg.Connection
) -> None:
    """A renewal that meets the election waits for it, and answers what was elected."""
    await lapse(fleet, own)
    deposing = await fleet.plan(Decide())
    transaction = own.transaction()
    await transaction.start()
    await own.fetch(ROW, fleet.runner("b"))  # the election has locked `a` and stops at `b`
    committing = asyncio.create_task(fleet.commit(deposing))
    await waiting(watcher)
    renewing = asyncio.create_task(fleet.beat("a"))
    other = asyncio.create_task(fleet.beat("a"))
    await transaction.commit()
    await committing

    for pulse in (await renewing, await other, await fleet.beat("a")):
        assert isinstance(pulse, Pulse)
        assert (pulse.held_epoch, pulse.group_epoch) == (None, 2)
        assert pulse.leader_runner_id == fleet.runner("b")


async def test_a_superseded_session_is_not_renewed(
    fleet: Fleet, own: asyncpg.Connection, watcher: asyncpg.Connection
) -> None:
    """A renewal that meets the opening of another session is told how its own ended."""
    old = fleet.renewal("b")
    opening = await fleet.plan(
        OpenSession(runner_id=fleet.runner("b"), session_id="new", session_key="new")
    )
    transaction = own.transaction()
    await transaction.start()
    await own.execute("LOCK TABLE election.event IN SHARE MODE")  # where a commit comes late
    committing = asyncio.create_task(fleet.commit(opening))
    await waiting(watcher)
    renewing = asyncio.create_task(fleet.store.beat([old, fleet.renewal("a")]))
    await asyncio.wait([renewing], timeout=0.05)
    assert not renewing.done()
    await transaction.commit()
    await committing

    ended, other = await renewing
    assert isinstance(ended, EndedSession)
    assert ended.session_id == old.session_id
    assert isinstance(other, Pulse)


async def test_a_locked_row_holds_up_its_own_renewal_alone(
    fleet: Fleet, own: asyncpg.Connection
) -> None:
    """While somebody has one runner's row, renewals of others are answered; that one after."""
    async with own.transaction():
        await own.fetch(ROW, fleet.runner("a"))
        held = asyncio.create_task(fleet.beat("a"))
        async with asyncio.timeout(DEADLINE):
            before = await fleet.beat("b")
        assert isinstance(before, Pulse)
        assert not held.done()

    after = await held
    assert isinstance(after, Pulse)
    assert after.held_epoch == 1


async def test_a_row_that_stays_locked_is_told(fleet: Fleet, own: asyncpg.Connection) -> None:
    """A renewal does not wait for ever; its caller may try again, and it spoils no other's."""
    async with own.transaction():
        await own.fetch(ROW, fleet.runner("a"))
        locked, other = await fleet.store.beat([fleet.renewal("a"), fleet.renewal("b")])

    assert isinstance(locked, Unavailable)
    assert "locked for too long" in str(locked)
    assert isinstance(other, Pulse)


async def test_batches_in_opposite_order_do_not_wait_for_each_other(store: PostgresStore) -> None:
    """However renewals are put together, all are answered."""
    fleet = Fleet(store)
    names = [f"r{number}" for number in range(20)]
    await fleet.create(*names)
    beats = [fleet.renewal(name) for name in names]

    async def renew(order: list[int]) -> None:
        for _ in range(25):
            answers = await store.beat([beats[place] for place in order])
            assert [pulse.runner_id for pulse in answers if isinstance(pulse, Pulse)] == [
                beats[place].runner_id for place in order
            ]

    forth = list(range(20))
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        for order in (forth, forth[::-1], forth[10:] + forth[:10], forth[::2] + forth[1::2]):
            group.create_task(renew(order))


# What a renewal asks for, and commits.


async def test_a_renewal_that_wants_a_decision_is_not_overwritten(
    fleet: Fleet, own: asyncpg.Connection, watcher: asyncpg.Connection
) -> None:
    """A group that became due while a commit was under way is due after it."""
    registering = await fleet.plan(RegisterRunner(runner_id="g-c", name="c"))
    transaction = own.transaction()
    await transaction.start()
    await own.fetch("SELECT election.share('g')")  # the commit has begun and waits for a fence
    committing = asyncio.create_task(fleet.commit(registering))
    await waiting(watcher)
    pulse = await fleet.beat("a", ready=False)
    assert isinstance(pulse, Pulse)
    assert pulse.due
    await transaction.commit()
    with pytest.raises(Conflict):
        await committing

    found: Due = await fleet.store.due(10)
    assert found.group_ids == ("g",)


async def test_a_renewal_between_the_steps_of_a_commit_is_kept(
    fleet: Fleet, own: asyncpg.Connection, watcher: asyncpg.Connection
) -> None:
    """A renewal that comes after a commit has summed up what there was is decided later."""
    planned = await fleet.plan(RegisterRunner(runner_id="g-c", name="c"))
    transaction = own.transaction()
    await transaction.start()
    await own.execute("LOCK TABLE election.event IN SHARE MODE")  # where a commit comes late
    committing = asyncio.create_task(fleet.commit(planned))
    await waiting(watcher)
    pulse = await fleet.beat("a", ready=False)
    assert isinstance(pulse, Pulse)
    await transaction.commit()
    committed = await committing

    snapshot = await fleet.store.load("g")
    assert snapshot.revision == committed.revision + 1
    assert (await fleet.store.due(10)).group_ids == ("g",)
    with pytest.raises(Conflict):  # who goes on from what it committed has not seen it
        await fleet.store.commit(
            planned.changes, expected_revision=committed.revision, commit_id=fresh()
        )


async def test_a_second_renewal_between_the_steps_of_a_commit_is_kept(
    fleet: Fleet, own: asyncpg.Connection, watcher: asyncpg.Connection
) -> None:
    """Of a runner's two requests for a decision a commit that has seen one leaves the other."""
    await own.execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END';"
        "CREATE TRIGGER wait BEFORE INSERT ON election.runner FOR EACH ROW EXECUTE FUNCTION wait()"
    )
    await fleet.beat("b", ready=False)
    planned = await fleet.plan(RegisterRunner(runner_id="g-c", name="c"))
    async with own.transaction():
        await own.fetch("SELECT pg_advisory_xact_lock(1)")
        committing = asyncio.create_task(fleet.commit(planned))
        await waiting(watcher)  # behind its sum, and before it clears what it has seen
        await fleet.beat("b", ready=True)
    committed = await committing

    assert (await fleet.store.load("g")).revision == committed.revision + 1
    assert (await fleet.store.due(10)).group_ids == ("g",)


def content(snapshot: Snapshot) -> object:
    """What of a snapshot a decision may depend on, without what plain renewals move."""
    return (
        snapshot.group,
        tuple(
            (runner.id, runner.taints, None if runner.session is None else runner.session.ready)
            for runner in snapshot.runners
        ),
    )


async def test_a_revision_has_one_content(store: PostgresStore) -> None:
    """Revisions rise with every change, whoever makes it, and none is had twice."""
    fleet = Fleet(store)
    await fleet.create("a", "b", "c")
    seen: dict[int, object] = {}
    latest = 0
    done = asyncio.Event()

    async def flap(name: str) -> None:
        for number in range(40):
            await fleet.beat(name, ready=bool(number % 2))

    async def change() -> None:
        for _ in range(20):
            runner_id = fresh()
            for command in (
                RegisterRunner(runner_id=runner_id, name=runner_id),
                OpenSession(runner_id=runner_id, session_id=fresh(), session_key=fresh()),
                DeleteRunner(runner_id=runner_id),
            ):
                while True:
                    try:
                        await fleet.do(command)
                        break
                    except Conflict:
                        pass

    async def look() -> None:
        nonlocal latest
        while not done.is_set():
            snapshot = await store.load("g")
            assert snapshot.revision >= latest
            latest = snapshot.revision
            assert seen.setdefault(snapshot.revision, content(snapshot)) == content(snapshot)

    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        looking = group.create_task(look())
        changing = [group.create_task(flap(name)) for name in "abc"]
        changing.append(group.create_task(change()))
        await asyncio.gather(*changing)
        done.set()
        await looking


async def test_one_of_many_commits_wins(store: PostgresStore, database: str) -> None:
    """Of commits from one snapshot, through several stores, one is written."""
    fleet = Fleet(store)
    await fleet.create("a")
    async with PostgresStore.open(database) as other:
        for number in range(10):
            command = RegisterRunner(runner_id=f"x{number}", name=f"x{number}")
            planned = await fleet.plan(command)
            done = await asyncio.gather(
                *(
                    each.commit(
                        planned.changes,
                        expected_revision=planned.before.revision,
                        commit_id=fresh(),
                    )
                    for each in (store, other) * 4
                ),
                return_exceptions=True,
            )
            assert sum(isinstance(each, Conflict) for each in done) == 7


async def test_the_same_commit_twice_at_once_is_one(fleet: Fleet) -> None:
    """A commit that is repeated while it is under way is answered alike."""
    planned = await fleet.plan(RegisterRunner(runner_id="g-c", name="c"))
    one, two = await asyncio.gather(*(fleet.commit(planned, "same") for _ in range(2)))

    assert one == two
    assert (await fleet.store.load("g")).revision == one.revision


# Electors.


async def test_electors_share_what_is_due(store: PostgresStore, database: str) -> None:
    """Each due group is answered to one of those that ask at once, and held for it."""
    names = [f"g{number:02}" for number in range(30)]
    for name in names:
        fleet = Fleet(store, name)
        await fleet.create("a")
        await fleet.beat("a", ready=False)
    hold = timedelta(minutes=1)
    async with PostgresStore.open(database) as other:
        found = await asyncio.gather(*(each.due(10, hold=hold) for each in (store, other) * 4))
        given = [name for each in found for name in each.group_ids]
        while more := (await other.due(10, hold=hold)).group_ids:
            given += more

        assert sorted(given) == names
        assert (await store.due(10, hold=hold)).group_ids == ()
        last = Fleet(store, names[-1])
        last.sessions = {"a": 1}
        await last.beat("a", ready=True)  # its revision rises
        assert (await store.due(10, hold=hold)).group_ids == (names[-1],)


# Locks.


async def test_no_path_leaves_a_lock(
    fleet: Fleet, own: asyncpg.Connection, watcher: asyncpg.Connection
) -> None:
    """After calls that were carried out, refused and cancelled, nobody has a lock."""

    async def locks() -> list[str]:
        found = await watcher.fetch(
            "SELECT locktype FROM pg_locks WHERE pid <> pg_backend_pid() AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return [row["locktype"] for row in found]

    stale = await fleet.plan(RegisterRunner(runner_id="g-c", name="c"))
    await fleet.do(Release(runner_id=fleet.runner("a"), session_id=fleet.session("a"), epoch=1))
    with pytest.raises(Conflict):
        await fleet.commit(stale)
    await fleet.enqueue(2)
    await fleet.claim("b", 2)
    with pytest.raises(Exception, match="epoch"):
        await fleet.claim("a", 1)
    assert await locks() == []

    transaction = own.transaction()
    await transaction.start()
    await own.fetch("SELECT election.share('g')")
    waits = asyncio.create_task(fleet.decide())
    await waiting(watcher)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    await transaction.commit()

    await fleet.decide()  # what was cancelled has not reached into it
    assert await locks() == []


async def test_a_barrier_covers_all_that_a_session_was_told(fleet: Fleet) -> None:
    """A plain renewal of a leader refuses a commit that would end its term by an older lease."""
    opening = await fleet.plan(
        OpenSession(runner_id=fleet.runner("a"), session_id="new", session_key="new")
    )
    await fleet.beat("a")
    assert (await fleet.store.load("g")).revision == opening.before.revision

    with pytest.raises(Conflict):
        await fleet.commit(opening)


async def test_a_deleted_runner_takes_no_revision_along(fleet: Fleet) -> None:
    """The revision rises by one, however often the runner that goes has changed its group."""
    await fleet.beat("b", ready=False)
    await fleet.beat("b", ready=True)
    before = (await fleet.store.load("g")).revision
    await fleet.do(DeleteRunner(runner_id=fleet.runner("b")))

    assert (await fleet.store.load("g")).revision == before + 1


async def test_a_commit_answers_for_what_it_saw_alone(
    fleet: Fleet, own: asyncpg.Connection, watcher: asyncpg.Connection
) -> None:
    """Of two renewals that want a decision, the one that came during the commit stays due."""
    await fleet.beat("b", ready=False)
    planned = await fleet.plan(RegisterRunner(runner_id="g-c", name="c"))
    transaction = own.transaction()
    await transaction.start()
    await own.execute(  # the commit stops at the name of its new runner
        "INSERT INTO election.runner SELECT (json_populate_record(r,"
        ' \'{"id": "x", "name": "c"}\')).* FROM election.runner AS r WHERE id = \'g-b\''
    )
    committing = asyncio.create_task(fleet.commit(planned))
    await waiting(watcher)
    await fleet.beat("a", ready=False)
    await transaction.rollback()
    await committing

    due = await watcher.fetch("SELECT id FROM election.runner WHERE due_since IS NOT NULL")
    assert [row["id"] for row in due] == [fleet.runner("a")]
