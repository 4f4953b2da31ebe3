"""An engine over a faulty store, and the few calls that most of its tests begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
from attrs import frozen

from election_core import NoLeader, NotFound, Settings, Standing
from election_core.engine import Engine
from store_faults import FaultyStore
from virtual_time import store_clock

GROUP = "g"
LEASE = timedelta(seconds=10)


@frozen
class Fleet:
    """An engine that runs, and its store."""

    engine: Engine
    store: FaultyStore

    async def register(self, name: str) -> str:
        """Register a runner; its id."""
        runner, created = await self.engine.register(GROUP, name)
        assert created
        return runner.id

    async def open(self, runner_id: str, key: str = "key", **rest: Any) -> Standing:
        """Open a session."""
        return await self.engine.open_session(runner_id, session_key=key, **rest)

    async def join(self, name: str, key: str = "key") -> Standing:
        """Register a runner and open its session; runners that join later are younger."""
        await anyio.sleep(0.001)
        return await self.open(await self.register(name), key)

    async def keep_beating(self, *standings: Standing, every: float = 3) -> None:
        """Renew these sessions for ever; their errors are the test's."""
        while True:
            for standing in standings:
                await self.engine.beat(standing.runner_id, standing.session_id)
            await anyio.sleep(every)

    async def leader(self) -> str | None:
        """Who leads."""
        try:
            return (await self.engine.leader(GROUP)).runner.id
        except (NoLeader, NotFound):
            return None

    async def led_by(self, runner_id: str | None) -> None:
        """Wait until this runner leads, or nobody."""
        with anyio.fail_after(300):
            while await self.leader() != runner_id:  # noqa: ASYNC110 - looked at from outside
                await anyio.sleep(0.1)


@asynccontextmanager
async def a_fleet(
    settings: Settings | None = None, *, store: FaultyStore | None = None, **options: Any
) -> AsyncIterator[Fleet]:
    """A fleet with one group, `g`, for an hour of virtual time: then whoever waits has failed."""
    store = store or FaultyStore(clock=store_clock)
    with anyio.fail_after(3600):
        async with Engine(store, **options) as engine:
            await engine.create_group(GROUP, settings or Settings(lease=LEASE))
            yield Fleet(engine, store)
