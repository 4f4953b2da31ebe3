"""Groups with runners in a Postgres store, driven by commands, as an engine would."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from election_core import (
    Claimed,
    Command,
    Decide,
    JobSpec,
    OpenSession,
    Plan,
    RegisterRunner,
    Settings,
    create_group,
    default_policies,
    plan,
)
from election_core.ports import Beat, Beaten, Committed
from election_postgres import PostgresStore

__all__ = ["DEADLINE", "Fleet", "connected", "fresh", "shift_clock", "until", "waiting"]

DEADLINE = 60.0
"""How long anything may take that takes a moment, on a machine that does much else."""
_POLICIES = default_policies()


def fresh() -> str:
    """An id that nothing else has."""
    return secrets.token_hex(8)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own, beside those of the store."""
    connection = await asyncpg.connect(dsn, timeout=DEADLINE)
    try:
        yield connection
    finally:
        await connection.close(timeout=DEADLINE)


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    """Wait until something holds, which tells nobody of its changes."""
    async with asyncio.timeout(DEADLINE):
        while not await holds():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


class Fleet:
    """One group of a store.

    A runner ``g-a`` of the group ``g`` has the session ``g-a1``, opened anew ``g-a2``, and so on.
    """

    def __init__(self, store: PostgresStore, group_id: str = "g") -> None:
        self.store = store
        self.group_id = group_id
        self.sessions: dict[str, int] = {}

    def runner(self, name: str) -> str:
        """The id of a runner by its name."""
        return f"{self.group_id}-{name}"

    def session(self, name: str) -> str:
        """The id of the current session of a runner."""
        return f"{self.runner(name)}{self.sessions[name]}"

    async def create(self, *names: str, settings: Settings | None = None) -> None:
        """Create the group with live runners; the first one leads."""
        at = (await self.store.due(0)).at
        changes = create_group(self.group_id, settings or Settings(), at=at)
        await self.store.commit(changes, expected_revision=0, commit_id=fresh())
        await self.join(*names)

    async def plan(self, command: Command) -> Plan:
        """What a command would do now."""
        snapshot = await self.store.load(self.group_id)
        return plan(snapshot, command, _POLICIES.of(snapshot.group.settings), actor="test")

    async def commit(self, planned: Plan, commit_id: str | None = None) -> Committed:
        """Write what was planned."""
        return await self.store.commit(
            planned.changes,
            expected_revision=planned.before.revision,
            commit_id=commit_id or fresh(),
        )

    async def do(self, command: Command) -> Plan:
        """Carry a command out."""
        planned = await self.plan(command)
        await self.commit(planned)
        return planned

    async def decide(self) -> Plan:
        """Decide again."""
        return await self.do(Decide())

    async def join(self, *names: str) -> None:
        """Register runners and open their sessions."""
        for name in names:
            await self.do(RegisterRunner(runner_id=self.runner(name), name=name))
            await self.reopen(name)

    async def reopen(self, name: str) -> str:
        """Open a session of a runner, superseding the one it has."""
        self.sessions[name] = self.sessions.get(name, 0) + 1
        opening = OpenSession(
            runner_id=self.runner(name),
            session_id=self.session(name),
            session_key=self.session(name),
        )
        await self.do(opening)
        return self.session(name)

    def renewal(self, name: str, *, ready: bool | None = None) -> Beat:
        """A renewal of a runner's session."""
        return Beat(runner_id=self.runner(name), session_id=self.session(name), ready=ready)

    async def beat(self, name: str, *, ready: bool | None = None) -> Beaten:
        """Renew a runner's session."""
        return (await self.store.beat([self.renewal(name, ready=ready)]))[0]

    async def epoch(self) -> int | None:
        """The epoch of the term, if there is one."""
        term = (await self.store.load(self.group_id)).group.term
        return None if term is None else term.epoch

    async def enqueue(self, count: int = 1, *, runner: str | None = None) -> list[str]:
        """Add jobs; their ids."""
        spec = JobSpec(kind="work", runner_id=None if runner is None else self.runner(runner))
        ids = [fresh() for _ in range(count)]
        for job_id in ids:
            await self.store.enqueue(self.group_id, spec, job_id=job_id)
        return ids

    async def claim(
        self, name: str, epoch: int | None, *, limit: int = 1, claim_id: str | None = None
    ) -> Claimed:
        """Claim jobs as a runner."""
        return await self.store.claim(
            self.runner(name),
            self.session(name),
            claim_id=claim_id or fresh(),
            epoch=epoch,
            limit=limit,
            tokens=[fresh() for _ in range(limit)],
        )


async def shift_clock(connection: asyncpg.Connection, seconds: float) -> None:
    """Have the database's clock go so far ahead of what it is, or behind."""
    await connection.execute(
        "CREATE OR REPLACE FUNCTION election.clock() RETURNS timestamptz LANGUAGE sql VOLATILE"
        f" AS 'SELECT clock_timestamp() + make_interval(secs => {seconds})'"
    )


async def waiting(connection: asyncpg.Connection, count: int = 1) -> None:
    """Wait until that many others in the database wait for a lock."""

    async def waits() -> bool:
        found = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(found >= count)

    await until(waits)
