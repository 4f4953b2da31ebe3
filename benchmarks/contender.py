"""A runner that does nothing but know whether it leads, and since when."""

from __future__ import annotations

import time
from typing import Self

import anyio

from election_core import Role, Standing
from election_sdk import Client

__all__ = ["Contender"]


class Contender:
    """Its session, kept by heartbeats that wait for news, on a connection of their own.

    Args:
        client: For heartbeats.
        releases: For giving leadership up, as the SDK has it.
        standing: From opening the session.
    """

    def __init__(self, client: Client, releases: Client, standing: Standing) -> None:
        self.standing = standing
        self.known_since = time.monotonic()
        """When it knew of its role, by the monotonic clock that all processes share."""
        self._client = client
        self._releases = releases
        self._changed = anyio.Event()

    @classmethod
    async def join(cls, client: Client, releases: Client, group: str, name: str) -> Self:
        """Register it and open its session."""
        runner = (await releases.register(group, name)).runner
        return cls(client, releases, await client.open_session(runner.id, session_key=name))

    @property
    def leads(self) -> bool:
        """Whether it leads, as far as it knows."""
        return self.standing.role is Role.LEADER

    async def beat(self) -> None:
        """Wait for news in heartbeats, for ever."""
        while True:
            known = self.standing
            standing = await self._client.heartbeat(
                known.runner_id,
                known.session_id,
                seen=known.standing_version,
                wait=known.heartbeat * 0.8,
            )
            if standing.role is not known.role:
                self.known_since = time.monotonic()
                self._changed.set()
                self._changed = anyio.Event()
            self.standing = standing

    async def until(self, *, leads: bool) -> float:
        """Wait until it knows that it leads, or does not; since when, by the same clock."""
        while self.leads is not leads:
            await self._changed.wait()
        return self.known_since

    async def release(self) -> None:
        """Give leadership up."""
        known = self.standing
        await self._releases.release(known.runner_id, known.session_id, known.epoch)
