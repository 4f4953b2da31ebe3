"""A driver's errors as those of the port, by SQLSTATE; no message shows a password."""

from __future__ import annotations

import ssl

import asyncpg

from election_core import (
    Conflict,
    ConflictError,
    CursorExpired,
    ElectionError,
    InternalError,
    Invalid,
    OutcomeUnknown,
    SchemaMismatch,
    Unavailable,
)

__all__ = ["MIGRATE", "Contended", "HistoryChanged", "mapped_error"]

MIGRATE = "run: election migrate --store URL"
"""What to do about a schema that is missing or older."""

_HISTORY = "EL001"
_CONFLICT = "EL409"
_PRUNED = "EL410"

# Nothing took effect.
_REFUSED = {
    "0A000": "it cannot do that, a standby perhaps; connect to the primary",
    "25006": "it is read-only, a standby perhaps; connect to the primary",
    "25P03": "the transaction stood still for too long and was ended; try again",
    "25P04": "the transaction took too long and was ended; try again",
    "28000": "it refuses this user; check the user and the server's pg_hba.conf",
    "28P01": "the password is wrong; check the URL, PGPASSWORD or the password file",
    "3D000": "the database does not exist; create it, or correct the URL",
    "42501": "this role may not do that; grant it what the documentation lists",
    "53100": "its disk is full; free some space, nothing that was committed is lost",
    "53200": "its memory ran out; try again",
    "53300": "it has no connections left; raise max_connections, or use fewer",
    "55000": "it is not in a state to be written, a standby perhaps; connect to the primary",
    "55P03": "a lock was not to be had in time; try again",
    "57014": "a statement took too long and was ended; try again",
    "57P03": "it is starting or stopping; try again",
}
_CONTENDED = {
    "40001": "another transaction came between; try again",
    "40P01": "transactions waited for each other; try again",
}
_NO_SCHEMA = ("3F000", "42P01", "42883", "42703", "42704", "42804", "42P13")
_TOO_MUCH = ("54000", "22001", "22003")
_NO_TEXT = ("22021", "22P05", "22P02")
_RESOURCES = "53"
_OUTCOME_UNKNOWN_CLASSES = ("08", "40003", "57P01", "57P02", "57P04", "57P05", "XX", "58")


class Contended(Unavailable):
    """Another transaction came between. Nothing took effect, so it may be repeated at once."""


class HistoryChanged(Exception):
    """The database has begun another line of commits: a standby was promoted, a backup restored."""


def mapped_error(error: BaseException, where: str, *, sent: bool, writes: bool) -> Exception | None:
    """What the port calls an error of the driver or the system; `None` for any other.

    Args:
        error: What was raised.
        where: The server and database, without a password.
        sent: Whether the statement may have reached the server.
        writes: Whether it changes anything.
    """
    unknown = sent and writes
    # What cannot be sent is not sent; the driver says so with the class of an SQLSTATE.
    if isinstance(error, UnicodeEncodeError) or isinstance(error.__cause__, UnicodeEncodeError):
        return Invalid("a text holds a lone surrogate and cannot be kept")
    if type(error) is asyncpg.DataError:
        return Invalid("a number or a time is too large to be kept")
    if isinstance(error, asyncpg.PostgresError):
        return _by_state(error, where, unknown=unknown)
    if isinstance(error, ssl.SSLError | ssl.CertificateError):
        return Unavailable(f"{where}: TLS failed; check sslmode and the certificates")
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return Unavailable(f"{where}: it is a standby; decisions need the primary")
    if type(error) is ConnectionError:  # the driver's own; the system's are of its subclasses
        return Unavailable(f"{where}: it has no TLS where sslmode wants it, or it is no Postgres")
    if isinstance(error, TimeoutError):
        return _lost(f"{where}: it did not answer in time", unknown=unknown)
    if isinstance(error, OSError):
        reason = error.strerror or "it cannot be reached"
        return _lost(f"{where}: {reason}; is the server running?", unknown=unknown)
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return _lost(f"{where}: the connection was lost", unknown=unknown)
    return None


def _by_state(error: asyncpg.PostgresError, where: str, *, unknown: bool) -> Exception:
    state: str = error.sqlstate or ""
    if state == _HISTORY:
        return HistoryChanged()
    if state == _CONFLICT:
        return Conflict(str(error.args[0] if error.args else "the group has changed"))
    if state == _PRUNED:
        return CursorExpired("events behind this one have been pruned; start again without it")
    if state in _CONTENDED:
        return Contended(f"{where}: {_CONTENDED[state]}")
    if state in _REFUSED:
        return Unavailable(f"{where}: {_REFUSED[state]}")
    if state in _NO_SCHEMA:
        return SchemaMismatch(f"{where}: it lacks the schema that this program needs; {MIGRATE}")
    if state in _TOO_MUCH:
        return Invalid("a value is too large to be kept")
    if state in _NO_TEXT:
        return Invalid("no NUL may be in a text that is kept")
    if state == "25P02":
        return Invalid("the transaction has failed before; roll it back and begin another")
    if state == "23505":
        return ConflictError(f"{where}: it holds something else under that id or name already")
    if state.startswith(_RESOURCES):
        return Unavailable(f"{where}: it lacks what it needs to do that; look into its log")
    if state.startswith(_OUTCOME_UNKNOWN_CLASSES):
        return _lost(f"{where}: the connection was ended by the server", unknown=unknown)
    return InternalError(f"{where}: Postgres refused a statement (SQLSTATE {state})")


def _lost(sentence: str, *, unknown: bool) -> ElectionError:
    if unknown:
        return OutcomeUnknown(f"{sentence}; it may have been written, repeat the call")
    return Unavailable(sentence)
