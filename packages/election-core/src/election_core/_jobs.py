"""Jobs and the rules of their claims. Pure: a rule takes a record and returns the next one."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from attrs import evolve, field, frozen

from election_core._errors import (
    Invalid,
    LeaseExpired,
    NotLeader,
    PayloadTooLarge,
    StaleClaim,
    StaleEpoch,
    SteppingDown,
)
from election_core._state import Group, Runner, Session

__all__ = [
    "MAX_NESTING",
    "MAX_PAYLOAD_BYTES",
    "Claim",
    "Claimed",
    "ClaimedJob",
    "Job",
    "JobOutcome",
    "JobRecord",
    "JobSpec",
    "JobState",
    "Settled",
    "Settlement",
    "cancel_job",
    "check_claim",
    "check_json",
    "check_settlement",
    "claim_job",
    "claimable",
    "enqueue_job",
    "fence",
    "fence_term",
    "lapse_job",
    "orphan_job",
    "repeats",
    "retry_after",
    "settle_job",
]

MAX_PAYLOAD_BYTES = 64 * 1024
"""The most that a payload or a result may take as JSON."""
MAX_NESTING = 32
"""How deep a payload or a result may nest."""
_LONGEST_BACKOFF = timedelta(seconds=300)
_MOST_DOUBLINGS = 30
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
"""Enough to take the shortest backoff to the longest."""


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class JobOutcome(StrEnum):
    """What a runner says of an attempt when it settles it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RELEASED = "released"
    """Handed back; the attempt does not count."""


@frozen(kw_only=True)
class JobSpec:
    """What a caller asks for."""

    kind: str
    payload: object = None
    """A JSON value of at most 64 KiB, nested at most 32 deep."""
    priority: int = 0
    """Higher first."""
    max_attempts: int | None = None
    """3, or 1 for an addressed job, unless chosen."""
    runner_id: str | None = None
    """Addresses the job to one runner, whoever leads."""


@frozen(kw_only=True)
class Job:
    """A unit of work of a group, as everybody sees it."""

    id: str
    group_id: str
    runner_id: str | None = None
    """The runner it is addressed to, if it is."""
    kind: str
    payload: object = None
    priority: int = 0
    state: JobState = JobState.QUEUED
    attempts: int = 0
    """How many claims counted, the current one included."""
    max_attempts: int = 3
    available_at: datetime
    """Not claimable before."""
    created_at: datetime
    started_at: datetime | None = None
    """When the latest attempt was claimed."""
    finished_at: datetime | None = None
    claimed_by: str | None = None
    """The runner of the latest claim."""
    epoch: int | None = None
    """The epoch of the latest claim; `None` before it and for an addressed job."""
    cancel_requested: bool = False
    result: object = None
    error: str | None = None


@frozen(kw_only=True)
class Claim:
    """One attempt of a job, held by one session under one epoch."""

    token: str
    claim_id: str
    runner_id: str
    session_id: str
    epoch: int | None
    """`None` for an addressed job: it needs the session only."""


@frozen
class Settled:
    """The last settlement, kept so that its repetition is recognised."""

    token: str
    outcome: JobOutcome


@frozen(kw_only=True)
class JobRecord:
    """A job with what only the store needs to know."""

    job: Job
    seq: int = 0
    """The order of enqueueing, given by the store."""
    claim: Claim | None = None
    """The latest claim, kept after its end until the next one; it holds while the job runs."""
    settled: Settled | None = None
    idempotency_key: str | None = None
    fingerprint: str = ""
    """What the key was used for."""


@frozen(kw_only=True)
class ClaimedJob:
    """A job with the token by which its holder settles it."""

    job: Job
    claim_token: str = field(repr=False)


@frozen(kw_only=True)
class Claimed:
    """The answer to a claim."""

    items: tuple[ClaimedJob, ...] = ()
    next_at: datetime | None = None
    """When a queued job that is not claimable yet will be, if none was found."""
    at: datetime | None = None
    """The store's time."""


@frozen(kw_only=True)
class Settlement:
    """What the holder of a claim says of it."""

    outcome: JobOutcome
    result: object = None
    error: str | None = None
    retry: bool = True
    """Whether a failed attempt may be repeated while attempts remain."""


def check_json(value: object, name: str) -> str:
    """The value as compact JSON.

    Raises:
        Invalid: It is no JSON value, or is nested more than 32 deep.
        PayloadTooLarge: It takes more than 64 KiB.
    """
    if value is None:  # as most results are
        return "null"
    _check_depth(value, name)
    try:
        text = _COMPACT.encode(value)
        size = len(text.encode())
    except (TypeError, ValueError) as error:
        raise Invalid(f"{name}: not a JSON value ({error})", field=name) from None
    if size > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"{name}: {size} bytes, at most {MAX_PAYLOAD_BYTES} are taken",
            field=name,
            limit=MAX_PAYLOAD_BYTES,
        )
    return text


def _check_depth(value: object, name: str) -> None:
    level: list[object] = [value]
    for _ in range(MAX_NESTING + 1):
        containers = [item for item in level if isinstance(item, dict | list | tuple)]
        if not containers:
            return
        level = [
            inner
            for outer in containers
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    raise Invalid(f"{name}: nested more than {MAX_NESTING} deep", field=name)


def enqueue_job(
    spec: JobSpec, *, job_id: str, group_id: str, at: datetime, idempotency_key: str | None = None
) -> JobRecord:
    """A new job of a group, queued.

    Raises:
        Invalid: The payload is no JSON value or too deep, or `max_attempts` is below 1.
        PayloadTooLarge: The payload is too large.
    """
    if spec.max_attempts is not None and spec.max_attempts < 1:
        raise Invalid("max_attempts: at least 1", field="max_attempts")
    check_json(spec.payload, "payload")
    attempts = spec.max_attempts or (3 if spec.runner_id is None else 1)
    return JobRecord(
        job=Job(
            id=job_id,
            group_id=group_id,
            runner_id=spec.runner_id,
            kind=spec.kind,
            payload=spec.payload,
            priority=spec.priority,
            max_attempts=attempts,
            available_at=at,
            created_at=at,
        ),
        idempotency_key=idempotency_key,
        fingerprint=_fingerprint(spec),
    )


def _fingerprint(spec: JobSpec) -> str:
    return json.dumps(
        [spec.kind, spec.payload, spec.priority, spec.max_attempts, spec.runner_id], sort_keys=True
    )


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


def check_settlement(
    record: JobRecord, token: str, group: Group, claimant: Runner | None, at: datetime
) -> Claim:
    """Whether the holder of `token` may settle now; the claim that it holds.

    Args:
        record: The job; its repeated settlements are dealt with before.
        token: What the caller presents.
        group: The job's group.
        claimant: The runner of the claim, if it still exists.
        at: The store's time.

    Raises:
        StaleClaim: The claim is over.
        LeaseExpired: The claim stands and its lease is over; renew, then try again.
    """
    claim = record.claim
    if claim is None or claim.token != token or record.job.state is not JobState.RUNNING:
        raise StaleClaim("this claim is over; the job was requeued, finished or claimed again")
    session = claimant.session if claimant is not None else None
    if session is None or session.id != claim.session_id:
        raise StaleClaim("this claim ended with its session")
    if claim.epoch is None:
        if session.lease_expires_at <= at:
            raise LeaseExpired("the session's lease is over; renew it, then try again")
        return claim
    try:
        fence_term(group, claimant, claim.epoch, at)
    except StaleEpoch as error:
        raise StaleClaim("this claim ended with its term", current_epoch=group.epoch) from error
    return claim


def repeats(record: JobRecord, token: str, outcome: JobOutcome) -> bool:
    """Whether a settlement repeats the last one, so that it is answered and not applied.

    Raises:
        StaleClaim: The claim was settled with another outcome.
    """
    settled = record.settled
    if settled is None or settled.token != token:
        return False
    if settled.outcome is not outcome:
        raise StaleClaim(f"this claim was already settled as {settled.outcome}")
    return True


def settle_job(
    record: JobRecord, settlement: Settlement, *, at: datetime, backoff: timedelta
) -> JobRecord:
    """The record once its running attempt is settled.

    Raises:
        Invalid: The result is no JSON value or too deep.
        PayloadTooLarge: The result is too large.
    """
    assert record.claim is not None  # noqa: S101 - the caller checked the settlement
    check_json(settlement.result, "result")
    job = record.job
    error = settlement.error
    match settlement.outcome:
        case JobOutcome.SUCCEEDED:
            job = evolve(job, state=JobState.SUCCEEDED, finished_at=at, error=None)
            job = evolve(job, result=settlement.result)
        case JobOutcome.RELEASED:
            job = _requeue(job, at, available_at=at, attempts=job.attempts - 1)
        case JobOutcome.FAILED if settlement.retry and job.attempts < job.max_attempts:
            again = at + retry_after(job.attempts, backoff)
            job = _requeue(evolve(job, error=error), at, available_at=again, attempts=job.attempts)
        case JobOutcome.FAILED:
            state = JobState.CANCELLED if job.cancel_requested else JobState.FAILED
            job = evolve(job, state=state, finished_at=at, error=error, result=settlement.result)
        case _:
            assert_never(settlement.outcome)
    return evolve(record, job=job, settled=Settled(record.claim.token, settlement.outcome))


def retry_after(attempts: int, backoff: timedelta) -> timedelta:
    """The wait after that many attempts: the group's backoff, doubling, at most 300 seconds."""
    doublings = min(max(0, attempts - 1), _MOST_DOUBLINGS)
    return min(_LONGEST_BACKOFF, backoff * (1 << doublings))


def _requeue(job: Job, at: datetime, *, available_at: datetime, attempts: int) -> Job:
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
        job = _requeue(job, at, available_at=at, attempts=job.attempts - 1)
    elif job.attempts < job.max_attempts or job.cancel_requested:
        job = _requeue(job, at, available_at=at, attempts=job.attempts)
    else:
        job = evolve(job, state=JobState.FAILED, finished_at=at, error="lost")
    return evolve(record, job=job)


def orphan_job(record: JobRecord, at: datetime) -> JobRecord:
    """The record of an unfinished addressed job once its runner was deleted."""
    job = record.job
    state = JobState.CANCELLED if job.cancel_requested else JobState.FAILED
    return evolve(record, job=evolve(job, state=state, finished_at=at, error="runner-deleted"))


def cancel_job(record: JobRecord, at: datetime) -> JobRecord:
    """The record once cancelled: at once if queued; asked for if running; untouched if finished."""
    job = record.job
    match job.state:
        case JobState.QUEUED:
            job = evolve(job, state=JobState.CANCELLED, finished_at=at, cancel_requested=True)
        case JobState.RUNNING:
            job = evolve(job, cancel_requested=True)
        case JobState.SUCCEEDED | JobState.FAILED | JobState.CANCELLED:
            return record
        case _:
            assert_never(job.state)
    return evolve(record, job=job)
