"""A load balancer, as it stands in front of replicas: connections go to one that is ready."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from attrs import define, field

__all__ = ["LoadBalancer"]

_EVERY = 0.2
_LIMIT = 1.0
"""Seconds in which a replica has to say that it is ready."""
_PIECE = 65536


@define(eq=False)
class _Replica:
    host: str
    port: int
    ready: bool = False
    connections: set[asyncio.Task[None]] = field(factory=set)


class LoadBalancer:
    """Forwards connections to the replica that has the fewest of those that are ready.

    It asks each of them `/readyz` all the time. One that does not say in time that it is ready is
    sent no more connections, and those it has are cut. While none is ready connections are closed
    without an answer. An asynchronous context manager, on asyncio.

    Args:
        urls: Of the replicas.
    """

    def __init__(self, urls: Iterable[str] = ()) -> None:
        self._replicas: dict[str, _Replica] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._urls = tuple(urls)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        for url in self._urls:
            self.add(url)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where clients find it."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def add(self, url: str) -> None:
        """Send connections to one more replica, from when it is ready."""
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        replica = self._replicas[url] = _Replica(address.hostname, address.port)
        task = asyncio.create_task(self._watch(url, replica))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def remove(self, url: str) -> None:
        """Send no more connections to a replica, and cut those it has."""
        _cut(self._replicas.pop(url))

    async def _watch(self, url: str, replica: _Replica) -> None:
        while self._replicas.get(url) is replica:
            replica.ready = await _is_ready(replica)
            if not replica.ready:
                _cut(replica)
            await asyncio.sleep(_EVERY)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            ready = [replica for replica in self._replicas.values() if replica.ready]
            if ready:
                replica = min(ready, key=lambda each: len(each.connections))
                replica.connections.add(task)
                # It is cancelled to cut it, of which nobody has to hear.
                with contextlib.suppress(asyncio.CancelledError):
                    await _forward(replica, reader, writer)
                replica.connections.discard(task)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)


def _cut(replica: _Replica) -> None:
    while replica.connections:
        replica.connections.pop().cancel()


async def _is_ready(replica: _Replica) -> bool:
    try:
        async with asyncio.timeout(_LIMIT):
            reader, writer = await asyncio.open_connection(replica.host, replica.port)
            try:
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return False


async def _forward(
    replica: _Replica, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Copy both ways, until either side ends."""
    try:
        theirs, ours = await asyncio.open_connection(replica.host, replica.port)
    except OSError:
        return
    ways = [asyncio.create_task(_copy(reader, ours)), asyncio.create_task(_copy(theirs, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ours.transport.abort()
        for way in ways:
            way.cancel()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(_PIECE):
            target.write(piece)
            await target.drain()
