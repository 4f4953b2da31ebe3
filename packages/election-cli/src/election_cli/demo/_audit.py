"""What the demo promises, checked against what the store kept.

The store is the first witness: its jobs and its history of terms are read once the server has
stopped. The runners' journals are the second one, for what a store cannot know: which handlers were
called, and which settlements a runner saw accepted. A promise is broken where the two contradict
each other, or the store itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Protocol

from attrs import field, frozen

from election_cli.demo._journal import Execution
from election_core import Event, EventKind, Job, JobState, Kind, Page, RunnerInfo

__all__ = ["Evidence", "Findings", "Source", "TermRecord", "audit", "collect", "terms_of"]

MOST_JOBS_A_PAGE = 500
CLOCK_SLACK = timedelta(milliseconds=20)
"""How far the store's clock, which counts elapsed time from its start, and the wall clock of the
journals may drift apart within a minute while the system slews the latter."""


class Source(Protocol):
    """What is read of a store; every store of the port has it."""

    async def jobs(
        self,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        """Jobs in order of enqueueing."""
        ...

    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        """The history from behind `after`."""
        ...

    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        """Runners, oldest first."""
        ...


@frozen(kw_only=True)
class TermRecord:
    """One grant of leadership as the history tells it."""

    epoch: int
    runner_id: str
    runner: str
    """The runner's name."""
    reason: str
    kind: str
    leaderless_seconds: float | None
    """How long nobody was leader before it; ``None`` for the first."""
    began: datetime
    ended: datetime | None
    """When its leader gave it up or its lease ran out; ``None``: not before the last event."""

    def covers(self, at: datetime, slack: timedelta = timedelta()) -> bool:
        """Whether it was current at `at`, give or take."""
        return self.began - slack <= at and (self.ended is None or at <= self.ended + slack)


@frozen(kw_only=True)
class Evidence:
    """Everything that the audit looks at."""

    enqueued: Sequence[str]
    """The jobs that the control plane said it took."""
    jobs: Sequence[Job]
    terms: Sequence[TermRecord]
    executions: Sequence[Execution]
    complete: bool = True
    """Whether the script came to its end, so that no job should be left to do."""


@frozen(kw_only=True)
class Findings:
    """What came out."""

    enqueued: int
    succeeded: int = 0
    settled_twice: int = 0
    run_by_non_leader: int = 0
    broken: Sequence[str] = field(factory=list)
    """One sentence for each promise that was broken; empty if all were kept."""


async def collect(
    source: Source, group_id: str, *, enqueued: Sequence[str], executions: Sequence[Execution]
) -> Evidence:
    """Read jobs, runners and history of a group."""
    jobs: list[Job] = []
    cursor: str | None = None
    while True:
        page = await source.jobs(group_id, cursor=cursor, limit=MOST_JOBS_A_PAGE)
        jobs += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    events: list[Event] = []
    while more := await source.events(group_id, after=events[-1].id if events else None):
        events += more
    names = {runner.id: runner.name for runner in (await source.runners(group_id)).items}
    return Evidence(
        enqueued=enqueued, jobs=jobs, terms=terms_of(events, names), executions=executions
    )


def terms_of(events: Iterable[Event], names: Mapping[str, str]) -> list[TermRecord]:
    """The terms that a history tells of.

    A term ended when its leader was last to be believed, which the election after it says in the
    seconds that the group was without a leader.
    """
    elected = [event for event in events if event.kind == EventKind.ELECTED]
    ends: list[datetime | None] = [
        after.at - timedelta(seconds=_leaderless(after) or 0.0) for after in elected[1:]
    ]
    return [
        TermRecord(
            epoch=event.epoch,
            runner_id=event.runner_id or "",
            runner=names.get(event.runner_id or "", event.runner_id or ""),
            reason=event.reason,
            kind=str(event.data.get("kind", "")),
            leaderless_seconds=_leaderless(event),
            began=event.at,
            ended=ended,
        )
        for event, ended in zip(elected, [*ends, None], strict=False)
    ]


def _leaderless(event: Event) -> float | None:
    seconds = event.data.get("leaderless_seconds")
    return float(seconds) if isinstance(seconds, int | float) else None


def audit(evidence: Evidence) -> Findings:
    """Hold the evidence against the promises."""
    twice = _settled_twice(evidence)
    strangers = _run_by_non_leader(evidence)
    succeeded = sum(job.state is JobState.SUCCEEDED for job in evidence.jobs)
    return Findings(
        enqueued=len(evidence.enqueued),
        succeeded=succeeded,
        settled_twice=len(twice),
        run_by_non_leader=len(strangers),
        broken=[
            *_lost(evidence),
            *twice,
            *_settled_under_another_epoch(evidence),
            *strangers,
            *_run_twice_over_a_handover(evidence),
            *_unheard_of(evidence),
            *_epochs_out_of_order(evidence),
        ],
    )


def _lost(evidence: Evidence) -> list[str]:
    """Every job that was taken is there and succeeded, and no other is there."""
    jobs = {job.id: job for job in evidence.jobs}
    broken = [
        f"job {job_id} was enqueued and is not in the store"
        for job_id in evidence.enqueued
        if job_id not in jobs
    ]
    broken += [
        f"job {job.id} was lost on the way: it is {job.state}"
        for job in evidence.jobs
        if job.state is not JobState.SUCCEEDED and (evidence.complete or job.state.finished)
    ]
    broken += [
        f"job {job_id} is in the store and nobody enqueued it"
        for job_id in jobs.keys() - set(evidence.enqueued)
    ]
    return broken


def _settled_twice(evidence: Evidence) -> list[str]:
    """The settlement that the store kept is the only one that any runner saw accepted."""
    accepted: dict[str, set[str]] = defaultdict(set)
    for execution in evidence.executions:
        if execution.settled:
            accepted[execution.job_id].add(execution.name)
    for job in evidence.jobs:
        if (kept := settled_by(job)) is not None:
            accepted[job.id].add(kept)
    return [
        f"job {job_id} was settled {len(names)} times, by {', '.join(sorted(names))}"
        for job_id, names in accepted.items()
        if len(names) > 1
    ]


def settled_by(job: Job) -> str | None:
    """The execution whose result the store kept for a job."""
    match job.result:
        case {"execution": str(name)} if job.state is JobState.SUCCEEDED:
            return name
        case _:
            return None


def _settled_under_another_epoch(evidence: Evidence) -> list[str]:
    """Each job was settled by the leader of the time, by an execution under that very epoch."""
    terms = {term.epoch: term for term in evidence.terms}
    executions = {execution.name: execution for execution in evidence.executions}
    broken = []
    for job in evidence.jobs:
        if job.state is not JobState.SUCCEEDED or job.finished_at is None:
            continue
        term = terms.get(job.epoch or 0)
        execution = executions.get(settled_by(job) or "")
        if term is None:
            broken.append(f"job {job.id} was settled under epoch {job.epoch}, which never was")
        elif job.claimed_by != term.runner_id:
            broken.append(f"job {job.id} was settled by another than the leader of {job.epoch}")
        elif not term.covers(job.finished_at):
            broken.append(f"job {job.id} was settled under epoch {job.epoch} when it was over")
        elif execution is None:
            broken.append(f"job {job.id} was settled, and no runner executed it")
        elif (execution.job_id, execution.epoch) != (job.id, job.epoch):
            broken.append(
                f"job {job.id} was settled under epoch {job.epoch} with the result of an execution "
                f"under epoch {execution.epoch}"
            )
    return broken


def _run_by_non_leader(evidence: Evidence) -> list[str]:
    """No handler was called by a runner that did not lead at that moment.

    What counts is the start. A leader that is frozen in the middle of a job cannot know that it
    does not lead any more; that its late settlement changes nothing is another promise.
    """
    terms = {term.epoch: term for term in evidence.terms}
    broken = []
    for execution in evidence.executions:
        term = terms.get(execution.epoch)
        if (
            term is None
            or term.runner_id != execution.runner_id
            or not term.covers(execution.started_at, CLOCK_SLACK)
        ):
            broken.append(
                f"job {execution.job_id} was begun under epoch {execution.epoch} by "
                f"{execution.runner_id}, which did not lead then"
            )
    return broken


def _run_twice_over_a_handover(evidence: Evidence) -> list[str]:
    """A planned handover begins no job a second time."""
    begun: dict[int, set[str]] = defaultdict(set)
    for execution in evidence.executions:
        begun[execution.epoch].add(execution.job_id)
    return [
        f"job {job_id} was begun under epoch {before.epoch} and again after the handover"
        for before, after in pairwise(evidence.terms)
        if after.kind == Kind.HANDOVER
        for job_id in sorted(begun[before.epoch] & begun[after.epoch])
    ]


def _unheard_of(evidence: Evidence) -> list[str]:
    """A runner that went on after a job had heard whether its settlement was accepted.

    Without this, a journal that says too little would let a job pass that was settled twice.
    """
    latest: dict[str, Execution] = {}
    broken = []
    for execution in evidence.executions:
        before = latest.get(execution.process)
        if before is not None and not (before.settled or before.refused):
            broken.append(
                f"the runner of job {before.job_id} went on without having heard what came of it"
            )
        latest[execution.process] = execution
    return broken


def _epochs_out_of_order(evidence: Evidence) -> list[str]:
    """Epochs rise, and no term begins before the one before it has ended."""
    broken = []
    for before, after in pairwise(evidence.terms):
        if after.epoch <= before.epoch:
            broken.append(f"epoch {after.epoch} was granted after {before.epoch}")
        if before.ended is None or not before.began <= before.ended <= after.began:
            broken.append(f"epoch {after.epoch} was granted while {before.epoch} was current")
    return broken
