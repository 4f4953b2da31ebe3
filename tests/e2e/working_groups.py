"""Groups of runner processes at work, and what is found out about them afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import anyio
from attrs import field, frozen

from election_cli.demo._audit import audit
from election_cli.demo._evidence import Evidence, collect
from election_cli.demo._journal import Execution, Journals
from election_postgres import PostgresStore
from election_sdk import Client
from tests.e2e.runner_processes import RunnerProcess, RunnerProcesses

__all__ = ["DEADLINE", "WorkingGroup", "all_succeeded", "start_groups", "until"]

DEADLINE = 60.0
"""Seconds within which anything has to come about, on a machine that does much else."""
_POLL = 0.05
_ATTEMPTS = 20
_LONG = 0.35
"""Less than the time that a leader has for cleaning up at the end of a lease of four seconds."""


async def until(holds: Callable[[], bool], sentence: str) -> None:
    """Wait until something holds, which tells nobody of its changes."""
    with anyio.move_on_after(DEADLINE):
        while not holds():  # noqa: ASYNC110 - it is looked at from outside
            await anyio.sleep(_POLL)
        return
    raise AssertionError(f"within {DEADLINE:g} s it did not come true that {sentence}")


async def start_groups(
    client: Client,
    url: str,
    *,
    groups: int,
    runners: int,
    lease: timedelta,
    folder: Path,
    processes: RunnerProcesses,
) -> list[WorkingGroup]:
    """Create groups, and start their runners, oldest first."""
    created = [
        await WorkingGroup.create(
            client,
            url,
            f"group-{number}",
            runners=runners,
            lease_seconds=lease.total_seconds(),
            folder=folder / f"group-{number}",
            processes=processes,
        )
        for number in range(groups)
    ]
    for runner in processes:
        await anyio.to_thread.run_sync(runner.start)
    return created


async def all_succeeded(store: PostgresStore) -> None:
    """Wait until nothing is left to do."""
    with anyio.fail_after(DEADLINE):
        while (await store.job_counts()).keys() != {"succeeded"}:  # noqa: ASYNC110 - as above
            await anyio.sleep(_POLL)


@frozen(kw_only=True, eq=False)
class WorkingGroup:
    """A group, its runners, and the jobs it was given."""

    name: str
    client: Client
    runners: Sequence[RunnerProcess]
    journals: Journals
    enqueued: list[str] = field(factory=list)

    @classmethod
    async def create(
        cls,
        client: Client,
        url: str,
        name: str,
        *,
        runners: int,
        lease_seconds: float,
        folder: Path,
        processes: RunnerProcesses,
    ) -> WorkingGroup:
        """Create the group and register its runners; none is started."""
        await anyio.Path(folder).mkdir()
        await client.create_group(name, settings={"lease_seconds": lease_seconds})
        members = []
        for number in range(runners):
            registered = await client.register(name, f"{name}-{number}")
            assert registered.token is not None
            members.append(
                RunnerProcess(
                    url,
                    group=name,
                    name=registered.runner.name,
                    runner_id=registered.runner.id,
                    token=registered.token,
                    folder=folder,
                )
            )
        processes.extend(members)
        return cls(name=name, client=client, runners=members, journals=Journals(folder))

    # What goes on in it.

    async def enqueue(self, seconds: float, *, priority: int = 0) -> str:
        """Add a job that takes so long."""
        payload = {"seconds": seconds}
        job = await self.client.enqueue(
            self.name, "step", payload, priority=priority, max_attempts=_ATTEMPTS
        )
        self.enqueued.append(job.id)
        return job.id

    async def enqueue_until(self, enough: anyio.Event, *, every: float) -> None:
        """Add a short job again and again, whoever leads or nobody."""
        while not enough.is_set():
            await self.enqueue(0.05 + 0.03 * (len(self.enqueued) % 5))
            with anyio.move_on_after(every):
                await enough.wait()

    def done(self) -> int:
        """How many jobs were settled, as far as the runners came to know."""
        return sum(each.settled for each in self.journals.executions())

    async def flows(self, count: int = 2) -> None:
        """Wait until so many more jobs are settled."""
        enough = self.done() + count
        await until(lambda: self.done() >= enough, f"{self.name} settles {count} more jobs")

    def execution(self, name: str) -> Execution:
        """What is known of an execution by now."""
        return next(each for each in self.journals.executions() if each.name == name)

    def runner(self, runner_id: str) -> RunnerProcess:
        """The runner of an id."""
        return next(each for each in self.runners if each.runner_id == runner_id)

    def epoch(self) -> int:
        """The highest epoch that anybody has worked under."""
        return max((each.epoch for each in self.journals.executions()), default=0)

    async def led_anew(self, epoch: int) -> None:
        """Wait until somebody works under an epoch behind this one."""
        sentence = f"somebody works in {self.name} under an epoch behind {epoch}"
        await until(lambda: self.epoch() > epoch, sentence)

    async def at_work(self) -> Execution:
        """Give the leader a job that takes long, and wait until it works on it."""
        job_id = await self.enqueue(_LONG, priority=1)

        def found() -> list[Execution]:
            return [each for each in self.journals.executions() if each.job_id == job_id]

        await until(lambda: bool(found()), f"somebody in {self.name} works on {job_id}")
        return found()[-1]

    async def kill_leader(self) -> RunnerProcess:
        """Kill the leader at work."""
        leader = self.runner((await self.at_work()).runner_id)
        leader.kill()
        return leader

    async def freeze_leader(self) -> tuple[RunnerProcess, Execution]:
        """Freeze the leader at work; again if the work was done when it stood still."""
        while True:
            execution = await self.at_work()
            leader = self.runner(execution.runner_id)
            leader.freeze()
            if not self.execution(execution.name).finished:
                return leader, execution
            leader.wake()
            leader.cuts.pop()

    async def refusal(self, execution: Execution) -> None:
        """Wait until the settlement of an execution is refused."""
        sentence = f"the late settlement of {execution.job_id} is refused"
        await until(lambda: bool(self.execution(execution.name).refused), sentence)

    # What is found out afterwards.

    async def evidence(self, store: PostgresStore) -> Evidence:
        """What the store kept, and what the runners wrote down."""
        executions = self.journals.executions()
        return await collect(store, self.name, enqueued=self.enqueued, executions=executions)

    def broken(self, evidence: Evidence) -> list[str]:
        """The promises of the demo, and that nobody acted beside another."""
        return [f"{self.name}: {each}" for each in (*audit(evidence).broken, *self._overlaps())]

    def _overlaps(self) -> list[str]:
        spans = sorted(
            (each.started_at, self._acted_until(each), each.job_id, each.runner_id)
            for each in self.journals.executions()
        )
        return [
            f"{one} worked on {job_id} until {end}, and {other} on another one from {begin}"
            for (_, end, job_id, one), (begin, _, _, other) in pairwise(spans)
            if begin < end
        ]

    def _acted_until(self, execution: Execution) -> datetime:
        """Until when the work was done: where its process was killed or frozen, until then.

        What a frozen one does once it is woken must have been refused, which is told elsewhere.
        """
        ends = [] if execution.ended_at is None else [execution.ended_at]
        cuts = self.runner(execution.runner_id).cuts
        return min([*ends, *(cut for cut in cuts if cut >= execution.started_at)])
