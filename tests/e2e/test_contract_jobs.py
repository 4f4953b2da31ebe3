"""Jobs: order, attempts, backoff, cancelling, addressed jobs, limits, and enqueueing again."""

import json
from datetime import datetime, timedelta

import pytest

from tests.e2e.contract_client import Answer, Api, Group, fresh, settle, until

JOB = {
    "id",
    "group_id",
    "runner_id",
    "kind",
    "payload",
    "priority",
    "state",
    "attempts",
    "max_attempts",
    "available_at",
    "epoch",
    "result",
    "error",
}


def nested(depth: int) -> object:
    """Lists in lists, this many."""
    value: object = []
    for _ in range(depth - 1):
        value = [value]
    return value


def shown(api: Api, job: dict[str, object]) -> dict[str, object]:
    """The job as it is now."""
    now: dict[str, object] = api.get(f"/v1/jobs/{job['id']}").ok()
    return now


def cancel(api: Api, job: dict[str, object]) -> dict[str, object]:
    """Ask to cancel."""
    now: dict[str, object] = api.post(f"/v1/jobs/{job['id']}/cancel").ok()
    return now


def test_a_job_says_everything(api: Api) -> None:
    """All its fields, and the defaults."""
    group = api.group()
    job = group.job("build", payload={"a": [1, None, "ä"]})
    assert job.keys() >= JOB
    assert (job["group_id"], job["kind"], job["payload"]) == (
        group.id,
        "build",
        {"a": [1, None, "ä"]},
    )
    assert (job["state"], job["attempts"], job["max_attempts"]) == ("queued", 0, 3)
    assert (job["priority"], job["runner_id"], job["epoch"]) == (0, None, None)
    assert shown(api, job) == job


@pytest.mark.parametrize("payload", [None, 0, 1.5, "x", [], {}, True, {"a": {"b": [1e10]}}])
def test_any_json_is_a_payload(api: Api, payload: object) -> None:
    """What is enqueued is what the runner gets."""
    group = api.group()
    (runner,) = group.runners(1)
    group.job(payload=payload)
    job, _ = runner.claim_one(1)
    assert job["payload"] == payload


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": ""},
        {"kind": 1},
        {"kind": "k", "priority": "high"},
        {"kind": "k", "priority": 1.5},
        {"kind": "k", "priority": 10**30},
        {"kind": "k", "max_attempts": 0},
        {"kind": "k", "max_attempts": -1},
        {"kind": "k", "max_attempts": 10**30},
        {"kind": "k", "runner_id": 1},
        {"kind": "k", "zzz": 1},
    ],
)
def test_a_job_that_makes_no_sense_is_invalid(api: Api, body: object) -> None:
    """Types and bounds are checked."""
    api.post(f"{api.group().path}/jobs", body).refused(400, "invalid")


def test_jobs_of_a_stranger_are_not_found(api: Api) -> None:
    """A job is addressed to a runner of its group."""
    group, stranger = api.group(), api.group().runner()
    for runner_id in ("none", stranger.id):
        body = {"kind": "k", "runner_id": runner_id}
        api.post(f"{group.path}/jobs", body).refused(404, "not-found")


def test_payloads_have_limits(api: Api) -> None:
    """64 KiB and 32 deep are taken, more is not."""
    group = api.group()
    group.job(payload="x" * (64 * 1024 - 2))
    group.job(payload=nested(32))
    body: dict[str, object] = {"kind": "k", "payload": "x" * (64 * 1024 - 1)}
    api.post(f"{group.path}/jobs", body).refused(413, "payload-too-large")
    answer = api.post(f"{group.path}/jobs", {"kind": "k", "payload": nested(33)})
    assert (answer.status, answer.body["code"]) in {(400, "invalid"), (413, "payload-too-large")}


def test_results_have_limits(api: Api) -> None:
    """As payloads have; a refused settlement leaves the job in hand."""
    group = api.group()
    (runner,) = group.runners(1)
    job = group.job()
    _, token = runner.claim_one(1)
    own = runner.own()
    settle(own, job["id"], token, "succeeded", result="x" * (64 * 1024)).refused(
        413, "payload-too-large"
    )
    assert settle(own, job["id"], token, "succeeded", result=nested(33)).status in {400, 413}
    assert shown(api, job)["state"] == "running"
    result = "x" * (64 * 1024 - 2)
    assert settle(own, job["id"], token, "succeeded", result=result).ok()["result"] == result


def test_the_same_key_is_the_same_job(api: Api) -> None:
    """`Idempotency-Key` is per group and kept with the job; another body is a conflict."""
    group = api.group()
    path, key = f"{group.path}/jobs", fresh("key")
    body = {"kind": "k", "payload": {"a": 1, "b": 2}}
    first = api.post(path, body, idempotency_key=key).ok(201)
    again = api.post(path, body, idempotency_key=key)
    assert again.status in {200, 201}
    assert again.body["id"] == first["id"]
    raw = b'{"payload": {"b": 2, "a": 1},\n "kind": "k"}'
    spaced = api.call("POST", path, raw=raw, headers={"idempotency-key": key})
    assert spaced.body["id"] == first["id"]
    other = {"kind": "k", "payload": {"a": 2}}
    api.post(path, other, idempotency_key=key).refused(409, "conflict")
    elsewhere = api.post(f"{api.group().path}/jobs", body, idempotency_key=key).ok(201)
    assert elsewhere["id"] != first["id"]
    assert len(api.get(path).ok()["items"]) == 1
    assert api.post(path, body).ok(201)["id"] != first["id"]


def test_the_same_key_after_the_job_is_done(api: Api) -> None:
    """The key lives as long as the job does."""
    group = api.group()
    (runner,) = group.runners(1)
    path, key = f"{group.path}/jobs", fresh("key")
    first = api.post(path, {"kind": "k"}, idempotency_key=key).ok(201)
    _, token = runner.claim_one(1)
    settle(runner.own(), first["id"], token, "succeeded").ok()
    again = api.post(path, {"kind": "k"}, idempotency_key=key)
    assert (again.body["id"], again.body["state"]) == (first["id"], "succeeded")


def test_higher_priority_first_then_age(api: Api) -> None:
    """Order of claims."""
    group = api.group()
    (runner,) = group.runners(1)
    ids = [group.job(priority=priority)["id"] for priority in (0, 5, -1, 5, 0)]
    items = runner.claim(1, limit=10).ok()["items"]
    assert [each["job"]["id"] for each in items] == [ids[i] for i in (1, 3, 0, 4, 2)]


def test_jobs_are_listed_by_state(api: Api) -> None:
    """`state` filters, pages hold every job once."""
    group = api.group()
    (runner,) = group.runners(1)
    ids = {group.job()["id"] for _ in range(5)}
    job, _ = runner.claim_one(1)

    def page(query: str) -> Answer:
        return api.get(f"{group.path}/jobs?{query}")

    assert [each["id"] for each in page("state=running").ok()["items"]] == [job["id"]]
    assert len(page("state=queued").ok()["items"]) == 4
    page("state=eaten").refused(400, "invalid")
    seen: list[str] = []
    answer = page("limit=2").ok()
    seen += [each["id"] for each in answer["items"]]
    while answer["next_cursor"]:
        answer = page(f"limit=2&cursor={answer['next_cursor']}").ok()
        seen += [each["id"] for each in answer["items"]]
    assert (len(seen), set(seen)) == (5, ids)


def test_a_failed_attempt_comes_back_after_the_backoff(api: Api) -> None:
    """Doubling each time, while attempts remain; then the job has failed."""
    group = api.group(retry_backoff_seconds=0.4, lease_seconds=10)
    (runner,) = group.runners(1)
    job = group.job(max_attempts=3)
    waits = []
    for attempt in (1, 2):
        got: list[tuple[dict[str, object], str]] = []

        def claimed(got: list[tuple[dict[str, object], str]] = got) -> bool:
            items = runner.claim(1).ok()["items"]
            got.extend((each["job"], each["claim_token"]) for each in items)
            return bool(items)

        until(claimed, runner)
        assert got[0][0]["attempts"] == attempt
        before = datetime.fromisoformat(runner.beat()["store_time"])
        back = settle(runner.own(), job["id"], got[0][1], "failed", error="no luck").ok()
        assert (back["state"], back["error"]) == ("queued", "no luck")
        waits.append(datetime.fromisoformat(back["available_at"]) - before)
        assert runner.claim(1).ok()["items"] == []
    assert timedelta(seconds=0.35) < waits[0] < timedelta(seconds=0.7)
    assert timedelta(seconds=0.75) < waits[1] < timedelta(seconds=1.1)
    until(lambda: runner.claim(1).ok()["items"], runner)
    assert shown(api, job)["attempts"] == 3


def test_the_last_attempt_fails_for_good(api: Api) -> None:
    """Nothing remains."""
    group = api.group()
    (runner,) = group.runners(1)
    job = group.job(max_attempts=1)
    _, token = runner.claim_one(1)
    done = settle(runner.own(), job["id"], token, "failed", error="e").ok()
    assert (done["state"], done["error"], done["attempts"]) == ("failed", "e", 1)


def test_a_failure_without_retry_is_final(api: Api) -> None:
    """`retry` false ends the job though attempts remain."""
    group = api.group()
    (runner,) = group.runners(1)
    job = group.job(max_attempts=5)
    _, token = runner.claim_one(1)
    done = settle(runner.own(), job["id"], token, "failed", retry=False).ok()
    assert done["state"] == "failed"


def test_a_hand_back_counts_no_attempt(api: Api) -> None:
    """`released` is claimable again at once, as if it had not been claimed."""
    group = api.group()
    (runner,) = group.runners(1)
    job = group.job(max_attempts=1)
    for _ in range(3):
        claimed, token = runner.claim_one(1)
        assert claimed["attempts"] == 1
        back = settle(runner.own(), job["id"], token, "released").ok()
        assert (back["state"], back["attempts"]) == ("queued", 0)


def test_a_lost_runner_costs_an_attempt(api: Api) -> None:
    """Claimable again at once with the attempt counted; `lost` when none remain."""
    group = api.group(lease_seconds=1)
    one, two = group.runners(2)
    last, more = group.job(max_attempts=1), group.job(max_attempts=2)
    assert len(one.claim(1, limit=2).ok()["items"]) == 2
    until(lambda: two.beat()["role"] == "leader")
    gone = shown(api, last)
    assert (gone["state"], gone["error"], gone["attempts"]) == ("failed", "lost", 1)
    job, token = two.claim_one(2)
    assert (job["id"], job["attempts"], job["epoch"]) == (more["id"], 2, 2)
    settle(two.own(), job["id"], token, "succeeded").ok()


def test_cancelling_what_is_queued(api: Api) -> None:
    """At once, and again without effect; no runner gets it."""
    group = api.group()
    (runner,) = group.runners(1)
    job = group.job()
    assert cancel(api, job)["state"] == "cancelled"
    assert cancel(api, job)["state"] == "cancelled"
    assert runner.claim(1).ok()["items"] == []


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("succeeded", "succeeded"), ("failed", "cancelled"), ("released", "cancelled")],
)
def test_cancelling_what_runs_asks(api: Api, outcome: str, state: str) -> None:
    """The runner learns by its standing; `succeeded` stands, all else is `cancelled`."""
    group = api.group()
    (runner,) = group.runners(1)
    job = group.job()
    _, token = runner.claim_one(1)
    seen = runner.beat()["standing_version"]
    assert cancel(api, job)["state"] == "running"
    standing = runner.beat()
    assert standing["cancel"] == [job["id"]]
    assert standing["standing_version"] > seen
    assert settle(runner.own(), job["id"], token, outcome).ok()["state"] == state
    assert runner.beat()["cancel"] == []
    assert cancel(api, job)["state"] == state


def test_cancelling_what_is_lost(api: Api) -> None:
    """A job that was to be cancelled is not run again when its runner is lost."""
    group = api.group(lease_seconds=1)
    one, two = group.runners(2)
    job = group.job()
    one.claim_one(1)
    cancel(api, job)
    until(lambda: two.beat()["role"] == "leader")
    assert shown(api, job)["state"] == "cancelled"


def test_an_addressed_job_is_its_runner_s(api: Api) -> None:
    """Claimed by that runner only, leader or not, tainted or not, with one attempt by default."""
    group = api.group()
    one, two = group.runners(2)
    job = group.job(runner_id=two.id)
    assert (job["max_attempts"], job["runner_id"]) == (1, two.id)
    assert group.job(runner_id=two.id, max_attempts=4)["max_attempts"] == 4
    assert one.claim(1).ok()["items"] == []
    assert one.claim().ok()["items"] == []
    two.do("taint")
    claimed, token = two.claim_one()
    assert claimed["id"] == job["id"]
    one.leave()
    done = settle(two.own(), job["id"], token, "failed", error="e").ok()
    assert (done["state"], done["error"]) == ("failed", "e")


def test_an_addressed_job_fails_with_its_runner(api: Api) -> None:
    """`runner-deleted`, queued or running."""
    group = api.group()
    one, two = group.runners(2)
    running, queued = group.job(runner_id=two.id), group.job(runner_id=two.id, max_attempts=9)
    _, token = two.claim_one()
    api.call("DELETE", two.path).ok(204)
    for job in (running, queued):
        now = shown(api, job)
        assert (now["state"], now["error"]) == ("failed", "runner-deleted")
    settle(api, running["id"], token, "succeeded").refused(409, "stale-claim")
    assert one.beat()["role"] == "leader"


def test_an_addressed_job_of_a_lost_runner_is_lost(api: Api) -> None:
    """A new session of its runner ends the attempt of the old one."""
    group = api.group()
    one, two = group.runners(2)
    once, twice = group.job(runner_id=two.id), group.job(runner_id=two.id, max_attempts=2)
    assert len(two.claim(limit=2).ok()["items"]) == 2
    two.open()
    assert shown(api, once)["error"] == "lost"
    assert shown(api, once)["state"] == "failed"
    job, _ = two.claim_one()
    assert (job["id"], job["attempts"]) == (twice["id"], 2)
    assert one.beat()["role"] == "leader"


def test_a_group_takes_its_jobs_along(api: Api) -> None:
    """Deleting a group ends its jobs; the same id made again has none of them."""
    group: Group = api.group()
    job = group.job()
    api.call("DELETE", group.path).ok(204)
    api.get(f"/v1/jobs/{job['id']}").refused(404, "not-found")
    api.post("/v1/runner-groups", {"id": group.id}).ok(201)
    assert api.get(f"{group.path}/jobs").ok()["items"] == []
    assert json.loads(api.get(f"{group.path}/jobs?state=queued").text)["items"] == []
