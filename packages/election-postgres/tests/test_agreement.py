"""The Postgres store does what the store in memory does, whatever is asked of the two, and when."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from hypothesis import settings
from typing_extensions import override

from election_postgres import PostgresStore
from election_testkit import AgreementMachine, FullStore, ManualClock
from postgres_server import Databases
from postgres_subject import StoppedClock

_EMPTY = """
DO $$
DECLARE
    v_table text;
BEGIN
    FOR v_table IN
        SELECT tablename FROM pg_tables
        WHERE schemaname = 'election' AND tablename NOT IN ('meta', 'migration')
    LOOP
        EXECUTE 'TRUNCATE election.' || v_table || ' RESTART IDENTITY';
    END LOOP;
END $$;
ALTER SEQUENCE election.event_id RESTART;
ALTER SEQUENCE election.job_seq RESTART;
UPDATE election.meta SET mark_at = NULL, mark_tick = NULL, outages = '[]', clock_offset = '0',
    events_pruned = 0;
"""
_database: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _shared_database(postgres: Databases, migrated_template: str) -> Iterator[None]:
    """One database for all examples, emptied for each."""
    _database.append(postgres.create_database(template=migrated_template))
    yield
    postgres.drop(_database.pop())


class PostgresAgreement(AgreementMachine):
    """Postgres beside memory."""

    @override
    @asynccontextmanager
    async def open_store(self, clock: ManualClock) -> AsyncIterator[FullStore]:
        (dsn,) = _database
        connection = await asyncpg.connect(dsn)
        await connection.execute(_EMPTY)
        await connection.close()
        async with (
            StoppedClock.of(dsn, clock()) as self.stopped,
            PostgresStore.open(dsn, connections=2) as store,
        ):
            yield store

    @override
    async def moved(self, clock: ManualClock) -> None:
        await self.stopped.set(clock())


TestPostgresAgreement = PostgresAgreement.TestCase
TestPostgresAgreement.settings = settings(max_examples=25, stateful_step_count=40)
