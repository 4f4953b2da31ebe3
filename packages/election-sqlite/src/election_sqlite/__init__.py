"""SQLite storage adapter for election-core: one file, one process, nothing to set up."""

from __future__ import annotations

from election_sqlite._backup import backup, restore
from election_sqlite._clock import Clock, SystemClock
from election_sqlite._schema import SCHEMA_VERSION, schema_version
from election_sqlite._store import SqliteStore

__all__ = [
    "SCHEMA_VERSION",
    "Clock",
    "SqliteStore",
    "SystemClock",
    "backup",
    "restore",
    "schema_version",
]
