"""A database with many groups: the engine makes one, and the database copies its rows.

To make 100,000 groups call by call would take longer than all that is measured. The rows of the
copies are those of a group that the engine made, under other ids, so they are as valid.
"""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from attrs import evolve
from stores import Databases, Member, PostgresServer
from typing_extensions import override

from election_core import Settings, Token, TokenKind
from election_core.engine import Engine
from election_core.ports import StoredToken
from election_ctl_api import ControlStore
from election_postgres import PostgresStore, migrate
from election_sqlite import SqliteStore

__all__ = ["Place", "populate", "postgres_place", "secret_of", "sqlite_place"]

_COPIES: Mapping[str, Mapping[str, str]] = {
    "group": {
        "id": "{name} || '-' || n",
        "term_runner_id": "term_runner_id || '-' || n",
        "term_session_id": "term_session_id || '-' || n",
    },
    "runner": {
        "id": "id || '-' || n",
        "group_id": "{name} || '-' || n",
        "session_id": "session_id || '-' || n",
    },
    "token": {
        "id": "id || '-' || n",
        "group_id": "{name} || '-' || n",
        "runner_id": "runner_id || '-' || n",
        "digest": "",
    },
}
"""The tables that a group has rows in, and what is another in its copy number `n`."""
_OF_FIRST: Mapping[str, str] = {"group": "id", "runner": "group_id", "token": "group_id"}


def secret_of(runner_id: str) -> str:
    """The token of a runner."""
    return f"elt_bench-{runner_id}"


def _digest(runner_id: str) -> bytes:
    return hashlib.sha256(secret_of(runner_id).encode()).digest()


class Place(ABC):
    """Where servers keep their data, as those see it and as its database does."""

    name: str
    url: str
    """As a server is told."""
    digest: str
    """How it makes the digest of a runner's token."""
    numbers: str
    """How it counts from 1."""

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[ControlStore]:
        """The store, in this process."""

    @abstractmethod
    def rows(self, *statements: str) -> Sequence[Sequence[Any]]:
        """Run statements in one transaction; the rows of the last."""

    @abstractmethod
    def table(self, name: str) -> str:
        """What the database calls the table of groups, of runners or of tokens."""

    @abstractmethod
    def columns(self, table: str) -> Sequence[str]:
        """The columns of a table."""

    @abstractmethod
    def seconds(self, duration: timedelta) -> str:
        """How much it adds to a time for a duration."""

    @abstractmethod
    def moment(self, value: object) -> float:
        """The seconds since 1970 of a time that it tells."""

    def process(self) -> psutil.Process | None:
        """The database's own, the first of them, if it has any that can be watched."""
        return None


class SqlitePlace(Place):
    """A file in a folder."""

    name = "SQLite"
    digest = "digest(runner_id || '-' || n)"
    numbers = (
        "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {})"
        " SELECT n FROM s)"
    )

    def __init__(self, folder: Path) -> None:
        self._path = folder / "election.db"
        self.url = f"sqlite:///{self._path}"

    @override
    def open(self) -> AbstractAsyncContextManager[ControlStore]:
        return SqliteStore.open(self._path)

    @override
    def rows(self, *statements: str) -> Sequence[Sequence[Any]]:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.create_function("digest", 1, _digest, deterministic=True)
            connection.execute("BEGIN")
            cursors = [connection.execute(statement) for statement in statements]
            found = cursors[-1].fetchall()
            connection.execute("COMMIT")
            return found

    @override
    def table(self, name: str) -> str:
        return f"election_{name}"

    @override
    def columns(self, table: str) -> Sequence[str]:
        return [name for (name,) in self.rows(f"SELECT name FROM pragma_table_info('{table}')")]

    @override
    def seconds(self, duration: timedelta) -> str:
        return str(duration // timedelta(microseconds=1))

    @override
    def moment(self, value: object) -> float:
        assert isinstance(value, int)
        return value / 1e6


class PostgresPlace(Place):
    """A database with the schema.

    Args:
        server: Its server.
        dsn: The database.
    """

    name = "Postgres"
    digest = "sha256(convert_to('elt_bench-' || runner_id || '-' || n, 'UTF8'))"
    numbers = "generate_series(1, {}) AS s(n)"

    def __init__(self, server: Databases, dsn: str) -> None:
        self._server = server
        self.url = dsn

    @override
    def open(self) -> AbstractAsyncContextManager[ControlStore]:
        return PostgresStore.open(self.url)

    @override
    def rows(self, *statements: str) -> Sequence[Sequence[Any]]:
        async def work() -> Sequence[Sequence[Any]]:
            connection = await asyncpg.connect(self.url)
            try:
                async with connection.transaction():
                    for statement in statements[:-1]:
                        await connection.execute(statement)
                    return [tuple(row) for row in await connection.fetch(statements[-1])]
            finally:
                await connection.close()

        return asyncio.run(work())

    @override
    def columns(self, table: str) -> Sequence[str]:
        return [
            name
            for (name,) in self.rows(
                f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass"
                " AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
            )
        ]

    @override
    def table(self, name: str) -> str:
        return f"election.{'runner_group' if name == 'group' else name}"

    @override
    def seconds(self, duration: timedelta) -> str:
        return f"interval '{duration.total_seconds()} seconds'"

    @override
    def moment(self, value: object) -> float:
        assert isinstance(value, datetime)
        return value.timestamp()

    @override
    def process(self) -> psutil.Process | None:
        if isinstance(self._server, PostgresServer):
            return psutil.Process(self._server.process.pid)
        return None


@contextmanager
def sqlite_place() -> Iterator[Place]:
    """A fresh file, which is gone after the block."""
    with tempfile.TemporaryDirectory() as folder:
        yield SqlitePlace(Path(folder))


@contextmanager
def postgres_place(server: Databases) -> Iterator[Place]:
    """A fresh database, which is gone after the block."""
    dsn = server.create_database()
    try:
        asyncio.run(migrate(dsn))
        yield PostgresPlace(server, dsn)
    finally:
        server.drop(dsn)


def populate(
    place: Place, groups: int, *, name: str = "group", lease: timedelta = timedelta(seconds=15)
) -> list[Member]:
    """Fill a place that no server has open with groups of three, the first runner leading each.

    Their leases are those of now, all alike. Each runner has the token that `secret_of` tells.

    Args:
        place: Where.
        groups: How many; their ids are the name and a number.
        name: What they are called.
        lease: Of each group.
    """
    members = asyncio.run(_first_group(place, f"{name}-0", lease))
    copies = groups - 1
    if copies:
        place.rows(*(_copying(place, table, name, copies) for table in _COPIES))
    return members + [
        evolve(
            member,
            group_id=f"{name}-{number}",
            runner_id=f"{member.runner_id}-{number}",
            session_id=f"{member.session_id}-{number}",
        )
        for number in range(1, groups)
        for member in members
    ]


def _copying(place: Place, table: str, name: str, copies: int) -> str:
    """The statement that copies the rows of the first group that often."""
    whole = place.table(table)
    columns = place.columns(whole)
    changed = {**_COPIES[table], "digest": place.digest}
    values = [changed.get(column, column).replace("{name}", f"'{name}'") for column in columns]
    return (
        f"INSERT INTO {whole} ({', '.join(columns)}) SELECT {', '.join(values)}"
        f" FROM {whole} CROSS JOIN {place.numbers.format(copies)}"
        f" WHERE {_OF_FIRST[table]} = '{name}-0'"
    )


async def _first_group(place: Place, group_id: str, lease: timedelta) -> list[Member]:
    members: list[Member] = []
    async with place.open() as store, Engine(store) as engine:
        await engine.create_group(group_id, Settings(lease=lease))
        for name in ("a", "b", "c"):
            runner, _ = await engine.register(group_id, name)
            standing = await engine.open_session(runner.id, session_key="key")
            members.append(
                Member(
                    group_id=group_id,
                    runner_id=runner.id,
                    session_id=standing.session_id,
                    epoch=standing.epoch if standing.leader_runner_id == runner.id else None,
                )
            )
            token = Token(
                id=f"token-{runner.id}",
                kind=TokenKind.RUNNER,
                group_id=group_id,
                runner_id=runner.id,
                created_at=runner.created_at,
            )
            await store.add_token(StoredToken(token=token, digest=_digest(runner.id)), ttl=None)
        for member in members:
            await engine.beat(member.runner_id, member.session_id)
    return members
