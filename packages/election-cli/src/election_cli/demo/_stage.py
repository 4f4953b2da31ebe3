"""What the script plays on: the control plane as an operator sees it, and waits that always end.

Every wait has a deadline and a sentence. A sentence that did not come true in time is a broken
promise, and the demo ends with it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import anyio
from attrs import field, frozen, mutable

from election_cli.demo._journal import Execution, Journals
from election_cli.demo._processes import Child, Processes
from election_cli.demo._timeline import Timeline
from election_core import Event, EventKind, JobState
from election_sdk import Client

__all__ = ["BrokenPromise", "Member", "Stage"]

_POLL = 0.05
_BETWEEN_JOBS = 0.4
_LOOK_AROUND = 0.5


class BrokenPromise(Exception):
    """Something did not come out as the script says it does."""


@mutable(kw_only=True, eq=False)
class Member:
    """A runner of the group, with the process that it is at the moment."""

    name: str
    runner_id: str
    token: str = field(repr=False)
    child: Child | None = None
    started_after: int = 0
    """How many events there were when its process was started."""

    @property
    def process(self) -> Child:
        """Its process."""
        if self.child is None:
            raise RuntimeError(f"{self.name} was not started")
        return self.child


@frozen(kw_only=True, eq=False)
class Stage:
    """The group, its members, and what is known of them."""

    client: Client
    url: str
    group: str
    folder: Path
    journals: Journals
    processes: Processes
    timeline: Timeline
    members: dict[str, Member] = field(factory=dict, init=False)
    """By runner id."""
    history: list[Event] = field(factory=list, init=False)
    enqueued: list[str] = field(factory=list)

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Follow the history and look around while the block runs."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow)
            if self.timeline.has_board:
                tasks.start_soon(self._look_around)
            yield
            tasks.cancel_scope.cancel()

    async def _follow(self) -> None:
        async for event in self.client.follow(self.group):
            self.history.append(event)
            self.timeline.event(event)

    async def _look_around(self) -> None:
        while True:
            runners = await self.client.runners(self.group)
            jobs = await self.client.jobs(self.group, limit=500)
            self.timeline.stands(runners.items, Counter(job.state.value for job in jobs.items))
            await anyio.sleep(_LOOK_AROUND)

    # Members.

    async def register(self, name: str, platform: str) -> Member:
        """Make a runner known to the control plane; its process comes later."""
        registration = await self.client.register(self.group, name, platform=platform)
        member = Member(name=name, runner_id=registration.runner.id, token=registration.token or "")
        self.members[member.runner_id] = member
        self.timeline.call(member.runner_id, name)
        return member

    def start(self, member: Member) -> None:
        """Start a process of a runner; one after the other they share a state file."""
        member.started_after = len(self.history)
        member.child = self.processes.start(
            member.name,
            [
                "election_cli.demo._worker",
                *("--url", self.url),
                *("--group", self.group),
                *("--name", member.name),
                *("--runner-id", member.runner_id),
                *("--folder", os.fspath(self.folder)),
            ],
            environment={"ELECTION_TOKEN": member.token},
        )
        self.timeline.did(member.name, f"is started (process {member.process.pid})")

    async def joined(self, member: Member, *, within: float = 15.0) -> None:
        """Wait until the newest process of a runner has its session."""

        def opened() -> bool:
            return any(
                event.kind == EventKind.SESSION_OPENED and event.runner_id == member.runner_id
                for event in self.history[member.started_after :]
            )

        await self.until(f"{member.name} joins the group", opened, within=within)

    # Terms.

    def terms(self) -> list[Event]:
        """The elections so far."""
        return [event for event in self.history if event.kind == EventKind.ELECTED]

    @property
    def epoch(self) -> int:
        """The highest epoch that was granted so far."""
        return max((event.epoch for event in self.terms()), default=0)

    async def led_by(
        self, candidates: Collection[Member], *, after: int, within: float = 12.0
    ) -> Member:
        """Wait for the term behind the epoch `after`, and see that it is one of the candidates'."""
        names = " or ".join(member.name for member in candidates)
        await self.until(
            f"{names} leads under an epoch behind {after}",
            lambda: self.epoch > after,
            within=within,
        )
        term = next(event for event in self.terms() if event.epoch > after)
        leader = self.members[term.runner_id or ""]
        if leader not in candidates:
            raise BrokenPromise(
                f"{leader.name} leads under epoch {term.epoch}; it should be {names}"
            )
        return leader

    # Jobs.

    async def enqueue_until(self, enough: anyio.Event) -> None:
        """Add a short job again and again, whoever leads or nobody."""
        while not enough.is_set():
            number = len(self.enqueued)
            await self.enqueue(seconds=0.05 + 0.03 * (number % 5))
            with anyio.move_on_after(_BETWEEN_JOBS):
                await enough.wait()

    async def enqueue(self, *, seconds: float, priority: int = 0) -> str:
        """Add a job that takes so long."""
        job = await self.client.enqueue(self.group, "demo", {"seconds": seconds}, priority=priority)
        self.enqueued.append(job.id)
        return job.id

    async def flow(self, member: Member, count: int = 3, *, within: float = 10.0) -> None:
        """Wait until a runner has done so many more jobs."""
        before = self._done(member)
        await self.until(
            f"{member.name} finishes {count} more jobs",
            lambda: self._done(member) >= before + count,
            within=within,
        )

    def _done(self, member: Member) -> int:
        return sum(
            execution.finished
            for execution in self.executions()
            if execution.runner_id == member.runner_id
        )

    async def busy(self, member: Member, *, seconds: float, within: float = 10.0) -> str:
        """Give the leader a job that takes so long, and wait until it works on it."""
        job_id = await self.enqueue(seconds=seconds, priority=1)

        await self.until(
            f"{member.name} works on a long job",
            lambda: any(self._executions_of(member, job_id)),
            within=within,
        )
        return job_id

    def at_work(self, member: Member, job_id: str) -> bool:
        """Whether a runner is in the middle of a job."""
        return any(not execution.finished for execution in self._executions_of(member, job_id))

    def _executions_of(self, member: Member, job_id: str) -> list[Execution]:
        return [
            execution
            for execution in self.executions()
            if execution.job_id == job_id and execution.runner_id == member.runner_id
        ]

    async def refusal(self, member: Member, job_id: str, *, within: float = 10.0) -> str:
        """Wait until a runner's settlement of a job is refused; the code of the refusal."""

        def refused() -> str:
            codes = [execution.refused for execution in self._executions_of(member, job_id)]
            return codes[-1] if codes else ""

        await self.until(
            f"the late settlement of {member.name} is refused",
            lambda: bool(refused()),
            within=within,
        )
        return refused()

    async def all_done(self, *, within: float = 15.0) -> None:
        """Wait until no job is left to do."""
        with self._deadline("all jobs are finished", within):
            for state in (JobState.QUEUED, JobState.RUNNING):
                async for _ in _glances():
                    if not (await self.client.jobs(self.group, state=state, limit=1)).items:
                        break

    def executions(self) -> list[Execution]:
        """What the runners' journals say up to now."""
        return self.journals.executions()

    # Taints.

    async def taint(
        self, members: Collection[Member], *, owner: str, reason: str, ttl: float
    ) -> None:
        """Taint runners, or taint them anew so that it lasts."""
        for member in members:
            await self.client.taint(
                member.runner_id,
                key="laptop",
                owner=owner,
                reason=reason,
                ttl=timedelta(seconds=ttl),
            )

    # Waits.

    async def until(self, sentence: str, true: Callable[[], bool], *, within: float) -> None:
        """Wait until something is true.

        Raises:
            BrokenPromise: It is not, `within` seconds later.
        """
        with self._deadline(sentence, within):
            async for _ in _glances():
                if true():
                    return

    @contextmanager
    def _deadline(self, sentence: str, within: float) -> Iterator[None]:
        try:
            with anyio.fail_after(within):
                yield
        except TimeoutError:
            dead = [
                member.process.last_words()
                for member in self.members.values()
                if member.child is not None and not member.child.running
            ]
            raise BrokenPromise(
                "\n".join([f"within {within:g} s it did not come true that {sentence}", *dead])
            ) from None


async def _glances() -> AsyncIterator[None]:
    """Moments to look again: the journals of other processes send no news."""
    while True:
        yield
        await anyio.sleep(_POLL)
