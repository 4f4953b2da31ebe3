"""A connection that breaks after the server has done what it was asked, and before it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from attrs import define

__all__ = ["CuttingProxy"]


@define
class CuttingProxy:
    """Passes everything on, until it is told to swallow an answer and cut its connection."""

    dsn: str
    """Of the database, by way of this."""
    passing: int | None = None
    """How many answers still pass before one is swallowed, once; `None`: all."""

    @classmethod
    @asynccontextmanager
    async def before(cls, dsn: str) -> AsyncIterator[Self]:
        """A proxy before a server or a pooler, for the time of the block."""
        parts = urlsplit(dsn)
        proxy = cls(dsn)
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            there, onward = await asyncio.open_connection(parts.hostname, parts.port)
            sending = asyncio.create_task(_pump(reader, onward))
            tasks.add(sending)
            with contextlib.suppress(OSError):
                while answer := await there.read(1 << 20):
                    if answer.endswith((b"Z\0\0\0\5I", b"Z\0\0\0\5T")) and proxy._swallows():
                        break
                    writer.write(answer)
                    await writer.drain()
            sending.cancel()
            for each in (writer, onward):
                each.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            address = parts.netloc.rpartition("@")[0] + f"@127.0.0.1:{port}"
            proxy.dsn = urlunsplit(parts._replace(netloc=address))
            yield proxy
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _swallows(self) -> bool:
        if self.passing is None:
            return False
        cut = self.passing == 0
        self.passing = None if cut else self.passing - 1
        return cut


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 20):
            writer.write(data)
            await writer.drain()
