"""Where commits may be missing, the database does to every group what the core's rules say."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import asyncpg
from attrs import evolve
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from election_core import (
    EPOCH_JUMP,
    LONGEST_LEASE,
    Changes,
    EventKind,
    Group,
    JobRecord,
    Runner,
    Session,
    Settings,
    Snapshot,
    lapse_job,
    reincarnate,
)
from election_postgres import PostgresStore
from election_testkit.strategies import snapshots
from postgres_fleet import Fleet, connected, fresh, shift_clock

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
EMPTY = (
    "TRUNCATE election.runner_group, election.runner, election.event, election.job, election.upkeep"
)


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
