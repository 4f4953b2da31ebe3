"""The store: what the port promises, over one Postgres database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

from attrs import evolve
from typing_extensions import override

from election_core import Conflict, SchemaMismatch
from election_core.ports import AccessStore, JobStore, SharedStore, Store
from election_postgres._connections import Connections, connected, raising
from election_postgres._dsn import redacted
from election_postgres._errors import MIGRATE, HistoryChanged
from election_postgres._fence import check_fence
from election_postgres._groups import Groups
from election_postgres._jobs import Jobs
from election_postgres._limits import Limits
from election_postgres._news import News
from election_postgres._schema import check
from election_postgres._tokens import Tokens

if TYPE_CHECKING:
    import asyncpg

__all__ = ["PostgresStore"]

_PRUNE = "SELECT election.prune($1, $2) AS rows"
_READY = """
SELECT coalesce(max(version), 0) AS version, coalesce(max(compatible_from), 0) AS compatible_from,
    current_setting('server_version_num')::integer / 10000 AS server
FROM election.migration
"""
_RENEWALS = 2
"""Connections for renewals, the mark and what is due: one each, and one more."""
_PATIENCE = timedelta(hours=1)
"""What goes through all groups grows with them, and without it nothing else can go on."""


class PostgresStore(Groups, Jobs, Tokens, News, Store, JobStore, AccessStore, SharedStore):
    """Groups, jobs and tokens in one database; each method does what `election_core.ports` says.

    Use `open`. Any number of processes may have the same database open. Each call is one statement,
    so a caller that is cancelled, frozen or lost leaves no transaction and no lock behind.
    """

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        dsn: str,
        *,
        connections: int = 10,
        listen_dsn: str | None = None,
        statement_timeout: timedelta = timedelta(seconds=10),
        lock_timeout: timedelta = timedelta(seconds=5),
        connect_timeout: timedelta = timedelta(seconds=5),
    ) -> AsyncIterator[Self]:
        """Open a database for the time of an `async with` block; its schema must be there.

        The URL and the environment say what they say to libpq: `PGPASSWORD`, `sslmode`, and so on.
        A transaction pooler in between is noticed; then nothing is prepared, and changes that other
        replicas make are found by polling unless `listen_dsn` leads around it.

        Args:
            dsn: The database's URL, `postgresql://USER@HOST/DATABASE`.
            connections: How many at most, besides two for renewals, one that listens, and one for
                the time after a failover.
            listen_dsn: Another URL of the same database, for LISTEN alone.
            statement_timeout: How long a statement may take, but for the one that ends all terms
                after a failover.
            lock_timeout: How long a statement may wait for a lock.
            connect_timeout: How long a new connection may take, and waiting for a free one.

        Raises:
            Unavailable: The database cannot be reached.
            SchemaMismatch: Its schema is missing, too old or too new; the message says what to run.
            Invalid: The URL is malformed.
        """
        limits = Limits(statement=statement_timeout, lock=lock_timeout, connect=connect_timeout)
        pooled = await _pooled(dsn, limits)
        async with AsyncExitStack() as stack:
            general, renewals, patient = [
                await stack.enter_async_context(
                    Connections.open(dsn, most=most, limits=allowed, pooled=pooled)
                )
                for most, allowed in (
                    (connections, limits),
                    (_RENEWALS, limits),
                    (1, evolve(limits, statement=_PATIENCE)),
                )
            ]
            listen = listen_dsn or (None if pooled else dsn)
            store = cls(general, renewals, patient, listen_dsn=listen, limits=limits)
            await store.ready()
            yield store

    @override
    async def prune(self, limit: int = 1000) -> int:
        """See [`prune`][election_core.ports.Store.prune]."""
        rows = await self._write(_PRUNE, self._floor.at, limit)
        deleted: int = rows[0]["rows"]
        return deleted

    @override
    async def ready(self) -> None:
        """See [`ready`][election_core.ports.Store.ready]."""
        try:
            found = (await self._read(_READY))[0]
        except SchemaMismatch as error:
            raise SchemaMismatch(
                f"{self.where}: it has no schema for elections yet; {MIGRATE}"
            ) from error
        check(found["version"], found["compatible_from"], found["server"], self.where)

    async def fence(self, connection: asyncpg.Connection, group_id: str, epoch: int) -> datetime:
        """Check, inside a transaction of your own, that `epoch` still leads its group.

        What the transaction writes is committed only if no other leader was elected before its
        commit: until then an election waits. A leader that is stepping down passes while its term's
        lease lasts: it is finishing. Works at read committed, where it is best the first statement,
        and at the higher levels, where it is safe too: a group that changed since the transaction
        began is a [`Conflict`][election_core.Conflict], and the transaction is to be repeated.

        The transaction's `idle_in_transaction_session_timeout` becomes what is left of the lease,
        so a caller that is frozen does not keep others from leading.

        Args:
            connection: A connection of yours to the same database, in a transaction.
            group_id: The group.
            epoch: The epoch under which the caller leads.

        Returns:
            When the term's lease ends, by the store's clock.

        Raises:
            StaleEpoch: Another epoch is current, or the term has ended.
            LeaseExpired: The term's lease is over, and nothing was decided yet.
            NotFound: There was never a group of that id.
            Conflict: The group changed since the transaction began.
            Invalid: The connection is in no transaction.
        """
        try:
            return await check_fence(connection, group_id, epoch, where=self.where)
        except HistoryChanged:
            await self._reincarnate()
            raise Conflict(
                "the store may have lost its newest commits, and all terms have ended; roll the"
                " transaction back"
            ) from None


async def _pooled(dsn: str, limits: Limits) -> bool:
    """Whether a pooler is in between: the process that answers is another than was promised."""
    async with connected(dsn, limits) as connection:
        try:
            async with asyncio.timeout(limits.connect.total_seconds()), connection.transaction():
                pid = await connection.fetchval("SELECT pg_backend_pid()")
        except Exception as error:
            raise raising(error, redacted(dsn), sent=True, writes=False) from error
        return bool(pid != connection.get_server_pid())
