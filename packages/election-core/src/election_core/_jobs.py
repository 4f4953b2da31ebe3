"""Jobs: what they are, their claims and settlements, and how one begins."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum

from attrs import field, frozen

from election_core._errors import Invalid, PayloadTooLarge

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
    "check_json",
    "enqueue_job",
]

MAX_PAYLOAD_BYTES = 64 * 1024
"""The most that a payload or a result may take as JSON."""
MAX_NESTING = 32
"""How deep a payload or a result may nest."""
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_CONTAINERS = (dict, list, tuple)


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
        containers = [item for item in level if isinstance(item, _CONTAINERS)]
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
