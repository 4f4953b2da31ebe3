"""A group with runners in a store, driven by commands, as an engine would."""

from __future__ import annotations

import secrets

from election_core import (
    Command,
    Decide,
    ElectionError,
    Job,
    JobSpec,
    OpenSession,
    Plan,
    RegisterRunner,
    Settings,
    Settlement,
    create_group,
    default_policies,
    plan,
)
from election_core.ports import Beat, Committed, JobStore, Settle
from election_sqlite import SqliteStore

_POLICIES = default_policies()


def fresh_commit_id() -> str:
    """An id that no commit had, of another process either."""
    return secrets.token_hex(8)


async def settle(store: JobStore, job_id: str, token: str, settlement: Settlement) -> Job:
    """Settle one claim.

    Raises:
        ElectionError: What it is refused with.
    """
    (answer,) = await store.settle([Settle(job_id=job_id, token=token, settlement=settlement)])
    if isinstance(answer, ElectionError):
        raise answer
    return answer


class Fleet:
    """One group of a store.

    A runner ``a`` has the session ``a1``, after it is opened anew ``a2``, and so on.
    """

    def __init__(self, store: SqliteStore, group_id: str = "g") -> None:
        self.store = store
        self.group_id = group_id
        self.sessions: dict[str, int] = {}

    async def create(self, settings: Settings | None = None) -> Committed:
        """Create the group."""
        at = (await self.store.due(1)).at
        changes = create_group(self.group_id, settings or Settings(), at=at)
        return await self.store.commit(changes, expected_revision=0, commit_id=fresh_commit_id())

    async def plan(self, command: Command) -> Plan:
        """What a command would do now."""
        snapshot = await self.store.load(self.group_id)
        return plan(snapshot, command, _POLICIES.of(snapshot.group.settings), actor="test")

    async def do(self, command: Command) -> Plan:
        """Carry a command out."""
        planned = await self.plan(command)
        await self.store.commit(
            planned.changes,
            expected_revision=planned.before.revision,
            commit_id=fresh_commit_id(),
        )
        return planned

    async def decide(self) -> Plan:
        """Decide again."""
        return await self.do(Decide())

    async def join(self, *runner_ids: str) -> None:
        """Register runners and open their sessions; the first one leads an empty group."""
        for runner_id in runner_ids:
            await self.do(RegisterRunner(runner_id=runner_id, name=runner_id))
            await self.reopen(runner_id)

    async def reopen(self, runner_id: str) -> str:
        """Open a session of a runner, superseding the one it has."""
        number = self.sessions[runner_id] = self.sessions.get(runner_id, 0) + 1
        session_id = f"{runner_id}{number}"
        await self.do(
            OpenSession(
                runner_id=runner_id, session_id=session_id, session_key=f"key of {session_id}"
            )
        )
        return session_id

    async def beat(self, *runner_ids: str) -> None:
        """Renew the sessions of runners."""
        await self.store.beat(
            [Beat(runner_id=id_, session_id=f"{id_}{self.sessions[id_]}") for id_ in runner_ids]
        )

    async def enqueue(self, *job_ids: str, priority: int = 0, runner_id: str | None = None) -> None:
        """Enqueue jobs of that name."""
        for job_id in job_ids:
            spec = JobSpec(kind="work", payload=job_id, priority=priority, runner_id=runner_id)
            await self.store.enqueue(self.group_id, spec, job_id=job_id)

    async def epoch(self) -> int:
        """The group's epoch."""
        return (await self.store.load(self.group_id)).group.epoch
