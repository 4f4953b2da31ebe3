"""The servers that a URL names, of which one is the primary."""

from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

__all__ = ["Hosts"]

_NEXT = (
    OSError,
    TimeoutError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.CannotConnectNowError,
)


class Hosts:
    """Connects to the first server that can be used, beginning with the one of the last time.

    The driver takes a URL with several hosts too, but spends all its time on one that is switched
    off and does not even refuse.

    Args:
        dsn: The database's URL.
    """

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        user, at, hosts = parts.netloc.rpartition("@")
        self._dsns = [dsn]
        if "," in hosts:
            self._dsns = [
                urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")
            ]

    async def connect(self, _: str, *, timeout: float, **how: Any) -> asyncpg.Connection:  # noqa: ANN401
        """A connection, as `asyncpg.connect` makes it; each host has its share of the time."""
        share = timeout / len(self._dsns)
        *others, last = self._dsns
        for dsn in others:
            with contextlib.suppress(*_NEXT):
                return await self._connected(dsn, share, how)
        return await self._connected(last, share, how)

    async def _connected(self, dsn: str, time: float, how: dict[str, Any]) -> asyncpg.Connection:
        made: asyncpg.Connection = await asyncpg.connect(dsn, timeout=time, **how)
        self._dsns.sort(key=lambda each: each != dsn)
        return made
