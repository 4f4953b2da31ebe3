"""The schema: how a database comes to it, and which programs work with which."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from election_core import Release, SchemaMismatch
from election_postgres import SCHEMA_VERSION, Migration, PostgresStore, migrate
from election_postgres._schema import Step, steps
from postgres_fleet import Fleet, connected, waiting
from postgres_server import Databases

MIGRATE = "run: election migrate --store URL"
NAMES = tuple(step.name for step in steps())

LATER = """
ALTER TABLE election.runner_group ADD COLUMN remark text NOT NULL DEFAULT '';
ALTER TABLE election.runner ADD COLUMN remark text;
ALTER TABLE election.event ADD COLUMN remark text;
ALTER TABLE election.job ADD COLUMN remark text;
ALTER TABLE election.claim ADD COLUMN remark text;
CREATE INDEX job_remark ON election.job (remark);
CREATE OR REPLACE FUNCTION election.share(p_group text) RETURNS void LANGUAGE plpgsql VOLATILE
AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(1164731252, hashtext(p_group)); END';
"""
"""What a second migration may do while programs of before go on."""


def later(sql: str = LATER, *, compatible_from: int = SCHEMA_VERSION) -> Sequence[Step]:
    """The migrations of a version of this package that is still to come."""
    return (*steps(), Step(SCHEMA_VERSION + 1, "later.sql", compatible_from, sql))


async def schema_of(dsn: str) -> list[asyncpg.Record]:
    """What there is in the schema, and nothing if it does not exist."""
    async with connected(dsn) as connection:
        return list(
            await connection.fetch(
                "SELECT c.oid::text, c.relname, c.relkind::text FROM pg_class AS c"
                " WHERE c.relnamespace = to_regnamespace('election')"
                " UNION ALL SELECT p.oid::text, p.proname, md5(p.prosrc) FROM pg_proc AS p"
                " WHERE p.pronamespace = to_regnamespace('election') ORDER BY 1"
            )
        )


async def work(fleet: Fleet, epoch: int) -> None:
    """Use what a store has: a job through, a renewal, an election, events."""
    (job_id,) = await fleet.enqueue()
    leader = "a" if epoch % 2 else "b"
    claimed = await fleet.claim(leader, epoch)
    assert [item.job.id for item in claimed.items] == [job_id]
    await fleet.store.cancel(job_id)
    assert await fleet.beat("a") is not None
    session = fleet.session(leader)
    await fleet.do(Release(runner_id=fleet.runner(leader), session_id=session, epoch=epoch))
    assert await fleet.epoch() == epoch + 1
    assert (await fleet.store.events("g"))[-1].epoch == epoch + 1


async def test_a_dry_run_tells_and_changes_nothing(empty_database: str) -> None:
    """It names the files it would apply, and leaves not even the schema behind."""
    told = await migrate(empty_database, dry_run=True)

    assert told == Migration(before=0, after=SCHEMA_VERSION, steps=NAMES)
    assert await schema_of(empty_database) == []
    assert await migrate(empty_database) == told


async def test_a_second_migration_finds_nothing_to_do(database: str) -> None:
    """What is applied is not applied again."""
    nothing = Migration(before=SCHEMA_VERSION, after=SCHEMA_VERSION, steps=())
    before = await schema_of(database)

    assert await migrate(database, dry_run=True) == nothing
    assert await migrate(database) == nothing
    assert await schema_of(database) == before


async def test_ten_at_once_apply_it_once(empty_database: str) -> None:
    """Replicas that start together may all migrate: one does it, the others find it done."""
    done = await asyncio.gather(*(migrate(empty_database) for _ in range(10)))

    assert sorted(each.before for each in done) == [0, *[SCHEMA_VERSION] * 9]
    assert {each.after for each in done} == {SCHEMA_VERSION}
    async with PostgresStore.open(empty_database) as store:
        await Fleet(store).create("a")


@pytest.mark.parametrize(
    "default",
    ["default_transaction_isolation = 'serializable'", "default_transaction_read_only = on"],
)
async def test_defaults_of_the_database_do_not_count(
    default: str, postgres: Databases, empty_database: str
) -> None:
    """Whatever a database has for default, it is migrated by several at once, and served."""
    name = empty_database.rpartition("/")[2].partition("?")[0]
    await asyncio.to_thread(postgres.execute, f'ALTER DATABASE "{name}" SET {default}')
    done = await asyncio.gather(*(migrate(empty_database) for _ in range(4)))
    assert sorted(each.before for each in done) == [0, *[SCHEMA_VERSION] * 3]
    assert (await migrate(empty_database, dry_run=True)).steps == ()
    async with PostgresStore.open(empty_database) as store:
        fleet = Fleet(store)
        await fleet.create("a", "b")
        await work(fleet, 1)


async def test_a_migration_does_not_hold_up_others_behind_a_fence(
    store: PostgresStore, database: str
) -> None:
    """A fenced transaction that takes long makes it try again; meanwhile calls are answered."""
    fleet = Fleet(store)
    await fleet.create("a", "b")
    async with connected(database) as own, connected(database) as watcher:
        async with own.transaction():
            await store.fence(own, "g", 1)
            migrating = asyncio.create_task(migrate(database, to=later()))
            await waiting(watcher)
            assert await fleet.beat("a") is not None
            assert not migrating.done()
        assert (await migrating).after == SCHEMA_VERSION + 1


async def test_a_missing_schema_is_told(empty_database: str) -> None:
    """The sentence says what to run."""
    with pytest.raises(SchemaMismatch, match=f"no schema for elections yet; {MIGRATE}"):
        async with PostgresStore.open(empty_database):
            pass


async def test_an_older_schema_is_told(empty_database: str) -> None:
    """The sentence names both versions and says what to run."""
    await migrate(empty_database, to=steps()[:-1])

    with pytest.raises(
        SchemaMismatch,
        match=f"version {SCHEMA_VERSION - 1}, and this program needs {SCHEMA_VERSION}; {MIGRATE}",
    ):
        async with PostgresStore.open(empty_database):
            pass
    assert (await migrate(empty_database)).steps == NAMES[-1:]
    async with PostgresStore.open(empty_database):
        pass


async def test_a_store_in_use_goes_on_through_a_migration(
    store: PostgresStore, database: str
) -> None:
    """Replicas of before and after run side by side while one version replaces the other."""
    fleet = Fleet(store)
    await fleet.create("a", "b")
    await work(fleet, 1)

    done = await migrate(database, to=later())
    assert done == Migration(before=SCHEMA_VERSION, after=SCHEMA_VERSION + 1, steps=("later.sql",))

    await work(fleet, 2)
    await store.ready()
    async with PostgresStore.open(database) as opened:
        fleet.store = opened
        await work(fleet, 3)
        fleet.store = store
        await work(fleet, 4)
    assert await migrate(database) == Migration(
        before=SCHEMA_VERSION + 1, after=SCHEMA_VERSION + 1, steps=()
    )


async def test_a_migration_under_load_loses_no_call(store: PostgresStore, database: str) -> None:
    """Calls that are under way while the schema changes are carried out, each once."""
    fleet = Fleet(store)
    await fleet.create("a", "b")
    stop = asyncio.Event()

    async def busy() -> int:
        count = 0
        while not stop.is_set():
            await fleet.beat("a")
            await fleet.enqueue()
            count += 1
        return count

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(busy()) for _ in range(3)]
        await migrate(database, to=later())
        await fleet.enqueue(3)
        stop.set()

    enqueued = sum(task.result() for task in tasks) + 3
    assert await store.job_counts() == {"queued": enqueued}


async def test_a_newer_schema_that_is_incompatible_is_refused(
    store: PostgresStore, database: str
) -> None:
    """A schema that says that it needs a newer program gets none of this version."""
    await migrate(database, to=later(compatible_from=SCHEMA_VERSION + 1))
    sentence = (
        f"version {SCHEMA_VERSION + 1}, and this program knows versions up to {SCHEMA_VERSION};"
        " run a newer election-postgres"
    )

    with pytest.raises(SchemaMismatch, match=sentence):
        async with PostgresStore.open(database):
            pass
    with pytest.raises(SchemaMismatch, match=sentence):
        await store.ready()


async def test_a_migration_that_fails_leaves_nothing(database: str, empty_database: str) -> None:
    """All files that are missing are applied, or none."""
    broken = later(f"{LATER}; SELECT 1/0")
    before = await schema_of(database)

    for dsn in (database, empty_database):
        with pytest.raises(Exception, match="SQLSTATE 22012"):
            await migrate(dsn, to=broken)

    assert await schema_of(database) == before
    assert await schema_of(empty_database) == []
    assert (await migrate(database)).before == SCHEMA_VERSION
