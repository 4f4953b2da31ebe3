"""Backups while the store runs, and restoring one while it does not."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from election_core import Invalid, SchemaMismatch, Unavailable
from election_sqlite._clock import Clock, SystemClock
from election_sqlite._errors import mapped
from election_sqlite._incarnation import HighWater
from election_sqlite._lane import outlast
from election_sqlite._lock import locked
from election_sqlite._opening import opened
from election_sqlite._schema import check, connect
from election_sqlite._values import moment

__all__ = ["back_up", "backup", "restore"]

_PATIENCE = timedelta(seconds=5)


async def backup(database: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Write a copy of a database, as of now, to a new file, also while a process has it open.

    The same as [`backup`][election_sqlite.SqliteStore.backup], for who has no store open: with its
    write-ahead log a database can be read beside the process that writes it.

    Args:
        database: The database; it stays as it is.
        target: The file to make. It appears complete or not at all.

    Raises:
        Invalid: The database does not exist, or the target does.
        SchemaMismatch: It is not an election database, or of a newer schema.
        Unavailable: It cannot be read, or the target cannot be written.
    """
    source = await asyncio.to_thread(_source, Path(database))
    await back_up(source, Path(target), _PATIENCE)


def _source(database: Path) -> Path:
    """The file of a database that may be copied; opening another name would make an empty one."""
    database = database.resolve()
    if not database.is_file():
        raise Invalid(f"{database}: there is no such database; name the file of a store")
    with mapped(database), closing(connect(database, _PATIENCE)) as connection:
        if check(connection, database) == 0:
            raise SchemaMismatch(f"{database}: it holds no election database; choose another file")
    return database


async def back_up(database: Path, target: Path, busy_timeout: timedelta) -> None:
    """See [`backup`][election_sqlite.SqliteStore.backup]."""
    with mapped(database), closing(connect(database, busy_timeout)) as connection:
        copying = asyncio.ensure_future(asyncio.to_thread(_copy_to, connection, target))
        try:
            await asyncio.shield(copying)
        except asyncio.CancelledError:
            connection.interrupt()
            with suppress(Exception):  # interrupted, or complete after all
                await outlast(copying)
            raise


def _copy_to(source: sqlite3.Connection, target: Path) -> None:
    target = target.resolve()
    with mapped(target), _complete(target) as new:
        _copy(source, new)
        try:
            os.link(new, target)  # unlike a rename it replaces nothing, whoever was faster
        except FileExistsError:
            raise Invalid(
                f"{target}: it exists; a backup replaces nothing, choose another name"
            ) from None
        _sync_folder(target.parent)


async def restore(
    backup: str | os.PathLike[str],
    database: str | os.PathLike[str],
    *,
    clock: Clock | None = None,
) -> Path | None:
    """Put a backup in the place of a database that no process has open.

    What was committed since the backup is gone, so all terms end, no grant is made for the longest
    lease, and every epoch jumps by 2^20, beyond any that was granted in the lost time. Once begun,
    a cancellation does not cut it short.

    Args:
        backup: What [`backup`][election_sqlite.SqliteStore.backup] wrote.
        database: The database to replace or to make.
        clock: As of [`open`][election_sqlite.SqliteStore.open].

    Returns:
        Where the replaced database is kept, `<database>.before-restore-<time>`, or `None` if
        there was none.

    Raises:
        Unavailable: A process has the database open, the backup is damaged, or a file cannot be
            read or written. The database is as it was.
        SchemaMismatch: The backup is not an election database, or of a newer schema.
        Invalid: The backup does not exist, or is the database.
    """
    work = asyncio.to_thread(_restore, Path(backup), Path(database), clock or SystemClock())
    return await outlast(asyncio.ensure_future(work))


def _restore(backup: Path, database: Path, clock: Clock) -> Path | None:
    backup, database = backup.resolve(), database.resolve()
    with locked(database):
        if not backup.is_file():
            raise Invalid(f"{backup}: there is no such file; name a backup")
        if database.exists() and backup.samefile(database):
            raise Invalid(f"{backup}: it is the database itself; name a backup")
        kept = None
        with _complete(database) as new:
            with mapped(backup), closing(_open_backup(backup)) as source:
                _copy(source, new)
            with mapped(database):
                if database.exists():
                    kept = _keep(database)
                new.replace(database)
                _sync_folder(database.parent)
        # It is marked as a copy, so opening it makes a new incarnation of it.
        with mapped(database):
            made = opened(database, _PATIENCE, clock)
            made.reader.close()
            made.writer.close()
        return kept


def _open_backup(backup: Path) -> sqlite3.Connection:
    """A connection to a backup that may be restored.

    Raises:
        SchemaMismatch: It is no election database, or one of a newer schema.
        Unavailable: It is damaged.
    """
    source = sqlite3.connect(f"{backup.as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        if check(source, backup) == 0:
            raise SchemaMismatch(f"{backup}: it holds no election database; name a backup")
        found = source.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise Unavailable(f"{backup}: it is damaged ({found}); restore another backup")
    except BaseException:
        source.close()
        raise
    return source


def _copy(source: sqlite3.Connection, new: Path) -> None:
    """Copy a database as of now, marked as a copy, and sync it."""
    source.execute("VACUUM INTO ?", (str(new),))
    with closing(sqlite3.connect(new, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode=DELETE")
        copy.execute("UPDATE election_meta SET copied = 1")
    _sync(new)


@contextmanager
def _complete(target: Path) -> Iterator[Path]:
    """A name beside `target` for a file that is not complete yet."""
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
    try:
        yield new
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with suppress(OSError):
                new.with_name(new.name + suffix).unlink(missing_ok=True)


def _keep(database: Path) -> Path:
    """Give the database that is to be replaced a second name, with its log if it has one.

    At any time the database's own name holds either it or what replaces it, so a crash leaves no
    gap in which a new, empty one would be made.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = database.with_name(f"{database.name}.before-restore-{stamp}")
    logs: dict[Path, Path | None] = {}
    for suffix in ("", "-wal", "-shm", "-journal"):
        old = database.with_name(database.name + suffix)
        if old.exists():
            also = kept.with_name(kept.name + suffix)
            one_file = _link(old, also)
            if suffix:
                logs[old] = also if one_file else None
    _sync_folder(database.parent)
    with suppress(sqlite3.Error, SchemaMismatch):
        _note(database)
        for old, linked in logs.items():
            if linked is not None and not old.exists():  # what it held is in the file now
                linked.unlink()
    for old in logs:  # it must not be applied to the file that comes
        old.unlink(missing_ok=True)
    _sync_folder(database.parent)
    return kept


def _link(old: Path, also: Path) -> bool:
    """Give a file a second name, or copy it where that cannot be; whether it has two names now."""
    try:
        os.link(old, also)
    except OSError:
        shutil.copy2(old, also)
        _sync(also)
        return False
    return True


def _note(database: Path) -> None:
    """Note what the database to be replaced knows, for the one that comes after it.

    Closing its last connection also moves what its log holds into the file, and deletes the log.
    """
    with closing(connect(database, _PATIENCE)) as connection:
        if check(connection, database):
            (high_water,) = connection.execute("SELECT high_water FROM election_meta").fetchone()
            HighWater.of(connection, moment(high_water)).write(database)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
