"""The schema: whose database it is, of which version, and how it gets to this one."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path

from election_core import SchemaMismatch, Unavailable
from election_sqlite._errors import mapped

__all__ = [
    "APPLICATION_ID",
    "SCHEMA_VERSION",
    "SETTINGS",
    "check",
    "configure",
    "connect",
    "migrate",
    "schema_version",
]

APPLICATION_ID = 0x456C6374
"""Marks a file as an election database: "Elct" in ASCII."""

SETTINGS = ("PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON")
"""What every connection sets that writes; the write-ahead log is a property of the file."""

_OLDEST_SQLITE = (3, 37, 0)
_PATIENCE = timedelta(seconds=5)


@cache
def _migrations() -> tuple[str, ...]:
    """The SQL of each migration, in order; the first makes version 1."""
    folder = files("election_sqlite") / "migrations"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=_name)
    return tuple(entry.read_text(encoding="utf-8") for entry in found)


def _name(entry: object) -> str:
    name: str = getattr(entry, "name", "")
    return name


SCHEMA_VERSION = len(_migrations())
"""The schema that this version of the package works with."""


def connect(path: Path, busy_timeout: timedelta) -> sqlite3.Connection:
    """A connection to be handed to another thread, with explicit transactions."""
    return sqlite3.connect(
        path,
        timeout=busy_timeout.total_seconds(),
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def check(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the schema in a database, 0 for an empty file; changes nothing.

    Raises:
        SchemaMismatch: It is of a newer version, or not an election database.
        sqlite3.Error: It is not a database, or cannot be read.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise SchemaMismatch(
            f"SQLite {sqlite3.sqlite_version} is too old;"
            f" {'.'.join(map(str, _OLDEST_SQLITE))} or later is needed"
        )
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise SchemaMismatch(
                f"{path}: its schema is version {version}, and this program knows versions up to"
                f" {SCHEMA_VERSION}; run a newer election-sqlite, or restore an older backup"
            )
        return version
    if application or version or tables:
        raise SchemaMismatch(
            f"{path}: it is a database of another application; choose another file"
            " (to have your own tables beside the store's, let the store make the file first)"
        )
    return 0


def schema_version(database: str | os.PathLike[str]) -> int:
    """The version of the schema in a file, 0 if it is missing or empty; changes nothing.

    Args:
        database: The database, which a process may have open.

    Raises:
        SchemaMismatch: It is of a newer version, or not an election database.
        Unavailable: It cannot be read.
    """
    path = Path(database)
    if not path.is_file():
        return 0
    with mapped(path), closing(connect(path, _PATIENCE)) as connection:
        return check(connection, path)


def configure(connection: sqlite3.Connection, path: Path) -> None:
    """Set what every connection that writes needs: write-ahead log, full syncs, foreign keys.

    Raises:
        Unavailable: The file system cannot do it.
    """
    mode: str = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise Unavailable(
            f"{path}: its file system allows no write-ahead log (journal mode is {mode!r});"
            " keep it on a local file system"
        )
    for pragma in SETTINGS:
        connection.execute(pragma)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a database from `version`, which `check` found, to this one, in a transaction."""
    for script in _migrations()[version:]:
        for statement in _statements(script):
            connection.execute(statement)
    if version == 0:
        connection.execute(
            "INSERT INTO election_meta (id, incarnation, high_water, wall_offset, origin, elapsed)"
            " VALUES (1, ?, 0, 0, NULL, 0)",
            (secrets.token_hex(16),),
        )
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    if version != SCHEMA_VERSION:
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
