"""The rules of claims. Pure: a rule takes a record and returns the next one."""

from __future__ import annotations

from datetime import datetime

from attrs import evolve

from election_core._errors import LeaseExpired, NotLeader, StaleEpoch, SteppingDown
from election_core._jobs import Claim, Job, JobRecord, JobState
from election_core._state import Group, Runner, Session

__all__ = [
    "check_claim",
    "claim_job",
    "claimable",
    "fence",
    "fence_term",
    "lapse_job",
    "orphan_job",
    "requeue",
]


def fence_term(group: Group, holder: Runner | None, epoch: int, at: datetime) -> datetime:
    """Check that `epoch` is current and its lease live, and return the lease's end.

    A leader that is stepping down passes: it is finishing.

    Raises:
        StaleEpoch: The epoch is not the group's current one, or its term has ended.
        LeaseExpired: The term's lease is over.
    """
    term = group.term
    session = holder.session if holder is not None else None
    return fence(
        epoch,
        current=group.epoch,
        term=None if term is None else term.epoch,
        ends=None if session is None else session.term_expires_at,
        at=at,
    )


def fence(
    epoch: int, *, current: int, term: int | None, ends: datetime | None, at: datetime
) -> datetime:
    """What [`fence_term`][election_core.fence_term] checks, of the few facts that it needs.

    Args:
        epoch: Under which the caller wants to write.
        current: The group's epoch.
        term: The epoch of the current term; `None` for a group that is vacant.
        ends: The end of the lease of that term's session, if it still has one.
        at: The store's time.

    Raises:
        StaleEpoch: The epoch is not the group's current one, or its term has ended.
        LeaseExpired: The term's lease is over.
    """
    if term != epoch:
        why = f"{current} is current" if epoch != current else "its term has ended"
        raise StaleEpoch(f"epoch {epoch} is over: {why}", current_epoch=current)
    if ends is None or ends <= at:
        raise LeaseExpired("the term's lease is over; renew it, then try again")
    return ends


def check_claim(
    group: Group, runner: Runner, session: Session, epoch: int | None, at: datetime
) -> None:
    """Whether a session may claim, in the order of the HTTP contract; the session is current.

    Without `epoch` only addressed jobs are asked for, which need a live session.

    Raises:
        StaleEpoch: The epoch is not the group's current one.
        NotLeader: Another session holds it, or nobody.
        LeaseExpired: The lease is over.
        SteppingDown: The leader is handing over.
    """
    if epoch is not None:
        if epoch != group.epoch:
            raise StaleEpoch(
                f"epoch {epoch} is not the current one ({group.epoch})", current_epoch=group.epoch
            )
        term = group.term
        if term is None or term.session_id != session.id or term.runner_id != runner.id:
            leader = None if term is None else term.runner_id
            raise NotLeader(
                "this session does not hold the current epoch",
                current_epoch=group.epoch,
                leader_runner_id=leader,
            )
        if session.term_expires_at is None or session.term_expires_at <= at:
            raise LeaseExpired("the term's lease is over; renew it, then try again")
        if session.step_down_at is not None:
            raise SteppingDown("a handover is under way; finish what is claimed and release")
    elif session.lease_expires_at <= at:
        raise LeaseExpired("the session's lease is over; renew it, then try again")


def claimable(job: Job, *, runner_id: str, leads: bool, at: datetime) -> bool:
    """Whether a runner that may claim may have this job now."""
    mine = leads if job.runner_id is None else job.runner_id == runner_id
    return mine and job.state is JobState.QUEUED and job.available_at <= at


def claim_job(record: JobRecord, claim: Claim, at: datetime) -> JobRecord:
    """The record once claimed: running, with the attempt counted."""
    job = record.job
    claim = claim if job.runner_id is None else evolve(claim, epoch=None)
    return evolve(
        record,
        claim=claim,
        job=evolve(
            job,
            state=JobState.RUNNING,
            attempts=job.attempts + 1,
            started_at=at,
            claimed_by=claim.runner_id,
            epoch=claim.epoch,
        ),
    )


def requeue(job: Job, at: datetime, *, available_at: datetime, attempts: int) -> Job:
    """Back to the queue, unless somebody asked for its end."""
    if job.cancel_requested:
        return evolve(job, state=JobState.CANCELLED, finished_at=at, attempts=attempts)
    return evolve(job, state=JobState.QUEUED, available_at=available_at, attempts=attempts)


def lapse_job(record: JobRecord, at: datetime, *, handed_back: bool) -> JobRecord:
    """The record of a running job once its claim ended with its term or session.

    Handed back by its own session it counts no attempt. Lost, it is claimable again at once with
    the attempt counted, or failed with `lost` when none remain.
    """
    job = record.job
    if handed_back:
        job = requeue(job, at, available_at=at, attempts=job.attempts - 1)
    elif job.attempts < job.max_attempts or job.cancel_requested:
        job = requeue(job, at, available_at=at, attempts=job.attempts)
    else:
        job = evolve(job, state=JobState.FAILED, finished_at=at, error="lost")
    return evolve(record, job=job)


def orphan_job(record: JobRecord, at: datetime) -> JobRecord:
    """The record of an unfinished addressed job once its runner was deleted."""
    job = record.job
    state = JobState.CANCELLED if job.cancel_requested else JobState.FAILED
    return evolve(record, job=evolve(job, state=state, finished_at=at, error="runner-deleted"))
