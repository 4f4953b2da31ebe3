"""A process that leads, to be killed."""

from __future__ import annotations

import anyio

from election_sdk import Runner

__all__ = ["lead"]


def lead(url: str, token: str, group: str) -> None:
    """Be the runner `leader` of a group, and lead whenever it may."""
    anyio.run(_lead, url, token, group)


async def _lead(url: str, token: str, group: str) -> None:
    async with Runner(url, token=token, group=group, name="leader") as runner:
        async for term in runner.terms():
            async with term:
                await anyio.sleep_forever()
