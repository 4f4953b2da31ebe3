"""Where commits may be missing, the database does to every group what the core's rules say."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import asyncpg
import pytest
from attrs import evolve
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from election_core import (
    EPOCH_JUMP,
    LONGEST_LEASE,
    Changes,
    Conflict,
    EventKind,
    Group,
    JobRecord,
    Release,
    Runner,
    Session,
    Settings,
    Snapshot,
    create_group,
    lapse_job,
    reincarnate,
)
from election_postgres import PostgresStore
from election_testkit.strategies import snapshots
from postgres_fleet import Fleet, connected, fresh, shift_clock
from postgres_server import Databases

JOBS = """
INSERT INTO election.job (
    id, group_id, runner_id, kind, payload, priority, max_attempts, created_at, state, attempts,
    available_at, started_at, claimed_by, epoch, cancel_requested, result, claim_token, claim_id,
    claim_runner_id, claim_session_id, claim_epoch, fingerprint
)
SELECT $1 || '-' || n, $1, CASE WHEN n = 5 THEN $2 END, 'work', '1', 0, 3, $5::timestamptz,
    'running', CASE n WHEN 2 THEN 3 ELSE 1 END, $5, $5, $2, $4::bigint, n = 3, 'null', 'token',
    'claim', $2, $3,
    CASE WHEN n < 5 THEN $4::bigint - (n = 4)::integer END, ''
FROM generate_series(1, 5) AS n
"""
"""Jobs: claimed by the leader, in its last attempt, cancelled, of an earlier epoch, addressed."""
ANOTHER = "UPDATE election.meta SET history = 'another'"
RESTORED = """
CREATE TABLE election.restored (LIKE election.meta INCLUDING ALL);
INSERT INTO election.restored SELECT * FROM election.meta;
DROP TABLE election.meta;
ALTER TABLE election.restored RENAME TO meta;
"""
"""The mark as a backup of the tables brings it back."""
EMPTY = """
TRUNCATE election.runner_group, election.runner, election.event, election.job, election.upkeep;
UPDATE election.meta SET lost_epoch = 0, lost_until = NULL
"""


@st.composite
def groups(draw: st.DrawFn) -> list[Snapshot]:
    """Groups that one store may hold, remains of deleted ones among them."""
    found = draw(st.lists(snapshots(), min_size=1, max_size=12))
    named = [_named(snapshot, f"g{number}") for number, snapshot in enumerate(found)]
    return [
        evolve(each, group=evolve(each.group, deleted_at=each.at, look_again_at=None, pin=None))
        if not each.runners and draw(st.booleans())
        else each
        for each in named
    ]


def _named(snapshot: Snapshot, name: str) -> Snapshot:
    """The group under another name, with runners of its own."""

    def own(text: str) -> str:
        return f"{name}-{text}"

    def of(session: Session | None) -> Session | None:
        return session and evolve(session, id=own(session.id))

    group = snapshot.group
    term, pin = group.term, group.pin
    return evolve(
        snapshot,
        group=evolve(
            group,
            id=name,
            term=term
            and evolve(term, runner_id=own(term.runner_id), session_id=own(term.session_id)),
            pin=pin and evolve(pin, runner_id=own(pin.runner_id)),
        ),
        runners=tuple(
            evolve(
                runner,
                id=own(runner.id),
                name=own(runner.id),
                group_id=name,
                session=of(runner.session),
            )
            for runner in snapshot.runners
        ),
    )


async def kept(store: PostgresStore, connection: asyncpg.Connection, each: Snapshot) -> Snapshot:
    """The group as the store holds it, with jobs of its leader."""
    changes = Changes(group=each.group, runners=each.runners)
    await store.commit(changes, expected_revision=0, commit_id=fresh())
    term = each.group.term
    if term is not None:
        await connection.execute(
            JOBS, each.group.id, term.runner_id, term.session_id, term.epoch, each.at
        )
    return await store.load(each.group.id)


def reborn(runner: Runner, planned: Changes) -> Runner:
    """A runner as the core leaves it, with the version of its standing far ahead."""
    found = next((each for each in planned.runners if each.id == runner.id), runner)
    session = found.session
    if runner.session is None or session is None:
        return found
    version = runner.session.standing_version + EPOCH_JUMP + (runner.id in planned.roused)
    return evolve(found, session=evolve(session, standing_version=version))


def lapsed(record: JobRecord, snapshot: Snapshot, at: datetime) -> JobRecord:
    """A job after the end of the term."""
    term = snapshot.group.term
    if term is None or record.claim is None or record.claim.epoch != term.epoch:
        return record
    return lapse_job(record, at, handed_back=False)


@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a real database takes long to shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(groups())
async def test_the_database_does_what_the_core_says(
    database: str, store: PostgresStore, found: list[Snapshot]
) -> None:
    """Groups, sessions and jobs come out as by the rules that the other stores apply."""
    async with connected(database) as connection:
        await connection.execute(EMPTY)
        before = [await kept(store, connection, each) for each in found]
        jobs = {
            row["id"]: await store._record(row["id"])
            for row in await connection.fetch("SELECT id FROM election.job")
        }
        last = await connection.fetchval("SELECT election.last_event_id()")
        await connection.execute(ANOTHER)

        mark = await store.mark(timedelta(seconds=1))
        events = await store.events(None, limit=1000)

    at = events[0].at
    assert at <= mark.at
    lease = max(each.group.settings.lease for each in before)
    ends = [
        runner.session.lease_expires_at
        for each in before
        for runner in each.runners
        if runner.session is not None
    ]
    not_before = max([at + lease, *ends])
    assert len(events) == len(before)
    noted = {event.group_id: event for event in events}
    for was in before:
        planned = reincarnate(evolve(was, at=at), not_before)
        now = await store.load(was.group.id)
        expected: Group = planned.group
        if was.group.deleted_at is None:
            expected = evolve(expected, look_again_at=at)
        assert now.group == expected
        assert now.runners == tuple(reborn(runner, planned) for runner in was.runners)
        assert now.revision > was.revision
        (note,) = planned.events
        event = noted[was.group.id]
        assert event == evolve(note, id=event.id)
        assert event.id > last + EPOCH_JUMP
        for job_id, record in jobs.items():
            if record.job.group_id == was.group.id:
                assert await store._record(job_id) == lapsed(record, was, at)


async def test_what_was_lost_has_remains(store: PostgresStore, database: str) -> None:
    """A group that nobody knows any more goes on far ahead of what it can have been."""
    fleet = Fleet(store)
    await fleet.create("a", settings=Settings(lease=timedelta(minutes=7)))
    async with connected(database) as connection:
        await connection.execute(ANOTHER)
    lost = await store.load("lost")

    assert (lost.revision, lost.runners) == (0, ())
    assert lost.group.epoch >= EPOCH_JUMP
    assert lost.group.deleted_at is not None
    assert lost.group.grant_not_before is not None
    assert lost.group.grant_not_before >= lost.at + timedelta(minutes=7) - timedelta(minutes=1)
    assert timedelta(minutes=7) <= LONGEST_LEASE


async def test_a_backup_that_is_old_goes_further_ahead(store: PostgresStore, database: str) -> None:
    """A backup restored twice must outrun what was granted after the first time."""
    fleet = Fleet(store)
    await fleet.create("a")
    await store.mark(timedelta(seconds=1))
    async with connected(database) as connection:
        await connection.execute(ANOTHER)
        await shift_clock(connection, 3600)

        assert (await store.load("g")).group.epoch >= 60 * EPOCH_JUMP


async def test_what_was_read_on_the_lost_history_is_in_conflict(
    store: PostgresStore, database: str
) -> None:
    """While some connections still lead to the old primary, no epoch falls at the new one.

    Not even where the revisions are the same, and for a group that is not known there.
    """
    fleet = Fleet(store)
    await fleet.create("a", "b")
    planned = await fleet.plan(Release(runner_id="g-a", session_id="g-a1", epoch=1))
    unheard = create_group("unheard", Settings(), at=planned.before.at)
    async with connected(database) as connection:
        await connection.execute(ANOTHER)
        await store.load("g")
        await connection.execute(
            "UPDATE election.runner_group SET revision = $1", planned.before.revision
        )

    with pytest.raises(Conflict, match="an epoch never falls"):
        await fleet.commit(planned)
    with pytest.raises(Conflict, match="an epoch never falls"):
        await store.commit(unheard, expected_revision=0, commit_id=fresh())
    assert (await store.load("g")).group.epoch == 1 + EPOCH_JUMP


async def test_revisions_go_far_ahead(store: PostgresStore, database: str) -> None:
    """What is planned here meets no revision that the lost history went on to."""
    fleet = Fleet(store)
    await fleet.create("a")
    before = (await store.load("g")).revision
    async with connected(database) as connection:
        await connection.execute(ANOTHER)

    assert (await store.load("g")).revision >= before + EPOCH_JUMP


async def test_it_takes_as_long_as_it_takes(database: str) -> None:
    """Ending all terms grows with the groups, and has more time than a statement has."""
    limit = timedelta(seconds=1)
    async with PostgresStore.open(database, statement_timeout=limit) as store:
        fleet = Fleet(store)
        await fleet.create("a")
        async with connected(database) as connection:
            await connection.execute(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " PERFORM pg_sleep(1.5); RETURN NEW; END $$;"
                "CREATE TRIGGER slow BEFORE UPDATE ON election.runner_group"
                " FOR EACH ROW EXECUTE FUNCTION slow()"
            )
            await connection.execute(ANOTHER)
        assert (await store.load("g")).group.epoch == 1 + EPOCH_JUMP


async def test_it_is_done_once(store: PostgresStore, database: str) -> None:
    """Many who notice at once, through several stores, do it once; and it stays done."""
    fleet = Fleet(store)
    await fleet.create("a")
    async with connected(database) as connection, PostgresStore.open(database) as other:
        await connection.execute(ANOTHER)
        await asyncio.gather(*(each.load("g") for each in (store, other) * 4))
        events = await store.events("g")

    assert [event.kind for event in events].count(EventKind.STORE_RESTORED) == 1
    assert (await store.load("g")).group.epoch == 1 + EPOCH_JUMP


async def test_a_copy_on_the_same_server_is_noticed(database: str, postgres: Databases) -> None:
    """What a database was copied from went on; in its place the copy goes on far ahead."""
    async with PostgresStore.open(database) as store:
        await Fleet(store).create("a")
    name = database.rpartition("/")[2].partition("?")[0]
    copy = f"{name}_copy"
    await asyncio.to_thread(postgres.execute, f'CREATE DATABASE "{copy}" TEMPLATE "{name}"')
    try:
        async with PostgresStore.open(postgres.dsn(copy)) as store:
            assert (await store.load("g")).group.epoch == 1 + EPOCH_JUMP
    finally:
        await asyncio.to_thread(postgres.drop, copy)


async def test_tables_that_are_restored_under_a_store_are_noticed(
    store: PostgresStore, database: str
) -> None:
    """Its connections go on, and see each time that the table is another one than before."""
    await Fleet(store).create("a")
    async with connected(database) as connection:
        for times in (1, 2, 3):
            await connection.execute(RESTORED)
            assert (await store.load("g")).group.epoch == 1 + times * EPOCH_JUMP
