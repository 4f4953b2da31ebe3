"""Tests of the Postgres store run on asyncio alone: its driver knows no other loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from election_postgres import PostgresStore


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of every asynchronous test."""
    return "asyncio"


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    """A store over a database of the test's own."""
    async with PostgresStore.open(database) as opened:
        yield opened
