"""The Postgres store keeps what the ports promise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from typing_extensions import override

from election_testkit import (
    AccessStoreConformance,
    JobStoreConformance,
    SharedStoreConformance,
    StoreConformance,
    Subject,
    Suite,
)
from postgres_server import Databases
from postgres_subject import PostgresSubject


@pytest.fixture(scope="module")
def shared_database(postgres: Databases, migrated_template: str) -> Iterator[str]:
    """One database for all cases: each makes groups of its own."""
    dsn = postgres.create_database(template=migrated_template)
    yield dsn
    postgres.drop(dsn)


class _OnPostgres(Suite):
    @pytest.fixture
    @override
    async def subject(self, shared_database: str) -> AsyncIterator[Subject]:
        """Stores over one database."""
        async with PostgresSubject.open(shared_database) as subject:
            yield subject


class TestStore(_OnPostgres, StoreConformance):
    """Groups, runners, sessions, events and the mark."""


class TestJobs(_OnPostgres, JobStoreConformance):
    """Jobs and their claims."""


class TestAccess(_OnPostgres, AccessStoreConformance):
    """Tokens."""


class TestShared(_OnPostgres, SharedStoreConformance):
    """What one replica tells the others."""
