"""TLS in front of a Postgres that was built without it, as its clients ask for it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

__all__ = ["tls_front"]


@asynccontextmanager
async def tls_front(dsn: str, context: ssl.SSLContext) -> AsyncIterator[str]:
    """The database's DSN by way of it, for the time of the block; without TLS it lets nobody in."""
    parts = urlsplit(dsn)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            asked = await reader.readexactly(8)
            if asked == b"\0\0\0\x08\x04\xd2\x16\x2f":
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(context)
                there, onward = await asyncio.open_connection(parts.hostname, parts.port)
                sending = asyncio.create_task(_pump(reader, onward))
                tasks.add(sending)
                await _pump(there, writer)
                sending.cancel()
                onward.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        user = parts.netloc.rpartition("@")[0]
        yield urlunsplit(parts._replace(netloc=f"{user}@localhost:{port}"))
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 20):
            writer.write(data)
            await writer.drain()
