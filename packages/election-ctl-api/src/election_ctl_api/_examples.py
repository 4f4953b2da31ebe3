"""One example of every type on the wire, for the OpenAPI document.

They are values of the types themselves, so an example that no longer fits does not even load.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import get_args, get_origin

from election_core import (
    CODES,
    Cause,
    ClaimedJob,
    DecisionInfo,
    Drain,
    DrainRunner,
    Effect,
    ElectionError,
    Event,
    GroupInfo,
    Handover,
    Job,
    JobOutcome,
    JobSpec,
    JobState,
    Leader,
    LoseRunner,
    NewTaint,
    Operator,
    Page,
    Pin,
    PinLeader,
    PolicySpec,
    Reason,
    Registration,
    Role,
    RunnerInfo,
    RunnerStatus,
    Settings,
    Standing,
    Taint,
    Token,
    TokenKind,
    Toleration,
    Undrain,
    Untaint,
    Verdict,
    encode,
)
from election_ctl_api._bodies import (
    Accepted,
    ChangeLeader,
    ClaimedJobs,
    ClaimJobs,
    DrainIt,
    GroupPatch,
    Health,
    HeartBeat,
    NewGroup,
    NewRunner,
    NewSession,
    NewToken,
    NoFields,
    ReleaseEpoch,
    RemoveTaints,
    SettleJob,
    SupposedTaint,
    Supposition,
    Suppositions,
    issued,
)

__all__ = ["body_example", "example_of", "problem_example"]

_AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
_CLOUD, _LAPTOP = "runner-5f0c2a7d9be14603a1c8", "runner-c41e90b7d2f35a68e07b"
_SESSION = "session-8d1f6e0a3c57b924f6d0"
_JOB = "job-0b9a7c3e5d1f2468ace0"
_TAINT = Taint(key="maintenance", owner="ana", created_at=_AT, expires_at=_AT + timedelta(hours=1))
_SETTINGS = Settings(
    heartbeat=timedelta(seconds=5),
    policy=PolicySpec(
        options={"preempt": False, "stable_for_seconds": 30.0, "prefer_labels": {"zone": "home"}}
    ),
    tolerations=(Toleration(key="spot", operator=Operator.EXISTS, effect=Effect.NO_LEAD),),
)
_RUNNER = RunnerInfo(
    id=_CLOUD,
    group_id="builds",
    name="cloud-a",
    created_at=_AT,
    platform="linux-x86_64",
    labels={"zone": "cloud"},
    version="1.4.0",
    status=RunnerStatus.ACTIVE,
    role=Role.LEADER,
    taints=(_TAINT,),
    session_id=_SESSION,
    ready=True,
    lease_expires_at=_AT + timedelta(seconds=15),
)
_DECISION = DecisionInfo(
    outcome="keep",
    leader_runner_id=_CLOUD,
    successor_runner_id=None,
    reason="incumbent",
    look_again_at=None,
    ballot=(
        Verdict(_CLOUD, True),
        Verdict(_LAPTOP, False, (Reason("unready", "it reported that it is not ready"),)),
    ),
)
_RUNNING = Job(
    id=_JOB,
    group_id="builds",
    kind="build",
    payload={"commit": "913fb9f"},
    state=JobState.RUNNING,
    attempts=1,
    available_at=_AT,
    created_at=_AT,
    started_at=_AT,
    claimed_by=_CLOUD,
    epoch=7,
)
_SHOWN, _HELD = "elt_2mV0pH8q…", "Vw1kq0cZ…"
_TOKEN = Token(id="tok-1c7e5a90b3d24f68", kind=TokenKind.JOIN, group_id="builds", created_at=_AT)

_EXAMPLES: Mapping[type, object] = {
    type(example): example
    for example in (
        # What is answered.
        _RUNNER,
        _DECISION,
        _RUNNING,
        _SETTINGS,
        _TAINT,
        _DECISION.ballot[1],
        _DECISION.ballot[1].reasons[0],
        _SETTINGS.tolerations[0],
        GroupInfo(
            id="builds", created_at=_AT, epoch=7, leader_runner_id=_CLOUD, settings=_SETTINGS
        ),
        Pin(runner_id=_LAPTOP, owner="ana", reason="debugging", created_at=_AT),
        Handover(
            cause=Cause.TAINTED,
            started_at=_AT,
            deadline=_AT + timedelta(minutes=1),
            successor_runner_id=_LAPTOP,
        ),
        Drain(at=_AT, reason="upgrade", timeout=timedelta(minutes=5)),
        Leader(
            runner=_RUNNER,
            epoch=7,
            session_id=_SESSION,
            elected_at=_AT,
            lease_expires_at=_AT + timedelta(seconds=15),
            reason="oldest",
            kind="failover",
        ),
        Registration(
            runner=_RUNNER,
            token=_SHOWN,
            created=True,
        ),
        Standing(
            runner_id=_CLOUD,
            session_id=_SESSION,
            role=Role.LEADER,
            epoch=7,
            leader_runner_id=_CLOUD,
            lease_remaining=timedelta(seconds=15),
            heartbeat=timedelta(seconds=5),
            step_down_in=None,
            standing_version=3,
            store_time=_AT,
        ),
        Event(
            id=42,
            group_id="builds",
            at=_AT,
            kind="elected",
            epoch=7,
            runner_id=_CLOUD,
            reason="oldest",
            actor="elector",
            data={"kind": "failover", "leaderless_seconds": 0.4},
        ),
        ClaimedJob(job=_RUNNING, claim_token=_HELD),
        ClaimedJobs(items=(ClaimedJob(job=_RUNNING, claim_token=_HELD),)),
        Accepted(decision=_DECISION),
        _TOKEN,
        issued(_TOKEN, _SHOWN),
        Health(),
        # What is asked.
        NoFields(),
        NewGroup(id="builds", settings=_SETTINGS),
        GroupPatch(settings={"lease_seconds": 10}),
        ChangeLeader(runner_id=_LAPTOP, owner="ana", reason="debugging", ttl=timedelta(hours=2)),
        Suppositions(changes=(Supposition(lose=LoseRunner(runner_id=_CLOUD)),)),
        Supposition(lose=LoseRunner(runner_id=_CLOUD)),
        SupposedTaint(runner_id=_CLOUD, key="maintenance"),
        Untaint(runner_id=_CLOUD, key="maintenance"),
        PinLeader(runner_id=_LAPTOP, owner="ana"),
        LoseRunner(runner_id=_CLOUD),
        DrainRunner(runner_id=_CLOUD),
        Undrain(runner_id=_CLOUD),
        NewRunner(
            name="cloud-a",
            platform="linux-x86_64",
            labels={"zone": "cloud"},
            version="1.4.0",
            instance_key="kX7…",
        ),
        NewTaint(key="maintenance", owner="ana", reason="upgrade", ttl=timedelta(hours=1)),
        RemoveTaints(key="maintenance", owner="ana"),
        DrainIt(reason="upgrade", timeout=timedelta(minutes=5)),
        NewSession(session_key="b1946ac92492d234", version="1.4.0"),
        HeartBeat(session_id=_SESSION, seq=12, ready=True, seen=3),
        ReleaseEpoch(session_id=_SESSION, epoch=7, reason="upgrade"),
        JobSpec(kind="build", payload={"commit": "913fb9f"}),
        ClaimJobs(session_id=_SESSION, claim_id="claim-17", epoch=7, limit=1),
        SettleJob(
            claim_token=_HELD,
            outcome=JobOutcome.SUCCEEDED,
            result={"artifact": "build-17.tar"},
        ),
        NewToken(kind=TokenKind.JOIN, group_id="builds", ttl=timedelta(days=1)),
    )
}

_FACTS: Mapping[str, Mapping[str, str | int]] = {
    "invalid": {"field": "settings.lease_seconds"},
    "no-leader": {"current_epoch": 8},
    "stale-epoch": {"current_epoch": 8},
    "not-leader": {"current_epoch": 8, "leader_runner_id": _LAPTOP},
    "payload-too-large": {"field": "payload", "limit": 65536},
}


def example_of(hint: object) -> object:
    """The example of a type, or of a page of it."""
    if get_origin(hint) is Page:
        return Page(items=(example_of(get_args(hint)[0]),))
    assert isinstance(hint, type)  # noqa: S101 - every other answer has a class
    return _EXAMPLES[hint]


def body_example(cls: type) -> object:
    """The example of a body, without what is not said."""
    written = encode(example_of(cls))
    assert isinstance(written, dict)  # noqa: S101 - bodies are objects
    return {name: _said(value) for name, value in written.items() if value is not None}


def _said(value: object) -> object:
    if isinstance(value, list):
        return [_said(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _said(inner) for name, inner in value.items() if inner is not None}
    return value


def problem_example(cls: type[ElectionError]) -> ElectionError:
    """An example of an error."""
    code = cls.code
    return CODES[code]("", **_FACTS.get(code, {}))
