"""Jobs, their claims and settlements."""

from __future__ import annotations

from collections.abc import Sequence

from election_core import (
    ConflictError,
    Job,
    JobOutcome,
    JobSpec,
    JobState,
    LeaseExpired,
    NotFound,
    NotLeader,
    Page,
    PayloadTooLarge,
    SessionEnded,
    SessionSuperseded,
    Settlement,
    StaleClaim,
    StaleEpoch,
    SteppingDown,
    decode,
)
from election_ctl_api._access import Access
from election_ctl_api._bodies import ClaimedJobs, ClaimJobs, NoFields, SettleJob
from election_ctl_api._operations import (
    CURSOR,
    LIMIT,
    PREFER,
    Call,
    Operation,
    Parameter,
    operation,
)

__all__ = ["OPERATIONS"]

_GROUP = "/v1/runner-groups/{group}/jobs"
_JOB = "/v1/jobs/{job_id}"
_KEY = Parameter(
    name="Idempotency-Key",
    place="header",
    description="The same key again answers the same job; with another body: 409 `conflict`.",
    example="nightly-2026-01-31",
)
_STATE = Parameter(
    name="state", type=JobState, description="Only jobs in this state.", example="queued"
)


@operation(
    "POST",
    _GROUP,
    access=Access.OPERATE,
    answers={201: Job},
    errors=(NotFound, ConflictError, PayloadTooLarge),
    parameters=(_KEY,),
).taking(JobSpec)
async def enqueue_job(call: Call, body: JobSpec) -> object:
    """Add a job to a group's queue, or address one to a runner."""
    enqueued = await call.engine.enqueue(
        call.path("group"), body, idempotency_key=call.header("Idempotency-Key")
    )
    return enqueued.job


@operation(
    "GET",
    _GROUP,
    access=Access.READ_GROUP,
    answers={200: Page[Job]},
    errors=(NotFound,),
    parameters=(_STATE, LIMIT, CURSOR),
)
async def list_jobs(call: Call) -> object:
    """List the jobs of a group in order of enqueueing."""
    wanted = call.query.get("state")
    state = None if wanted is None else decode(JobState, wanted, path="state")
    return await call.engine.jobs(
        call.path("group"), state=state, cursor=call.cursor, limit=call.limit
    )


@operation("GET", _JOB, access=Access.READ_GROUP, answers={200: Job}, errors=(NotFound,))
async def get_job(call: Call) -> object:
    """Show a job."""
    return await call.engine.job(call.path("job_id"))


@operation(
    "POST", f"{_JOB}/cancel", access=Access.OPERATE, answers={200: Job}, errors=(NotFound,)
).taking(NoFields)
async def cancel_job(call: Call, body: NoFields) -> object:
    """Cancel a job; of a running one this asks its holder to stop.

    A success that comes anyway stands.
    """
    return await call.engine.cancel(call.path("job_id"))


@operation(
    "POST",
    "/v1/runners/{runner_id}/jobs/claim",
    access=Access.ACT,
    answers={200: ClaimedJobs},
    errors=(
        NotFound,
        SessionSuperseded,
        SessionEnded,
        StaleEpoch,
        NotLeader,
        LeaseExpired,
        SteppingDown,
    ),
    parameters=(PREFER,),
).taking(ClaimJobs, lenient=True)
async def claim_jobs(call: Call, body: ClaimJobs) -> object:
    """Claim jobs: the group's, under the epoch the runner leads with, and those addressed to it.

    Without `epoch` the latter alone, whoever leads. The same `claim_id` is answered with the same
    jobs.
    """
    claimed = await call.engine.claim(
        call.path("runner_id"),
        body.session_id,
        claim_id=body.claim_id,
        epoch=body.epoch,
        limit=1 if body.limit is None else body.limit,
        wait=call.wait,
    )
    return ClaimedJobs(items=claimed.items)


@operation(
    "POST",
    f"{_JOB}/settle",
    access=Access.SETTLE,
    answers={200: Job},
    errors=(NotFound, StaleClaim, LeaseExpired, PayloadTooLarge),
).taking(SettleJob, lenient=True)
async def settle_job(call: Call, body: SettleJob) -> object:
    """Settle a claimed job.

    The same token with the same outcome again is answered and not applied; with another it is
    refused.
    """
    settlement = Settlement(
        # Runner calls ignore fields they do not know, not outcomes.
        outcome=decode(JobOutcome, body.outcome, path="outcome"),
        result=body.result,
        error=body.error,
        retry=body.retry is not False,
    )
    return await call.engine.settle(call.path("job_id"), body.claim_token, settlement)


OPERATIONS: Sequence[Operation] = (
    enqueue_job,
    list_jobs,
    get_job,
    cancel_job,
    claim_jobs,
    settle_job,
)
