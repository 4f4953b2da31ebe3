"""Databases for any test of the workspace; the root ``conftest.py`` makes these fixtures known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from pgbouncer import PgBouncer
from postgres_server import Databases, PostgresServer, databases

__all__ = [
    "StartPostgres",
    "database",
    "empty_database",
    "migrated_template",
    "pgbouncer",
    "postgres",
    "start_postgres",
]

StartPostgres = Callable[..., PostgresServer]
"""Starts a server of the test's own; keywords are settings of Postgres."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """The server that the tests of this process share; none may stop it or change its settings."""
    with databases() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres: Databases) -> Iterator[str]:
    """The name of a database with the schema and nothing else, to be copied."""
    from election_postgres import migrate

    dsn = postgres.create_database()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(migrate(dsn))).result()
    yield dsn.rpartition("/")[2].partition("?")[0]
    postgres.drop(dsn)


@pytest.fixture
def empty_database(postgres: Databases) -> Iterator[str]:
    """The DSN of a database that holds nothing, and is this test's alone."""
    dsn = postgres.create_database()
    yield dsn
    postgres.drop(dsn)


@pytest.fixture
def database(postgres: Databases, migrated_template: str) -> Iterator[str]:
    """The DSN of a database with the schema, which is this test's alone."""
    dsn = postgres.create_database(template=migrated_template)
    yield dsn
    postgres.drop(dsn)


@pytest.fixture
def start_postgres() -> Iterator[StartPostgres]:
    """Servers of the test's own, which it may kill, freeze and restart; half a second each."""
    with ExitStack() as stack:

        def start(**settings: str) -> PostgresServer:
            return stack.enter_context(PostgresServer(**settings))

        yield start


@pytest.fixture
def pgbouncer(postgres: Databases) -> Iterator[PgBouncer]:
    """A pooler in transaction mode in front of the shared server; the machine must have it."""
    with PgBouncer(postgres) as pooler:
        yield pooler
