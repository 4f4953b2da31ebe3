"""Claims and settlements: who may, in which order it is checked, and repeating them."""

import time

import pytest

from tests.e2e.contract_client import Api, Later, Runner, fresh, settle, until


def test_the_same_claim_again_is_the_same(api: Api) -> None:
    """A known `claim_id` of the session answers the same jobs and tokens, and takes no more."""
    group = api.group()
    (runner,) = group.runners(1)
    for _ in range(3):
        group.job()
    claim = fresh("claim")
    first = runner.claim(1, claim_id=claim, limit=2).ok()
    assert len(first["items"]) == 2
    again = runner.claim(1, claim_id=claim, limit=2).ok()
    assert [each["claim_token"] for each in again["items"]] == [
        each["claim_token"] for each in first["items"]
    ]
    assert [each["job"]["id"] for each in again["items"]] == [
        each["job"]["id"] for each in first["items"]
    ]
    assert len(api.get(f"{group.path}/jobs?state=queued").ok()["items"]) == 1


def test_a_claim_without_limit_is_of_one_job(api: Api) -> None:
    """`limit` bounds the jobs of one claim."""
    group = api.group()
    (runner,) = group.runners(1)
    for _ in range(3):
        group.job()
    assert 1 <= len(runner.claim(1).ok()["items"]) <= 3
    for limit in (0, -1, "1", 1.5, 10**9):
        runner.claim(1, limit=limit).refused(400, "invalid")


def test_a_claim_names_its_epoch(api: Api) -> None:
    """The job carries the epoch it was claimed under."""
    group = api.group()
    (runner,) = group.runners(1)
    runner.release(1)
    group.job()
    job, token = runner.claim_one(2)
    assert (job["epoch"], job["attempts"], job["state"]) == (2, 1, "running")
    assert token


def test_an_old_epoch_is_stale(api: Api) -> None:
    """`stale-epoch` says which is current; also for a standby and for a future epoch."""
    group = api.group()
    one, two = group.runners(2)
    one.release(1)
    group.job()
    assert two.claim(1).refused(409, "stale-epoch")["current_epoch"] == 2
    assert one.claim(1).refused(409, "stale-epoch")["current_epoch"] == 2
    two.claim(3).refused(409, "stale-epoch")


def test_a_standby_is_not_the_leader(api: Api) -> None:
    """`not-leader` says who is."""
    group = api.group()
    one, two = group.runners(2)
    group.job()
    problem = two.claim(1).refused(409, "not-leader")
    assert problem["leader_runner_id"] == one.id
    assert problem["current_epoch"] == 1


def test_the_session_is_checked_first(api: Api) -> None:
    """Whatever else is wrong."""
    group = api.group()
    (runner,) = group.runners(1)
    claim = fresh("claim")
    group.job()
    runner.claim(1, claim_id=claim).ok()
    old = runner.session
    runner.open()
    runner.session = old
    runner.claim(77, claim_id=claim).refused(409, "session-superseded")
    runner.session = "never-there"
    assert runner.claim(77).body["code"] in {"session-ended", "not-found"}


def test_a_known_claim_comes_before_the_epoch(api: Api) -> None:
    """Repeated after the epoch is over, a claim answers as before; its tokens are stale by then."""
    group = api.group()
    one, _ = group.runners(2)
    job = group.job()
    claim = fresh("claim")
    first = one.claim(1, claim_id=claim).ok()
    one.do("taint")
    assert one.claim(1, claim_id=claim).ok()["items"][0]["job"]["id"] == job["id"]
    one.claim(1).refused(409, "stepping-down")
    settle(one.own(), job["id"], first["items"][0]["claim_token"], "succeeded").ok()
    assert one.claim(1, claim_id=claim).status == 200


def test_a_vacant_group_serves_nobody(api: Api) -> None:
    """Without a leader unaddressed jobs wait, whoever asks."""
    group = api.group()
    runner = group.runner(taints=[{}])
    runner.open()
    group.job()
    assert runner.claim().ok()["items"] == []
    for epoch in (0, 1):
        answer = runner.claim(epoch)
        assert answer.body["code"] in {"not-leader", "stale-epoch"}, answer
        assert answer.status == 409


def test_a_released_epoch_claims_nothing(api: Api) -> None:
    """After a release into vacancy the epoch is still current, its holder no leader."""
    group = api.group()
    (runner,) = group.runners(1)
    runner.do("taint", effect="no-elect")
    runner.release(1)
    group.job()
    runner.claim(1).refused(409, "not-leader")


def test_a_lapsed_runner_gets_no_addressed_job(api: Api) -> None:
    """An addressed job needs that runner's live session."""
    group = api.group(lease_seconds=1)
    one, two = group.runners(2)
    job = group.job(runner_id=two.id)
    until(lambda: two.view()["status"] == "offline", one)
    two.claim().refused(409, "lease-expired")
    two.beat()
    claimed, token = two.claim_one()
    assert claimed["id"] == job["id"]
    until(lambda: two.view()["status"] == "offline", one)
    settle(two.own(), job["id"], token, "succeeded").refused(409, "lease-expired")
    two.beat()
    settle(two.own(), job["id"], token, "succeeded").ok()


def test_the_deposed_leader_s_settlement_is_stale(api: Api) -> None:
    """A late settlement changes nothing, before and after the job runs again."""
    group = api.group(lease_seconds=1)
    one, two = group.runners(2)
    job = group.job()
    _, token = one.claim_one(1)
    until(lambda: two.beat()["role"] == "leader")
    one.beat()
    settle(one.own(), job["id"], token, "succeeded").refused(409, "stale-claim")
    _, new = two.claim_one(2)
    for outcome in ("succeeded", "failed", "released"):
        settle(one.own(), job["id"], token, outcome).refused(409, "stale-claim")
    assert settle(two.own(), job["id"], new, "succeeded", result=2).ok()["result"] == 2
    settle(one.own(), job["id"], token, "succeeded").refused(409, "stale-claim")
    assert api.get(f"/v1/jobs/{job['id']}").ok()["result"] == 2


def _claimed(api: Api) -> tuple[Runner, str, str]:
    group = api.group(retry_backoff_seconds=0.01)
    (runner,) = group.runners(1)
    job = group.job()
    _, token = runner.claim_one(1)
    return runner, job["id"], token


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "released"])
def test_settling_again_with_the_same_outcome_is_harmless(api: Api, outcome: str) -> None:
    """The same token with the same outcome is 200, with another 409."""
    runner, job, token = _claimed(api)
    own = runner.own()
    first = settle(own, job, token, outcome).ok()
    again = settle(own, job, token, outcome).ok()
    assert (again["id"], again["attempts"]) == (first["id"], first["attempts"])
    for other in {"succeeded", "failed", "released"} - {outcome}:
        settle(own, job, token, other).refused(409, "stale-claim")


def test_a_settlement_is_remembered_while_the_job_goes_on(api: Api) -> None:
    """A lost answer may be asked for again, though the job runs again meanwhile."""
    runner, job, token = _claimed(api)
    settle(runner.own(), job, token, "released").ok()
    _, new = runner.claim_one(1)
    again = settle(runner.own(), job, token, "released")
    assert again.status in {200, 409}, again
    assert api.get(f"/v1/jobs/{job}").ok()["state"] == "running"
    settle(runner.own(), job, new, "succeeded").ok()


def test_settling_needs_the_token(api: Api) -> None:
    """Nothing but the claim token of this job counts."""
    runner, job, token = _claimed(api)
    other, other_job, other_token = _claimed(api)
    settle(runner.own(), job, "guess", "succeeded").refused(409, "stale-claim")
    settle(runner.own(), job, other_token, "succeeded").refused(409, "stale-claim")
    settle(api, "no-such-job", token, "succeeded").refused(404, "not-found")
    for body in (
        {},
        {"claim_token": token},
        {"outcome": "succeeded"},
        {"claim_token": token, "outcome": "eaten"},
        {"claim_token": token, "outcome": "queued"},
        {"claim_token": 1, "outcome": "succeeded"},
        {"claim_token": token, "outcome": "failed", "error": 1},
        {"claim_token": token, "outcome": "failed", "retry": "no"},
    ):
        runner.own().post(f"/v1/jobs/{job}/settle", body).refused(400, "invalid")
    settle(runner.own(), job, token, "succeeded").ok()
    settle(other.own(), other_job, other_token, "succeeded").ok()


def test_a_claim_waits_for_a_job(api: Api) -> None:
    """With `Prefer: wait` the answer is held until there is a job."""
    group = api.group(lease_seconds=12)
    (runner,) = group.runners(1)
    body = {"session_id": runner.session, "claim_id": fresh("claim"), "epoch": 1}
    path = f"{runner.path}/jobs/claim"
    waiting = Later(lambda: runner.own().post(path, body, prefer="wait=3.5").ok())
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 0.3)
    assert waiting.pending
    job = group.job()
    (item,) = waiting.result()["items"]
    assert item["job"]["id"] == job["id"]
    assert waiting.ended - waiting.started < 3


def test_a_waiting_claim_takes_a_job_whose_backoff_ends(api: Api) -> None:
    """News is also a job that becomes available by time."""
    group = api.group(lease_seconds=12, retry_backoff_seconds=0.7)
    (runner,) = group.runners(1)
    job = group.job()
    _, token = runner.claim_one(1)
    settle(runner.own(), job["id"], token, "failed").ok()
    body = {"session_id": runner.session, "claim_id": fresh("claim"), "epoch": 1}
    path = f"{runner.path}/jobs/claim"
    answer = runner.own().post(path, body, prefer="wait=3.9").ok()
    assert [each["job"]["id"] for each in answer["items"]] == [job["id"]]


def test_a_waiting_claim_is_answered_when_leadership_goes(api: Api) -> None:
    """Within its wait it learns that it may not claim, or that there is nothing."""
    group = api.group(lease_seconds=12)
    one, _ = group.runners(2)
    body = {"session_id": one.session, "claim_id": fresh("claim"), "epoch": 1}
    path = f"{one.path}/jobs/claim"
    waiting = Later(lambda: one.own().post(path, body, prefer="wait=3.5"))
    one.do("taint")
    answer = waiting.result()
    assert answer.status in {200, 409}, answer
    if answer.status == 409:
        answer.refused(409, "stepping-down")


def test_an_empty_claim_that_waited_is_no_more_than_a_heartbeat(api: Api) -> None:
    """Held at most `heartbeat_seconds`, then 200 without items."""
    (runner,) = api.group(lease_seconds=3).runners(1)
    body = {"session_id": runner.session, "claim_id": fresh("claim"), "epoch": 1}
    began = time.monotonic()
    path = f"{runner.path}/jobs/claim"
    assert runner.own().post(path, body, prefer="wait=60").ok() == {"items": []}
    assert 0.7 < time.monotonic() - began < 2


def test_a_claim_needs_its_fields(api: Api) -> None:
    """Types are checked."""
    (runner,) = api.group().runners(1)
    path = f"{runner.path}/jobs/claim"
    for body in (
        {},
        {"session_id": runner.session},
        {"claim_id": "c"},
        {"session_id": runner.session, "claim_id": ""},
        {"session_id": runner.session, "claim_id": "c", "epoch": "1"},
        {"session_id": runner.session, "claim_id": "c", "epoch": 1.5},
        {"session_id": runner.session, "claim_id": "c", "epoch": True},
    ):
        runner.own().post(path, body).refused(400, "invalid")
