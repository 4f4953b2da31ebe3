"""The rules of settlements and cancelling. Pure: a rule takes a record and returns the next one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

from attrs import evolve

from election_core._claims import fence_term, requeue
from election_core._errors import LeaseExpired, StaleClaim, StaleEpoch
from election_core._jobs import (
    Claim,
    JobOutcome,
    JobRecord,
    JobState,
    Settled,
    Settlement,
    check_json,
)
from election_core._state import Group, Runner

__all__ = ["cancel_job", "check_settlement", "repeats", "retry_after", "settle_job"]

_LONGEST_BACKOFF = timedelta(seconds=300)
_MOST_DOUBLINGS = 30
"""Enough to take the shortest backoff to the longest."""


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
            job = evolve(
                job,
                state=JobState.SUCCEEDED,
                finished_at=at,
                error=None,
                result=settlement.result,
            )
        case JobOutcome.RELEASED:
            job = requeue(job, at, available_at=at, attempts=job.attempts - 1)
        case JobOutcome.FAILED if settlement.retry and job.attempts < job.max_attempts:
            again = at + retry_after(job.attempts, backoff)
            job = requeue(evolve(job, error=error), at, available_at=again, attempts=job.attempts)
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
