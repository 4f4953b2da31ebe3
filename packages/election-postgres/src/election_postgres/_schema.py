"""The schema: which version a database has, and how it gets to this one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from importlib.resources import files

import asyncpg
from attrs import frozen

from election_core import SchemaMismatch
from election_postgres._connections import connected, raising
from election_postgres._dsn import redacted
from election_postgres._errors import MIGRATE, Contended
from election_postgres._limits import Limits

__all__ = ["SCHEMA_VERSION", "Migration", "Step", "check", "migrate", "steps"]

_OLDEST_POSTGRES = 14
_ATTEMPTS = 5
_LOCK = (1164731245, 0)
_LIMITS = Limits(
    statement=timedelta(hours=1), lock=timedelta(minutes=1), connect=timedelta(seconds=10)
)
_COMPATIBLE = re.compile(r"-- compatible-from: (\d+)\n")

# Made before anything else, so that a version can always be asked for.
_BOOTSTRAP = """
CREATE SCHEMA IF NOT EXISTS election;
CREATE TABLE IF NOT EXISTS election.migration (
    version integer PRIMARY KEY,
    name text NOT NULL,
    compatible_from integer NOT NULL, -- the oldest program that works with the schema from here on
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""
_VERSION = """
SELECT coalesce(max(version), 0) FROM election.migration
"""
_APPLIED = """
INSERT INTO election.migration (version, name, compatible_from) VALUES ($1, $2, $3)
"""
_META = "INSERT INTO election.meta (id, history) VALUES (1, election.history())"


@frozen
class Step:
    """One migration."""

    version: int
    name: str
    compatible_from: int
    """The oldest version of the program that works with the schema once this was applied."""
    sql: str


@frozen(kw_only=True)
class Migration:
    """What a migration did, or would do."""

    before: int
    """The version that the schema had; 0 without one."""
    after: int
    """The version that it has then."""
    steps: tuple[str, ...]
    """The names of the files that were applied, or would be."""


@cache
def steps() -> Sequence[Step]:
    """The migrations in order; the first one makes version 1."""
    folder = files("election_postgres") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    found = []
    for version, name in enumerate(names, 1):
        sql = (folder / name).read_text(encoding="utf-8")
        compatible = _COMPATIBLE.match(sql)
        assert compatible is not None, name  # noqa: S101 - a file of this package
        found.append(Step(version, name, int(compatible[1]), sql))
    return tuple(found)


SCHEMA_VERSION = len(steps())
"""The schema that this version of the package works with."""


def check(version: int, compatible_from: int, server: int, where: str) -> None:
    """Whether this program works with a schema.

    A newer one is fine as long as it says so: replicas of two versions run side by side while one
    replaces the other.

    Args:
        version: Of the schema; 0 without one.
        compatible_from: The oldest program that the schema works with.
        server: The server's major version.
        where: The database, as people may see it.

    Raises:
        SchemaMismatch: It does not; the message says what to run.
    """
    _check_server(server, where)
    if version == 0:
        raise SchemaMismatch(f"{where}: it has no schema for elections yet; {MIGRATE}")
    if version < SCHEMA_VERSION:
        raise SchemaMismatch(
            f"{where}: its schema is version {version}, and this program needs {SCHEMA_VERSION};"
            f" {MIGRATE}"
        )
    if compatible_from > SCHEMA_VERSION:
        raise SchemaMismatch(
            f"{where}: its schema is version {version}, and this program knows versions up to"
            f" {SCHEMA_VERSION}; run a newer election-postgres"
        )


def _check_server(server: int, where: str) -> None:
    if server < _OLDEST_POSTGRES:
        raise SchemaMismatch(
            f"{where}: Postgres {_OLDEST_POSTGRES} or later is needed; this is {server}"
        )


async def migrate(
    dsn: str, *, dry_run: bool = False, to: Sequence[Step] | None = None
) -> Migration:
    """Bring the schema of a database to this version, in one transaction.

    Safe to be run by several at once: the others wait, and find nothing to do. A schema that is
    newer is left as it is.

    Args:
        dsn: The database's URL.
        dry_run: Only tell what would be done.
        to: All migrations there are; those of this package unless given.

    Raises:
        Unavailable: The database cannot be reached, or the role may not do it.
        SchemaMismatch: The server is too old.
    """
    known = steps() if to is None else to
    where = redacted(dsn)
    async with connected(dsn, _LIMITS) as connection:
        for left in reversed(range(_ATTEMPTS)):
            try:
                # Whatever is the default here: what is read behind a lock is newer than the lock.
                async with connection.transaction(isolation="read_committed", readonly=dry_run):
                    return await _migrate(connection, known, where, dry_run=dry_run)
            except Exception as error:
                known_error = raising(error, where, sent=True, writes=False)
                contended = isinstance(error, asyncpg.LockNotAvailableError)
                if left and (contended or isinstance(known_error, Contended)):
                    continue  # it gave way to the traffic, and has changed nothing
                raise known_error from error
    raise AssertionError("the last attempt returns or raises")


async def _migrate(
    connection: asyncpg.Connection, known: Sequence[Step], where: str, *, dry_run: bool
) -> Migration:
    _check_server(connection.get_server_version().major, where)
    await connection.execute(_LIMITS.settings.format(local="LOCAL "))
    if not dry_run:
        await connection.execute("SET TRANSACTION READ WRITE")
        await connection.execute("SELECT pg_advisory_xact_lock($1::integer, $2::integer)", *_LOCK)
        if await connection.fetchval("SELECT to_regclass('election.migration')") is None:
            await connection.execute(_BOOTSTRAP)
    before = 0
    if await connection.fetchval("SELECT to_regclass('election.migration')") is not None:
        before = int(await connection.fetchval(_VERSION))
    missing = [step for step in known if step.version > before]
    if missing and not dry_run:
        if before:
            # Every call reads this first, so none is left half way when the others are locked. They
            # wait behind this, so it does not wait long for a fenced transaction before them.
            await connection.execute("SET LOCAL lock_timeout = '2s'")
            await connection.execute("LOCK TABLE election.meta IN ACCESS EXCLUSIVE MODE")
        for step in missing:
            await connection.execute(step.sql)
            await connection.execute(_APPLIED, step.version, step.name, step.compatible_from)
        if before == 0:
            await connection.execute(_META)
    return Migration(
        before=before,
        after=max(before, len(known)),
        steps=tuple(step.name for step in missing),
    )
