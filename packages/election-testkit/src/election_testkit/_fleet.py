"""A group with runners in a store, driven by commands, as an engine would."""

from __future__ import annotations

import secrets
from datetime import timedelta

from attrs import define, field

from election_core import (
    Claimed,
    Command,
    Decide,
    DeleteRunner,
    Job,
    JobOutcome,
    JobSpec,
    Leave,
    OpenSession,
    Plan,
    Pulse,
    RegisterRunner,
    Release,
    Session,
    Settings,
    Settlement,
    Snapshot,
    create_group,
    default_policies,
    plan,
)
from election_core.ports import Beat, Beaten, Committed, Settle
from election_testkit._subject import FullStore

__all__ = ["Fleet", "fresh", "group_events", "settle_one"]

_POLICIES = default_policies()
_NO_OUTAGE = timedelta(days=365)
"""A tick that no test is late for, whatever other tests on the same data left behind."""


def fresh(kind: str) -> str:
    """An id that nothing had before, of another process either."""
    return f"{kind}-{secrets.token_hex(5)}"


async def settle_one(store: FullStore, job_id: str, token: str, settlement: Settlement) -> Job:
    """Settle one claim, a refusal raised."""
    (answer,) = await store.settle([Settle(job_id=job_id, token=token, settlement=settlement)])
    if isinstance(answer, Job):
        return answer
    raise answer


async def group_events(store: FullStore, group_id: str) -> list[str]:
    """The kinds of all events of a group."""
    return [event.kind for event in await store.events(group_id, limit=10_000)]


@define
class Fleet:
    """One group of a store, of a fresh name unless told.

    Its runners are spoken of by short names; [`runner`][election_testkit.Fleet.runner] and
    [`session`][election_testkit.Fleet.session] tell their ids, which are unique in the store.
    """

    store: FullStore
    group_id: str = field(factory=lambda: fresh("group"))
    opened: dict[str, int] = field(factory=dict, init=False)
    """How many sessions each runner has opened."""

    def runner(self, name: str) -> str:
        """The id of a runner."""
        return f"{self.group_id}.{name}"

    def session(self, name: str, number: int | None = None) -> str:
        """The id of a runner's current session, or of its first, second and so on."""
        return f"{self.runner(name)}.{number or self.opened[name]}"

    def job(self, name: str) -> str:
        """The id of a job."""
        return f"{self.group_id}.job.{name}"

    # Groups and runners.

    async def create(self, settings: Settings | None = None) -> Committed:
        """Create the group, on a store that no time of this test counts as an outage of."""
        at = (await self.store.mark(_NO_OUTAGE)).at
        changes = create_group(self.group_id, settings or Settings(), at=at)
        return await self.store.commit(changes, expected_revision=0, commit_id=fresh("commit"))

    async def create_again(self) -> Committed:
        """Create the group after its deletion."""
        remains = await self.load()
        changes = create_group(
            self.group_id, remains.group.settings, at=remains.at, remains=remains.group
        )
        return await self.store.commit(
            changes, expected_revision=remains.revision, commit_id=fresh("commit")
        )

    async def load(self) -> Snapshot:
        """The group as it is."""
        return await self.store.load(self.group_id)

    async def plan(self, command: Command) -> Plan:
        """What a command would do now."""
        snapshot = await self.load()
        return plan(snapshot, command, _POLICIES.of(snapshot.group.settings), actor="test")

    async def commit(self, planned: Plan, commit_id: str | None = None) -> Committed:
        """Commit what was planned, now or earlier."""
        return await self.store.commit(
            planned.changes,
            expected_revision=planned.before.revision,
            commit_id=commit_id or fresh("commit"),
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
        """Register runners and open their sessions; the first one leads an empty group."""
        for name in names:
            await self.do(RegisterRunner(runner_id=self.runner(name), name=name))
            await self.reopen(name)

    async def reopen(self, name: str, *, previous: str | None = None) -> str:
        """Open a session of a runner, superseding the one it has; its id."""
        self.opened[name] = self.opened.get(name, 0) + 1
        session_id = self.session(name)
        await self.do(
            OpenSession(
                runner_id=self.runner(name),
                session_id=session_id,
                session_key=f"key of {session_id}",
                previous_session_id=previous,
            )
        )
        return session_id

    async def release(self, name: str) -> Plan:
        """Give up the current epoch."""
        return await self.do(self.releasing(name, await self.epoch()))

    def releasing(self, name: str, epoch: int) -> Release:
        """The command by which a runner gives up an epoch."""
        return Release(runner_id=self.runner(name), session_id=self.session(name), epoch=epoch)

    def deleting(self, name: str) -> DeleteRunner:
        """The command that deletes a runner."""
        return DeleteRunner(runner_id=self.runner(name))

    async def leave(self, name: str) -> Plan:
        """End a runner's session from its own side."""
        return await self.do(Leave(runner_id=self.runner(name), session_id=self.session(name)))

    async def epoch(self) -> int:
        """The group's epoch."""
        return (await self.load()).group.epoch

    async def leader(self) -> str | None:
        """The short name of who holds the term, live or not."""
        term = (await self.load()).group.term
        return None if term is None else term.runner_id.removeprefix(f"{self.group_id}.")

    async def due(self) -> bool:
        """Whether the group is due."""
        return self.group_id in (await self.store.due(1_000_000)).group_ids

    # Sessions.

    async def beat(self, *names: str) -> None:
        """Renew the current sessions of runners."""
        await self.store.beat(
            [Beat(runner_id=self.runner(name), session_id=self.session(name)) for name in names]
        )

    async def beat_as(
        self, name: str, session_id: str, *, seq: int | None = None, ready: bool | None = None
    ) -> Beaten:
        """Renew a session of a runner, current or not."""
        beat = Beat(runner_id=self.runner(name), session_id=session_id, seq=seq, ready=ready)
        (answer,) = await self.store.beat([beat])
        return answer

    async def renew(self, name: str, *, seq: int | None = None, ready: bool | None = None) -> Pulse:
        """Renew a runner's current session."""
        answer = await self.beat_as(name, self.session(name), seq=seq, ready=ready)
        assert isinstance(answer, Pulse), f"a current session's renewal was answered {answer}"
        return answer

    async def pulse(self, name: str) -> Pulse:
        """The pulse of a runner's current session."""
        answer = await self.store.pulse(self.runner(name), self.session(name))
        assert isinstance(answer, Pulse), f"a current session's pulse is {answer}"
        return answer

    async def record(self, name: str) -> Session:
        """The session of a runner as a snapshot has it."""
        runner = (await self.load()).runner(self.runner(name))
        assert runner is not None, f"runner {name!r} is gone"
        assert runner.session is not None, f"runner {name!r} has no session"
        return runner.session

    # Jobs.

    async def enqueue(self, *names: str, runner: str | None = None, priority: int = 0) -> None:
        """Enqueue jobs of these names, addressed to a runner or not."""
        for name in names:
            spec = JobSpec(
                kind="work",
                payload=name,
                priority=priority,
                runner_id=None if runner is None else self.runner(runner),
            )
            await self.store.enqueue(self.group_id, spec, job_id=self.job(name))

    async def claim(
        self,
        name: str,
        *,
        epoch: int | None = 1,
        limit: int = 1,
        claim_id: str | None = None,
        session_id: str | None = None,
    ) -> Claimed:
        """Claim jobs as a runner does; without `epoch` addressed ones alone."""
        return await self.store.claim(
            self.runner(name),
            session_id or self.session(name),
            claim_id=claim_id or fresh("claim"),
            epoch=epoch,
            limit=limit,
            tokens=[fresh("token") for _ in range(limit)],
        )

    async def claim_one(self, name: str, *, epoch: int | None = 1) -> str:
        """Claim one job that must be there; the token of the claim."""
        claimed = await self.claim(name, epoch=epoch)
        assert len(claimed.items) == 1, f"{name!r} was given no job"
        return claimed.items[0].claim_token

    async def settle(
        self,
        job: str,
        token: str,
        outcome: JobOutcome = JobOutcome.SUCCEEDED,
        *,
        retry: bool = True,
        result: object = None,
        error: str | None = None,
    ) -> Job:
        """Settle a job, a refusal raised."""
        settlement = Settlement(outcome=outcome, retry=retry, result=result, error=error)
        return await settle_one(self.store, self.job(job), token, settlement)

    async def look(self, job: str) -> Job:
        """A job of that name."""
        return await self.store.job(self.job(job))
