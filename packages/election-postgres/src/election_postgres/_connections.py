"""Connections: each call one statement on one of them, whoever is in between.

A transaction pooler may give each transaction another connection of its own to the server. Behind
one, a statement runs inside a transaction that sets what it needs, and nothing is prepared.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias

import anyio
import asyncpg
from asyncpg.connect_utils import SessionAttribute
from asyncpg.pool import PoolConnectionProxy
from typing_extensions import override

from election_core import Invalid, Unavailable
from election_postgres._dsn import redacted
from election_postgres._errors import mapped_error
from election_postgres._hosts import Hosts
from election_postgres._limits import Limits
from election_postgres._values import received, sent

__all__ = ["Connections", "connected", "raising"]

_log = logging.getLogger("election_postgres")
_Pooled: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
_PRIMARY = SessionAttribute.primary
_SLACK = 2.0
"""Seconds that the server may take longer than it was told, before the client gives up."""
_REST = 60.0
"""Seconds after which the pool is asked again whether it keeps a connection."""


class _Connection(asyncpg.Connection):
    """One that needs no cleaning up: nothing is ever set on it that a later call could meet."""

    @override
    def get_reset_query(self) -> str:
        return ""


def raising(error: Exception, where: str, *, sent: bool, writes: bool) -> Exception:
    """The error that the port has for one of the driver's, or that one itself."""
    return mapped_error(error, where, sent=sent, writes=writes) or error


@asynccontextmanager
async def connected(
    dsn: str, limits: Limits, *, direct: bool = False
) -> AsyncIterator[asyncpg.Connection]:
    """One connection, for as long as the block lasts.

    Args:
        dsn: The database's URL.
        limits: How long it may take.
        direct: No pooler is in between, so the driver sees by itself which host is the primary.

    Raises:
        Unavailable: There is none to be had.
        Invalid: The URL is malformed.
    """
    where = redacted(dsn)
    connection = await _connect(dsn, limits, where, direct=direct)
    try:
        yield connection
    finally:
        try:
            await connection.close(timeout=_SLACK)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()


async def _connect(dsn: str, limits: Limits, where: str, *, direct: bool) -> asyncpg.Connection:
    try:
        connection = await Hosts(dsn).connect(
            dsn,
            timeout=limits.connect.total_seconds(),
            statement_cache_size=0,
            connection_class=_Connection,
            target_session_attrs=_PRIMARY if direct else None,
        )
    except ssl.SSLError as error:  # some are ValueErrors too
        raise raising(error, where, sent=False, writes=False) from error
    except (asyncpg.ClientConfigurationError, ValueError, OverflowError):
        # Not chained: what the driver says may quote the password.
        raise Invalid(
            f"{where}: the URL is not understood, or a file that sslmode needs is missing; write"
            " postgresql://USER@HOST/DATABASE, and %-quote what is special in a password"
        ) from None
    except (asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError) as error:
        raise Invalid(
            f"{where}: a parameter of the URL is neither one of the driver's nor a setting of the"
            " server; leave it out"
        ) from error
    except Exception as error:
        raise raising(error, where, sent=False, writes=False) from error
    return connection


class Connections:
    """A few connections to one database, made when they are needed.

    Args:
        pool: The driver's pool.
        where: The database, as people may see it.
        limits: How long anything may take.
        pooled: Whether a transaction pooler is in between.
    """

    def __init__(self, pool: asyncpg.Pool, where: str, limits: Limits, *, pooled: bool) -> None:
        self._pool = pool
        self.where = where
        self._limits = limits
        self.pooled = pooled
        self._begin = limits.begin
        self._patience = limits.statement.total_seconds() + _SLACK
        # At hand, for the pool takes longer than a statement. It has them back when one is waited
        # for; and now and then, since it closes those that nobody needs.
        self._idle: list[_Pooled] = []
        self._waiting = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, dsn: str, *, most: int, limits: Limits, pooled: bool
    ) -> AsyncIterator[Connections]:
        """Connections for as long as the block lasts; the first is made when it is needed."""
        # The functions of the schema see, at each step, what was committed before it.
        settings = (
            f"{limits.settings.format(local='')}"
            "SET default_transaction_isolation = 'read committed';"
            "SET default_transaction_read_only = off"
        )

        async def set_up(connection: asyncpg.Connection) -> None:
            if pooled:  # where the driver may not ask for what it has to know of a type
                return
            await connection.set_type_codec(
                "timestamptz",
                schema="pg_catalog",
                encoder=sent,
                decoder=received,
                format="tuple",
            )
            await connection.execute(settings)

        making = partial(
            asyncpg.create_pool,
            dsn,
            min_size=0,
            max_size=most,
            timeout=limits.connect.total_seconds(),
            init=set_up,
            connect=Hosts(dsn).connect,
            connection_class=_Connection,
            # Behind a pooler the beginning of each transaction says so.
            target_session_attrs=None if pooled else _PRIMARY,
            statement_cache_size=0 if pooled else 100,
            # The functions of the schema are planned per connection; keep what is planned.
            max_cached_statement_lifetime=0,
            max_inactive_connection_lifetime=300,
        )
        async with _closing(making()) as pool:
            connections = cls(pool, redacted(dsn), limits, pooled=pooled)
            resting = asyncio.create_task(connections._rest())
            try:
                yield connections
            finally:
                resting.cancel()
                connections._waiting += 1  # the pool, for those that are still in use
                await connections._give_back_idle()

    async def rows(
        self, statement: str, *values: object, writes: bool = False
    ) -> Sequence[asyncpg.Record]:
        """The rows of one statement, which is a transaction of its own.

        Args:
            statement: The SQL.
            values: Its parameters.
            writes: Whether it changes anything, so that a lost answer leaves its outcome unknown.

        Raises:
            Unavailable: Nothing took effect.
            OutcomeUnknown: It may have taken effect.
            ElectionError: What the server refused it with.
        """
        connection = await self._connection()
        whole = False
        try:
            found: Sequence[asyncpg.Record]
            if self.pooled:
                async with asyncio.timeout(self._patience):
                    found = await self._in_transaction(connection, statement, values)
            else:
                found = await connection.fetch(statement, *values, timeout=self._patience)
            whole = True
            return found
        except Exception as error:
            whole = not self.pooled and isinstance(error, asyncpg.PostgresError)
            # The driver refuses by itself to send on a connection that it knows to be closed.
            sent = not isinstance(error, asyncpg.InterfaceError)
            raise raising(error, self.where, sent=sent, writes=writes) from error
        finally:
            await self._release(connection, whole=whole)

    async def _connection(self) -> _Pooled:
        """One that nobody else has, the one that was used last if there is a choice."""
        while self._idle:
            connection = self._idle.pop()
            if _alive(connection):
                return connection
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.connect.total_seconds()):
                return await self._pool.acquire()
        except TimeoutError as error:
            raise Unavailable(f"{self.where}: no connection was free in time; try again") from error
        except Exception as error:
            raise raising(error, self.where, sent=False, writes=False) from error
        finally:
            self._waiting -= 1

    async def _in_transaction(
        self, connection: _Pooled, statement: str, values: tuple[object, ...]
    ) -> Sequence[asyncpg.Record]:
        await connection.execute(self._begin)
        found: Sequence[asyncpg.Record] = await connection.fetch(statement, *values)
        await connection.execute("COMMIT")
        return found

    async def _release(self, connection: _Pooled, *, whole: bool) -> None:
        """Keep a connection at hand, or end one whose statement was given up and does not end."""
        if whole and not self._waiting:
            self._idle.append(connection)
            return
        try:
            # A statement that was given up may have been half sent, and what was sent has begun a
            # transaction. Who is cancelled hears of it once that is over and its locks are gone.
            if not whole:
                with anyio.CancelScope(shield=True):
                    await self._roll_back(connection)
        finally:
            await self._give_back(connection)

    async def _rest(self) -> None:
        while True:
            await asyncio.sleep(_REST)
            await self._give_back_idle()

    async def _give_back_idle(self) -> None:
        for _ in range(len(self._idle)):
            if self._idle:
                await self._give_back(self._idle.pop(0))

    async def _give_back(self, connection: _Pooled) -> None:
        try:
            await self._pool.release(connection, timeout=_SLACK)
        except Exception as error:  # noqa: BLE001 - nobody waits for this
            _log.debug("a connection could not be kept: %s", type(error).__name__)

    async def _roll_back(self, connection: _Pooled) -> None:
        try:
            await connection.execute("ROLLBACK", timeout=_SLACK)
        except BaseException as error:
            with contextlib.suppress(asyncpg.InterfaceError):  # it has ended by itself
                connection.terminate()
            if not isinstance(error, Exception):
                raise


def _alive(connection: _Pooled) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # it has ended, and the pool has taken it back by itself
        return False


@asynccontextmanager
async def _closing(making: asyncpg.Pool) -> AsyncIterator[asyncpg.Pool]:
    """A pool for the time of a block. Whoever still has a connection then has been cancelled."""
    pool = await making
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(_SLACK):
                await pool.close()
        except TimeoutError:
            pool.terminate()
