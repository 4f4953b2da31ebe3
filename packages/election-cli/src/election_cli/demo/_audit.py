"""What the demo promises, checked against what the store kept.

The store is the first witness: its jobs and its history of terms are read once the server has
stopped. The runners' journals are the second one, for what a store cannot know: which handlers were
called, and which settlements a runner saw accepted. A promise is broken where the two contradict
each other, or the store itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from attrs import field, frozen

from election_cli.demo._evidence import Evidence
from election_cli.demo._journal import Execution
from election_core import Job, JobState, Kind

__all__ = ["Findings", "audit"]

CLOCK_SLACK = timedelta(milliseconds=20)
"""How far the store's clock and that of the journals may drift apart within a minute, while the
system slews one of them."""


@frozen(kw_only=True)
class Findings:
    """What came out."""

    enqueued: int
    succeeded: int = 0
    settled_twice: int = 0
    run_by_non_leader: int = 0
    broken: Sequence[str] = field(factory=list)
    """One sentence for each promise that was broken; empty if all were kept."""


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
    """Every job that was taken is there and succeeded, and no other is there.

    Of a script that was cut short, jobs are left, and the last one may not have been noted down.
    """
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
        if evidence.complete
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
