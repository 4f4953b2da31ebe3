"""News across replicas, over LISTEN and NOTIFY."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from election_core import Unavailable
from election_core.ports import Topic
from election_postgres._base import Base
from election_postgres._connections import Connections, connected, raising
from election_postgres._limits import Limits

__all__ = ["News"]

_CHANNEL = "election"
# Nothing of it has to be durable, so nobody waits for a disk.
_NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"
_NEWEST = "SELECT election.events_settled() AS id"
_LONGEST = 7_000
"""Bytes of a notification; Postgres takes up to 8,000."""
_QUEUE = 10_000
_ALIVE_EVERY = 10.0


class News(Base):
    """Telling other replicas, and being told by them.

    Args:
        general: See `Base`.
        renewals: See `Base`.
        patient: See `Base`.
        listen_dsn: Where LISTEN works; `None` if nowhere, because a pooler is in between.
        limits: How long anything may take.
    """

    def __init__(
        self,
        general: Connections,
        renewals: Connections,
        patient: Connections,
        *,
        listen_dsn: str | None,
        limits: Limits,
    ) -> None:
        super().__init__(general, renewals, patient)
        self._listen_dsn = listen_dsn
        self._limits = limits
        self._origin = secrets.token_hex(6)

    async def newest_event(self) -> int:
        """See [`newest_event`][election_core.ports.SharedStore.newest_event]."""
        rows = await self._read(_NEWEST)
        newest: int = rows[0]["id"]
        return newest

    async def announce(self, topics: Collection[Topic]) -> None:
        """See [`announce`][election_core.ports.SharedStore.announce]."""
        for payload in _payloads(self._origin, topics):
            await self._general.rows(_NOTIFY, _CHANNEL, payload)

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[frozenset[Topic] | None]]:
        """See [`changes`][election_core.ports.SharedStore.changes]."""
        if self._listen_dsn is None:
            raise Unavailable(
                f"{self.where}: a transaction pooler is in between, through which there is no"
                " LISTEN; changes of other replicas are found by polling"
            )
        inbox: asyncio.Queue[frozenset[Topic] | None] = asyncio.Queue(_QUEUE)
        lost = asyncio.Event()

        def heard(connection: object, pid: int, channel: str, payload: object) -> None:
            topics = _topics(str(payload), self._origin)
            if topics is None or topics:
                if inbox.full():  # nobody reads; one look at everything will do
                    while not inbox.empty():
                        inbox.get_nowait()
                    topics = None
                inbox.put_nowait(topics)

        async with connected(self._listen_dsn, self._limits, direct=True) as connection:
            connection.add_termination_listener(lambda _: lost.set())
            try:
                async with asyncio.timeout(self._limits.connect.total_seconds()):
                    await connection.add_listener(_CHANNEL, heard)
            except Exception as error:
                raise raising(error, self.where, sent=True, writes=False) from error

            async def feed() -> AsyncIterator[frozenset[Topic] | None]:
                while True:
                    getting = asyncio.ensure_future(inbox.get())
                    losing = asyncio.ensure_future(lost.wait())
                    try:
                        await asyncio.wait(
                            [getting, losing],
                            timeout=_ALIVE_EVERY,
                            return_when=asyncio.FIRST_COMPLETED,
                        )
                    finally:
                        losing.cancel()
                        if not getting.done():
                            getting.cancel()
                    if getting.done() and not getting.cancelled():
                        yield getting.result()
                    elif lost.is_set():
                        raise Unavailable(f"{self.where}: the connection that listens was lost")
                    else:
                        await self._check_alive(connection)

            yield feed()

    async def _check_alive(self, connection: object) -> None:
        """A connection over which nothing comes may be dead without anybody having said so.

        Raises:
            Unavailable: It is.
        """
        try:
            await connection.execute("SELECT 1", timeout=self._limits.connect.total_seconds())  # type: ignore[attr-defined]
        except Exception as error:
            raise raising(error, self.where, sent=True, writes=False) from error


def _payloads(origin: str, topics: Collection[Topic]) -> list[str]:
    """The topics as notifications; one that says "everything" if they are too many."""
    items = sorted(f"{kind[0]}{name}" for kind, name in topics)
    found: list[str] = []
    size = 0
    payloads = []
    for item in items:
        length = len(json.dumps(item).encode()) + 1
        if size + length > _LONGEST and found:
            payloads.append(json.dumps([origin, *found]))
            found, size = [], 0
        found.append(item)
        size += length
    payloads.append(json.dumps([origin, *found]))
    return payloads if len(payloads) <= 8 else [json.dumps([origin, "*"])]


def _topics(payload: str, origin: str) -> frozenset[Topic] | None:
    """The topics of a notification, none of one's own; `None` for "everything"."""
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return frozenset()  # not one of ours
    if not (isinstance(document, list) and all(isinstance(item, str) for item in document)):
        return frozenset()
    if not document:
        return frozenset()
    sender, items = document[0], document[1:]
    if sender == origin:
        return frozenset()
    if "*" in items:
        return None
    topics: set[Topic] = set()
    for item in map(str, items):
        match item[:1]:
            case "r":
                topics.add(("runner", item[1:]))
            case "j":
                topics.add(("jobs", item[1:]))
            case "e":
                topics.add(("events", item[1:]))
            case "t":
                topics.add(("tokens", item[1:]))
            case _:
                pass  # of a newer version
    return frozenset(topics)
