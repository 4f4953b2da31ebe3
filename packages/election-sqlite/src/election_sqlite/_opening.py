"""Opening a database: whose it is, its schema, its time, and whether it lacks commits."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from attrs import frozen

from election_sqlite._clock import Clock, Persisted, StoreTime
from election_sqlite._errors import mapped
from election_sqlite._incarnation import HighWater, lacks_commits, renew
from election_sqlite._lane import Transaction
from election_sqlite._schema import check, configure, connect, migrate

__all__ = ["Opened", "opened", "persist"]


@frozen
class Opened:
    """A database that is ready for use."""

    writer: sqlite3.Connection
    reader: sqlite3.Connection
    time: StoreTime
    inode: tuple[int, int]
    """The device and number of the file that is open."""


def opened(path: Path, busy_timeout: timedelta, clock: Clock) -> Opened:
    """Open a database, making or migrating it, with its lock held by the caller.

    Raises:
        SchemaMismatch: It is not a database, another application's, or of a newer schema.
        Unavailable: It cannot be read or written.
    """
    with mapped(path):
        # It holds digests of tokens and what jobs carry, so a new file is its owner's alone; SQLite
        # gives its log the same mode.
        with suppress(OSError):  # SQLite says what is wrong
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        writer = connect(path, busy_timeout)
        try:
            version = check(writer, path)
            configure(writer, path)
            time = _prepare(writer, path, version, clock)
            reader = connect(path, busy_timeout)
        except BaseException:
            writer.close()
            raise
        try:
            reader.execute("PRAGMA query_only=ON")
            check(reader, path)
            found = path.stat()
        except BaseException:
            reader.close()
            writer.close()
            raise
    return Opened(writer, reader, time, (found.st_dev, found.st_ino))


def _prepare(writer: sqlite3.Connection, path: Path, version: int, clock: Clock) -> StoreTime:
    """Migrate, set the store's time, and make a new incarnation if commits may be missing."""
    # Whatever is known of an earlier file of this name is not about a new one.
    known = HighWater.read(path) if version else None
    with _transaction(writer):
        migrate(writer, version)
        kept = _persisted(writer) if version else None
        time = StoreTime(clock, kept, at_least=0 if known is None else known.at)
        transaction = Transaction(writer, time.now())
        if lacks_commits(writer, known):
            renew(transaction, known)
        persist(transaction, time)
        known = HighWater.of(writer, transaction.at)
    known.write(path)
    return time


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _persisted(connection: sqlite3.Connection) -> Persisted:
    high_water, wall_offset, origin, elapsed = connection.execute(
        "SELECT high_water, wall_offset, origin, elapsed FROM election_meta"
    ).fetchone()
    return Persisted(high_water=high_water, wall_offset=wall_offset, origin=origin, elapsed=elapsed)


def persist(transaction: Transaction, time: StoreTime) -> None:
    """Keep the time of a transaction, so that no later one is earlier, restarts included."""
    kept = time.persisted(transaction.at)
    transaction.connection.execute(
        "UPDATE election_meta SET high_water = ?, wall_offset = ?, origin = ?, elapsed = ?",
        (kept.high_water, kept.wall_offset, kept.origin, kept.elapsed),
    )
