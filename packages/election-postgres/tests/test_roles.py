"""Least privilege: the role that the README has for control planes, and what others lack."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from election_core import JobOutcome, Settlement, Token, TokenKind, Unavailable
from election_core.ports import Settle, StoredToken, Topic
from election_postgres import PostgresStore, migrate
from election_postgres._schema import SCHEMA_VERSION, steps
from postgres_fleet import Fleet, connected, fresh
from postgres_server import Databases

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
ROLE = f"election_test_{fresh()}"
NO_RIGHT = "this role may not do that; grant it what the documentation lists"


def grants() -> str:
    """The statements of the README that make a role one that may run control planes."""
    (found,) = [
        block for block in README.split("```") if block.startswith("sql\nGRANT USAGE ON SCHEMA")
    ]
    return found.removeprefix("sql\n").replace("runner_role", ROLE)


@pytest.fixture
def role(postgres: Databases, database: str) -> Iterator[str]:
    """A DSN of a role that has no right yet."""
    postgres.execute(f"CREATE ROLE {ROLE} LOGIN")
    yield Databases(database).dsn(user=ROLE)
    postgres.execute(f"DROP OWNED BY {ROLE}", database=database.rpartition("/")[2])
    postgres.execute(f"DROP ROLE {ROLE}")


@pytest.fixture
async def runner(role: str, database: str) -> str:
    """A DSN of a role that may run control planes."""
    async with connected(database) as connection:
        await connection.execute(grants())
    return role


async def every_call(store: PostgresStore, dsn: str) -> None:
    """Each call of the port once, with an effect, and the fence."""
    fleet = Fleet(store)
    await fleet.create("a", "b")
    await store.mark(timedelta(seconds=1))
    await fleet.beat("a", ready=False)
    await fleet.beat("a", ready=True)
    await store.pulse(fleet.runner("a"), fleet.session("a"))
    assert (await store.due(10, hold=timedelta(seconds=1))).group_ids == ("g",)
    await fleet.decide()
    await store.find_runner(fleet.runner("a"))
    await store.ended_session(fleet.runner("a"), key="none")
    await store.groups()
    await store.runners("g")
    await store.events("g")
    await store.census()
    await store.prune()
    await store.ready()
    await fleet.enqueue(2)
    claimed = (await fleet.claim("a", await fleet.epoch())).items[0]
    settlement = Settlement(outcome=JobOutcome.SUCCEEDED)
    await store.settle(
        [Settle(job_id=claimed.job.id, token=claimed.claim_token, settlement=settlement)]
    )
    (queued,) = (await store.jobs("g")).items[1:]
    await store.cancel(queued.id)
    await store.job(queued.id)
    await store.job_counts()
    token = Token(id="t", kind=TokenKind.OPERATOR, created_at=datetime.now(UTC))
    await store.add_token(StoredToken(token=token, digest=b"1"), ttl=None)
    await store.find_token(b"1")
    await store.tokens()
    await store.revoke_token("t")
    async with connected(dsn) as connection, connection.transaction():
        await store.fence(connection, "g", await fleet.epoch() or 0)


async def heard(store: PostgresStore) -> bool:
    """Whether another store's announcement arrives."""
    async with store.changes() as changes:
        async with PostgresStore.open(store._listen_dsn or "") as other:
            await other.announce([("jobs", "g")])
        async with asyncio.timeout(30):
            return await anext(changes) == frozenset[Topic]({("jobs", "g")})


async def test_a_role_that_runs_can_do_every_call(runner: str) -> None:
    """The grants of the README are enough for all that a control plane does."""
    async with PostgresStore.open(runner) as store:
        await every_call(store, runner)
        assert await heard(store)


async def test_a_role_that_runs_cannot_migrate(
    runner: str, database: str, role: str, empty_database: str
) -> None:
    """It is told so, and may still ask what there is to do."""
    assert (await migrate(runner)).before == SCHEMA_VERSION
    elsewhere = Databases(empty_database).dsn(user=ROLE)
    assert (await migrate(elsewhere, dry_run=True)).before == 0
    with pytest.raises(Unavailable, match=NO_RIGHT):
        await migrate(elsewhere)
    await migrate(empty_database, to=steps()[:-1])
    async with connected(empty_database) as connection:
        await connection.execute(grants())
    with pytest.raises(Unavailable, match=NO_RIGHT):
        await migrate(elsewhere)
    async with connected(empty_database) as connection:
        await connection.execute(f"DROP OWNED BY {ROLE}")


async def test_a_role_without_grants_is_told(role: str) -> None:
    """Neither the missing schema nor a table's name is what it is told of."""
    with pytest.raises(Unavailable, match=NO_RIGHT):
        async with PostgresStore.open(role):
            pass


async def test_a_role_that_only_reads_is_told(role: str, database: str) -> None:
    """What it may not do it is told when it does it, and nothing is written."""
    async with connected(database) as connection:
        await connection.execute(
            f"GRANT USAGE ON SCHEMA election TO {ROLE};"
            f"GRANT SELECT ON ALL TABLES IN SCHEMA election TO {ROLE}"
        )
    async with PostgresStore.open(role) as store:
        with pytest.raises(Unavailable, match=NO_RIGHT):
            await Fleet(store).create()
        assert (await store.groups()).items == ()
