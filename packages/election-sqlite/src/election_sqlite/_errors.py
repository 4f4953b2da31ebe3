"""A driver's errors as those of the port, by SQLite's codes; each names the file and a way out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from election_core import (
    ConflictError,
    ElectionError,
    InternalError,
    Invalid,
    OutcomeUnknown,
    SchemaMismatch,
    Unavailable,
)

__all__ = ["closed", "mapped", "outcome_of_commit"]

_PRIMARY = 0xFF
"""The primary result code of an extended one."""

_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "another connection has locked it; end its transaction, or wait longer",
    sqlite3.SQLITE_LOCKED: "another connection has locked it; end its transaction",
    sqlite3.SQLITE_READONLY: "it cannot be written; make the file and its folder writable",
    sqlite3.SQLITE_PERM: "access is denied; make the file and its folder readable and writable",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its folder exists and is writable",
    sqlite3.SQLITE_FULL: "the disk is full; free some space, nothing that was committed is lost",
    sqlite3.SQLITE_IOERR: "the disk reported an error; check it, and the system's log",
    sqlite3.SQLITE_NOMEM: "memory ran out",
    sqlite3.SQLITE_INTERRUPT: "the call was interrupted",
    sqlite3.SQLITE_PROTOCOL: "its locks do not work; keep it on a local file system",
    sqlite3.SQLITE_NOLFS: "it outgrew what its file system allows; move it to another",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore a backup, and keep the damaged file",
}

_MISMATCH = {
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database; choose another file",
}


def _code(error: sqlite3.Error) -> int:
    """The primary result code, 0 for an error of the Python module itself."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & _PRIMARY


def mapped_error(error: Exception, path: Path) -> ElectionError | None:
    """What the port calls an error of the driver or the system; `None` for any other."""
    if isinstance(error, sqlite3.Error):
        code = _code(error)
        if code in _UNAVAILABLE:
            return Unavailable(f"{path}: {_UNAVAILABLE[code]}")
        if code in _MISMATCH:
            return SchemaMismatch(f"{path}: {_MISMATCH[code]}")
        if code == sqlite3.SQLITE_CONSTRAINT:
            return ConflictError(f"{path}: it holds something else under that id or name already")
        if code == sqlite3.SQLITE_TOOBIG:
            return Invalid("a value is too large to be kept")
        return InternalError(f"{path}: SQLite refused a statement ({error})")
    if isinstance(error, OverflowError):
        return Invalid("a number is too large to be kept")
    if isinstance(error, UnicodeEncodeError):
        return Invalid("a text holds a lone surrogate and cannot be kept")
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return Unavailable(f"{error.filename or path}: {reason}; check the folder and its rights")
    return None


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Raise what the port promises in place of the driver's and the system's errors.

    Args:
        path: The file that the message names.
    """
    try:
        yield
    except Exception as error:
        known = mapped_error(error, path)
        if known is None:
            raise
        raise known from error


def outcome_of_commit(error: sqlite3.Error, path: Path) -> Exception:
    """What a failed COMMIT amounts to.

    Its outcome is known unless the disk failed: then the last page, which completes the
    transaction, may or may not have got there, and only the next recovery will tell.
    """
    if _code(error) == sqlite3.SQLITE_IOERR:
        return OutcomeUnknown(
            f"{path}: the disk reported an error during a commit; repeat the call"
        )
    return error


def closed(path: Path) -> Unavailable:
    """The answer of a store that is not open any more."""
    return Unavailable(f"{path}: the store is closed; open it again")
