"""Postgres storage adapter for election-core: many control planes over one database."""

from __future__ import annotations

from election_postgres._dsn import redacted
from election_postgres._schema import SCHEMA_VERSION, Migration, migrate
from election_postgres._store import PostgresStore

__all__ = ["SCHEMA_VERSION", "Migration", "PostgresStore", "migrate", "redacted"]
