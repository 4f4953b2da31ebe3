"""The rules of jobs and their claims."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from election_cases import NOW, a_runner, a_session, a_snapshot, at, span
from election_core import (
    MAX_NESTING,
    MAX_PAYLOAD_BYTES,
    Claim,
    ElectionError,
    Group,
    Invalid,
    JobOutcome,
    JobRecord,
    JobSpec,
    JobState,
    LeaseExpired,
    NotLeader,
    PayloadTooLarge,
    Runner,
    Settled,
    Settlement,
    StaleClaim,
    StaleEpoch,
    SteppingDown,
    cancel_job,
    check_claim,
    check_json,
    check_settlement,
    claim_job,
    claimable,
    enqueue_job,
    fence_term,
    lapse_job,
    orphan_job,
    repeats,
    retry_after,
    settle_job,
)

BACKOFF = span(2)


def queued(**spec: Any) -> JobRecord:
    """A job that waits."""
    return enqueue_job(JobSpec(kind="work", **spec), job_id="j", group_id="g", at=at(-60))


def a_claim(**changes: Any) -> Claim:
    """A claim of the leader `a` under epoch 7."""
    claim = Claim(token="t", claim_id="c", runner_id="a", session_id="session-a", epoch=7)
    return evolve(claim, **changes)


def running(*, attempts: int = 1, cancelling: bool = False, **spec: Any) -> JobRecord:
    """A job in its latest attempt."""
    record = queued(**spec)
    for _ in range(attempts):
        record = claim_job(
            evolve(record, job=evolve(record.job, state=JobState.QUEUED)), a_claim(), at(-30)
        )
    return cancel_job(record, at(-20)) if cancelling else record


def settled(record: JobRecord, outcome: JobOutcome, **rest: Any) -> JobRecord:
    """The job once its attempt was settled."""
    return settle_job(record, Settlement(outcome=outcome, **rest), at=NOW, backoff=BACKOFF)


# Enqueueing.


def test_a_job_has_three_attempts_and_an_addressed_one_has_one() -> None:
    """Unless chosen, a job of the group is tried three times and one for a runner once."""
    assert queued().job.max_attempts == 3
    assert queued(runner_id="a").job.max_attempts == 1
    assert queued(runner_id="a", max_attempts=2).job.max_attempts == 2


def test_at_least_one_attempt() -> None:
    """A job that may never be tried is refused."""
    with pytest.raises(Invalid) as caught:
        queued(max_attempts=0)

    assert caught.value.facts["field"] == "max_attempts"


def test_a_fingerprint_tells_jobs_apart() -> None:
    """The same key for another job is noticed by what the job says."""
    one = queued(payload={"a": 1, "b": 2}).fingerprint

    assert queued(payload={"b": 2, "a": 1}).fingerprint == one
    assert queued(payload={"a": 1, "b": 3}).fingerprint != one
    assert queued(payload={"a": 1, "b": 2}, priority=1).fingerprint != one


def nested(depth: int, kind: str) -> object:
    """Containers in containers, so many deep."""
    value: object = [] if kind != "objects" else {}
    for _ in range(depth - 1):
        value = {"x": value} if kind == "objects" else [value]
    return value


@pytest.mark.parametrize("kind", ["arrays", "objects"])
def test_thirty_two_deep_is_allowed_and_thirty_three_is_not(kind: str) -> None:
    """The limit of nesting is exact."""
    check_json(nested(MAX_NESTING, kind), "payload")
    with pytest.raises(Invalid, match="nested more than 32 deep"):
        check_json(nested(MAX_NESTING + 1, kind), "payload")


def test_nesting_beyond_any_recursion_limit_is_refused() -> None:
    """A value nested a hundred thousand deep is refused like any other that is too deep."""
    with pytest.raises(Invalid, match="nested"):
        check_json(nested(100_000, "arrays"), "payload")


def test_a_payload_may_take_64_kib() -> None:
    """The limit counts the bytes of the compact JSON form, not characters."""
    check_json("x" * (MAX_PAYLOAD_BYTES - 2), "payload")
    with pytest.raises(PayloadTooLarge) as caught:
        check_json("ä" * (MAX_PAYLOAD_BYTES // 2), "payload")

    assert caught.value.facts == {"field": "payload", "limit": MAX_PAYLOAD_BYTES}


@pytest.mark.parametrize(
    "value",
    [{1, 2}, float("nan"), float("inf"), b"x", object(), "\ud800", {"x": NOW}],
    ids=["set", "nan", "infinity", "bytes", "object", "surrogate", "time"],
)
def test_what_is_no_json_is_refused(value: object) -> None:
    """A payload is what JSON can say, nothing else."""
    with pytest.raises(Invalid, match="not a JSON value"):
        check_json(value, "payload")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(value=JSON)
def test_json_survives(value: object) -> None:
    """Whatever is accepted reads back as it was."""
    assert json.loads(check_json(value, "payload")) == value


# Claiming.


def test_a_claim_counts_its_attempt() -> None:
    """A claimed job runs under the epoch of its claim, with one more attempt."""
    job = running().job

    assert (job.state, job.attempts, job.epoch, job.claimed_by) == (JobState.RUNNING, 1, 7, "a")
    assert job.started_at == at(-30)


def test_an_addressed_job_has_no_epoch() -> None:
    """A claim of an addressed job holds without leadership, so no epoch is written to it."""
    record = claim_job(queued(runner_id="a"), a_claim(), NOW)

    assert record.claim is not None
    assert (record.claim.epoch, record.job.epoch) == (None, None)


@pytest.mark.parametrize(
    ("addressed", "leads", "mine"),
    [(None, True, True), (None, False, False), ("a", False, True), ("b", True, False)],
    ids=["leader", "standby", "addressed", "addressed-to-another"],
)
def test_whose_a_job_is(addressed: str | None, leads: bool, mine: bool) -> None:
    """The group's jobs are the leader's, addressed ones their runner's, whoever leads."""
    job = queued(runner_id=addressed).job

    assert claimable(job, runner_id="a", leads=leads, at=NOW) is mine


def test_a_job_is_not_claimed_before_its_time() -> None:
    """A job that waits out its backoff, or that is not queued, is nobody's."""
    job = queued().job

    assert claimable(evolve(job, available_at=NOW), runner_id="a", leads=True, at=NOW)
    assert not claimable(evolve(job, available_at=at(1)), runner_id="a", leads=True, at=NOW)
    assert not claimable(running().job, runner_id="a", leads=True, at=NOW)


def a_leader(**changes: Any) -> tuple[Group, Runner]:
    """A group led by `a` under epoch 7, and `a` with its session changed."""
    runner = a_runner("a", session=a_session("a", epoch=7))
    group = a_snapshot(runner, leader="a").group
    assert runner.session is not None
    return group, evolve(runner, session=evolve(runner.session, **changes))


def refused_claim(group: Group, runner: Runner, epoch: int | None) -> type[ElectionError] | None:
    """How a claim is refused, if it is."""
    assert runner.session is not None
    try:
        check_claim(group, runner, runner.session, epoch, NOW)
    except ElectionError as error:
        return type(error)
    return None


def test_claims_are_checked_in_the_stated_order() -> None:
    """Stale epoch, then not leader, then lease, then stepping down; each fault hides the next."""
    faults = {"term_expires_at": NOW, "step_down_at": NOW}
    group, leader = a_leader(**faults)
    _, other = a_leader(id="session-other", **faults)

    assert refused_claim(group, other, 6) is StaleEpoch
    assert refused_claim(group, other, 7) is NotLeader
    assert refused_claim(group, leader, 7) is LeaseExpired
    assert refused_claim(*a_leader(step_down_at=NOW), 7) is SteppingDown
    assert refused_claim(*a_leader(), 7) is None


def test_a_stale_epoch_says_which_is_current() -> None:
    """Who claims under an old or unheard-of epoch learns the current one."""
    group, runner = a_leader()
    assert runner.session is not None

    for epoch in (6, 8):
        with pytest.raises(StaleEpoch) as caught:
            check_claim(group, runner, runner.session, epoch, NOW)
        assert caught.value.facts["current_epoch"] == 7


def test_who_does_not_lead_learns_who_does() -> None:
    """A claim under the current epoch by another session is told whose it is, if anybody's."""
    group, runner = a_leader(id="session-other")
    assert runner.session is not None
    for led, leader in [(group, "a"), (evolve(group, term=None), None)]:
        with pytest.raises(NotLeader) as caught:
            check_claim(led, runner, runner.session, 7, NOW)
        assert caught.value.facts == {"current_epoch": 7, "leader_runner_id": leader}


def test_without_an_epoch_a_live_session_is_enough() -> None:
    """Addressed jobs need no leadership, and go on while their runner steps down."""
    assert refused_claim(*a_leader(step_down_at=NOW, term_expires_at=NOW), None) is None
    assert refused_claim(*a_leader(lease_expires_at=NOW), None) is LeaseExpired


# The fence.


def test_the_fence_passes_the_current_epoch() -> None:
    """Under the current epoch and a live lease the fence tells when the lease ends."""
    assert fence_term(*a_leader(), 7, NOW) == at(10)


def test_the_fence_passes_who_is_finishing() -> None:
    """A leader that is stepping down may still write while its term's lease lasts."""
    assert fence_term(*a_leader(step_down_at=NOW), 7, NOW) == at(10)


@pytest.mark.parametrize("epoch", [6, 8])
def test_the_fence_refuses_any_other_epoch(epoch: int) -> None:
    """A deposed leader's write is refused, however late it comes (bug 1)."""
    with pytest.raises(StaleEpoch):
        fence_term(*a_leader(), epoch, NOW)


def test_the_fence_refuses_an_ended_term() -> None:
    """The epoch of a vacant group fences nothing."""
    group, runner = a_leader()

    with pytest.raises(StaleEpoch):
        fence_term(evolve(group, term=None), runner, 7, NOW)


def test_the_fence_refuses_a_lease_that_is_over() -> None:
    """At the end of the lease, and with no holder at all, the fence is closed."""
    group, runner = a_leader(term_expires_at=NOW)

    for holder in (runner, None):
        with pytest.raises(LeaseExpired):
            fence_term(group, holder, 7, NOW)


# Settling.


def test_the_claim_token_settles() -> None:
    """Who holds the token, the session and a live lease may settle."""
    record = running()

    assert check_settlement(record, "t", *a_leader(), NOW) == record.claim


@pytest.mark.parametrize(
    "record",
    [
        queued(),
        evolve(running(), claim=a_claim(token="later")),
        settled(running(), JobOutcome.SUCCEEDED),
        settled(running(), JobOutcome.FAILED),
    ],
    ids=["never-claimed", "claimed-again", "finished", "requeued"],
)
def test_a_claim_that_is_over_cannot_settle(record: JobRecord) -> None:
    """Neither job nor status but the claim's own token counts (bug 32)."""
    with pytest.raises(StaleClaim):
        check_settlement(record, "t", *a_leader(), NOW)


def test_a_claim_ends_with_its_session() -> None:
    """A later session of the same runner, or none, cannot settle for the earlier."""
    group, runner = a_leader(id="session-later")

    for claimant in (runner, evolve(runner, session=None), None):
        with pytest.raises(StaleClaim):
            check_settlement(running(), "t", group, claimant, NOW)


def test_a_claim_ends_with_its_term() -> None:
    """A claim of an earlier epoch is stale also while its session lives on."""
    group, runner = a_leader()

    with pytest.raises(StaleClaim) as caught:
        check_settlement(running(), "t", evolve(group, term=None, epoch=9), runner, NOW)
    assert caught.value.facts["current_epoch"] == 9


def test_a_lapsed_leader_may_try_again() -> None:
    """Between the end of a lease and a decision a settlement is refused for now (bug 1)."""
    with pytest.raises(LeaseExpired):
        check_settlement(running(), "t", *a_leader(term_expires_at=NOW), NOW)


def test_an_addressed_claim_needs_its_session_only() -> None:
    """The claim of an addressed job holds with its session's lease, whoever leads."""
    group, runner = a_leader(held_epoch=None, term_expires_at=None)
    record = claim_job(queued(runner_id="a"), a_claim(), NOW)

    assert check_settlement(record, "t", evolve(group, term=None), runner, NOW).epoch is None
    lapsed = a_leader(lease_expires_at=NOW)[1]
    with pytest.raises(LeaseExpired):
        check_settlement(record, "t", group, lapsed, NOW)


def test_success_is_final() -> None:
    """A success keeps its result and forgets what went wrong before, cancelled or not."""
    again = evolve(running(cancelling=True), job=evolve(running().job, error="first try"))

    job = settled(again, JobOutcome.SUCCEEDED, result={"n": 1}).job

    assert (job.state, job.result, job.error) == (JobState.SUCCEEDED, {"n": 1}, None)
    assert job.finished_at == NOW


def test_a_failure_is_tried_again_after_a_backoff() -> None:
    """While attempts remain a failed job waits and is queued, with what went wrong."""
    job = settled(running(), JobOutcome.FAILED, error="no disk").job

    assert (job.state, job.attempts, job.error) == (JobState.QUEUED, 1, "no disk")
    assert job.available_at == NOW + BACKOFF


def test_the_last_failure_is_final() -> None:
    """When no attempt remains a failed job has failed."""
    job = settled(running(attempts=3), JobOutcome.FAILED, error="no disk").job

    assert (job.state, job.error, job.finished_at) == (JobState.FAILED, "no disk", NOW)


def test_a_failure_need_not_be_tried_again() -> None:
    """`retry=False` makes the first failure the last."""
    assert settled(running(), JobOutcome.FAILED, retry=False).job.state is JobState.FAILED


def test_a_hand_back_counts_no_attempt() -> None:
    """A released job is claimable at once, as if it had not been claimed."""
    job = settled(running(attempts=2), JobOutcome.RELEASED).job

    assert (job.state, job.attempts, job.available_at) == (JobState.QUEUED, 1, NOW)


@pytest.mark.parametrize(
    ("outcome", "attempts", "state"),
    [
        (JobOutcome.SUCCEEDED, 1, JobState.SUCCEEDED),
        (JobOutcome.FAILED, 1, JobState.CANCELLED),
        (JobOutcome.FAILED, 3, JobState.CANCELLED),
        (JobOutcome.RELEASED, 1, JobState.CANCELLED),
    ],
)
def test_cancelling_a_running_job_asks(outcome: JobOutcome, attempts: int, state: JobState) -> None:
    """Success stands; a job that was failed or handed back after the request is cancelled."""
    job = settled(running(attempts=attempts, cancelling=True), outcome).job

    assert (job.state, job.finished_at) == (state, NOW)


def test_a_result_is_json_too() -> None:
    """A result that cannot be kept is refused, and the claim stands."""
    with pytest.raises(PayloadTooLarge):
        settled(running(), JobOutcome.SUCCEEDED, result="x" * MAX_PAYLOAD_BYTES)


def test_settling_twice_alike_is_recognised() -> None:
    """The same token with the same outcome is answered, not applied; another is stale."""
    record = settled(running(), JobOutcome.FAILED)

    assert record.settled == Settled("t", JobOutcome.FAILED)
    assert repeats(record, "t", JobOutcome.FAILED)
    assert not repeats(record, "other", JobOutcome.FAILED)
    assert not repeats(running(), "t", JobOutcome.FAILED)
    with pytest.raises(StaleClaim):
        repeats(record, "t", JobOutcome.SUCCEEDED)


@given(
    attempts=st.integers(1, 10_000),
    backoff=st.integers(0, 300_000_000).map(lambda us: timedelta(microseconds=us)),
)
def test_the_backoff_doubles_up_to_five_minutes(attempts: int, backoff: timedelta) -> None:
    """Each wait is twice the one before it, and none is longer than 300 seconds."""
    wait = retry_after(attempts, backoff)

    assert wait == min(span(300), backoff * 2 ** min(attempts - 1, 30))
    assert retry_after(attempts + 1, backoff) == min(span(300), wait * 2)


# Claims that end by themselves.


def test_a_lost_job_is_claimable_again_at_once() -> None:
    """A job whose runner is lost returns with its attempt counted."""
    job = lapse_job(running(), NOW, handed_back=False).job

    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    assert claimable(job, runner_id="b", leads=True, at=NOW)


def test_a_job_lost_too_often_has_failed() -> None:
    """When no attempt remains a lost job fails with `lost`."""
    job = lapse_job(running(attempts=3), NOW, handed_back=False).job

    assert (job.state, job.error, job.finished_at) == (JobState.FAILED, "lost", NOW)


def test_a_job_handed_back_with_its_term_counts_no_attempt() -> None:
    """A leader that gives up what it has not finished costs the job nothing."""
    job = lapse_job(running(attempts=3), NOW, handed_back=True).job

    assert (job.state, job.attempts) == (JobState.QUEUED, 2)


@pytest.mark.parametrize("handed_back", [True, False])
@pytest.mark.parametrize("attempts", [1, 3])
def test_a_job_that_was_to_be_cancelled_is_when_lost(attempts: int, handed_back: bool) -> None:
    """Lost or handed back after the request, a job is cancelled."""
    record = running(attempts=attempts, cancelling=True)

    assert lapse_job(record, NOW, handed_back=handed_back).job.state is JobState.CANCELLED


@pytest.mark.parametrize("cancelling", [True, False])
def test_a_job_fails_with_the_runner_it_is_addressed_to(cancelling: bool) -> None:
    """Nobody else may have it, so it ends with its runner."""
    job = orphan_job(running(runner_id="a", cancelling=cancelling), NOW).job

    state = JobState.CANCELLED if cancelling else JobState.FAILED
    assert (job.state, job.error) == (state, "runner-deleted")


# Cancelling.


def test_a_queued_job_is_cancelled_at_once() -> None:
    """Nobody has it, so nobody need be asked."""
    job = cancel_job(queued(), NOW).job

    assert (job.state, job.finished_at) == (JobState.CANCELLED, NOW)


def test_a_running_job_runs_on_when_cancelled() -> None:
    """Its holder is asked; until it answers the job runs."""
    job = cancel_job(running(), NOW).job

    assert (job.state, job.cancel_requested, job.finished_at) == (JobState.RUNNING, True, None)


@pytest.mark.parametrize("outcome", [JobOutcome.SUCCEEDED, JobOutcome.FAILED])
def test_a_finished_job_cannot_be_cancelled(outcome: JobOutcome) -> None:
    """What is over stays as it is."""
    record = settled(running(attempts=3), outcome)

    assert cancel_job(record, at(1)) == record
    assert record.job.state.finished
