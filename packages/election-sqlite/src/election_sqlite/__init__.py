"""SQLite storage adapter for election-core: one file, one process, nothing to set up."""

from __future__ import annotations

from election_sqlite._backup import backup, restore
from election_sqlite._clock import Clock, SystemClock
from election_sqlite._store import SqliteStore

__all__ = ["Clock", "SqliteStore", "SystemClock", "backup", "restore"]
