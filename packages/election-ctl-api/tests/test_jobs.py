"""Jobs over HTTP."""

from __future__ import annotations

import json

import pytest

from api_world import World

JOBS = "/v1/runner-groups/g/jobs"


def _nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


async def test_a_job_is_enqueued(world: World) -> None:
    """A job is 201 with the fields of the contract."""
    await world.group()

    answer = await world.call(
        "POST", JOBS, {"kind": "build", "payload": {"a": [1]}, "priority": 2, "max_attempts": 5}
    )

    assert answer.status_code == 201
    job = answer.json()
    assert (job["kind"], job["payload"], job["priority"]) == ("build", {"a": [1]}, 2)
    assert (job["state"], job["attempts"], job["max_attempts"]) == ("queued", 0, 5)
    assert job["group_id"] == "g"
    for field in ("runner_id", "epoch", "result", "error"):
        assert job[field] is None
    assert await world.ok("GET", f"/v1/jobs/{job['id']}") == job


async def test_the_same_idempotency_key_is_the_same_job(world: World) -> None:
    """The key again answers the first job, also 201; with another body it is a conflict."""
    await world.group()
    headers = {"Idempotency-Key": "nightly"}

    first = await world.call("POST", JOBS, {"kind": "build"}, headers=headers)
    again = await world.call("POST", JOBS, {"kind": "build"}, headers=headers)
    other = await world.refused("POST", JOBS, {"kind": "test"}, headers=headers)

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert other["code"] == "conflict"
    assert len((await world.ok("GET", JOBS))["items"]) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_wrong_idempotency_key_is_named(world: World, key: str) -> None:
    """A key has to be there to be one, and is not endless."""
    await world.group()

    problem = await world.refused("POST", JOBS, {"kind": "b"}, headers={"Idempotency-Key": key})

    assert (problem["code"], problem["field"]) == ("invalid", "Idempotency-Key")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": ""}, "kind"),
        ({"kind": "b", "priority": "high"}, "priority"),
        ({"kind": "b", "priority": 1e300}, "priority"),
        ({"kind": "b", "max_attempts": 0}, "max_attempts"),
        ({"kind": "b", "payload": _nested(33)}, "payload"),
        ({"kind": "b", "colour": 1}, "colour"),
    ],
)
async def test_a_wrong_job_is_refused(world: World, body: object, field: str) -> None:
    """What is wrong with a job is named."""
    await world.group()

    problem = await world.refused("POST", JOBS, body)

    assert (problem["code"], problem["field"]) == ("invalid", field)


async def test_a_job_for_a_stranger_is_not_found(world: World) -> None:
    """A job is addressed to a runner of its group, or not at all."""
    await world.group()

    problem = await world.refused("POST", JOBS, {"kind": "b", "runner_id": "none"})

    assert problem["code"] == "not-found"


async def test_payload_and_result_have_their_limits(world: World) -> None:
    """64 KiB and 32 levels are taken, a byte more is 413."""
    await world.group()
    member = await world.member()
    at_most = "x" * (64 * 1024 - 2)

    assert (await world.job(payload=at_most))["payload"] == at_most
    assert (await world.job(payload=_nested(32)))["payload"] == _nested(32)
    large = await world.refused("POST", JOBS, {"kind": "b", "payload": at_most + "x"})
    assert (large["status"], large["code"]) == (413, "payload-too-large")
    (item,) = await world.claim(member, epoch=1)
    path = f"/v1/jobs/{item['job']['id']}/settle"
    body = {"claim_token": item["claim_token"], "outcome": "succeeded", "result": at_most + "x"}
    assert (await world.refused("POST", path, body))["code"] == "payload-too-large"
    assert (await world.ok("POST", path, {**body, "result": at_most}))["result"] == at_most


async def test_what_is_not_ascii_comes_back_as_it_was(world: World) -> None:
    """Payloads are UTF-8 and come back unchanged."""
    await world.group()
    payload = {"größe": "☃ 𝄞", "null": None, "n": 0.1, "big": 2**60}
    content = json.dumps({"kind": "b", "payload": payload}, ensure_ascii=False).encode()

    job = await world.ok("POST", JOBS, content=content)

    assert job["payload"] == payload


async def test_jobs_are_listed_by_state(world: World) -> None:
    """The filter takes one state, pages go on, and an unknown state is invalid."""
    await world.group()
    member = await world.member()
    ids = [(await world.job())["id"] for _ in range(3)]
    await world.claim(member, epoch=1)

    running = await world.ok("GET", f"{JOBS}?state=running")
    first = await world.ok("GET", f"{JOBS}?limit=2")
    second = await world.ok("GET", f"{JOBS}?limit=2&cursor={first['next_cursor']}")

    assert [job["id"] for job in running["items"]] == ids[:1]
    assert [job["id"] for job in first["items"] + second["items"]] == ids
    assert (await world.refused("GET", f"{JOBS}?state=lost"))["field"] == "state"


async def test_the_leader_claims_and_settles(world: World) -> None:
    """A claim hands out job and token; settling it the same way again is harmless."""
    await world.group()
    member = await world.member()
    await world.job()

    items = await world.claim(member, epoch=1, limit=5)
    again = await world.claim(member, epoch=1, limit=5)
    ((item),) = items
    path = f"/v1/jobs/{item['job']['id']}/settle"
    body = {"claim_token": item["claim_token"], "outcome": "succeeded", "result": [1]}
    settled = await world.ok("POST", path, body, token=member.token)

    assert again == items
    assert (item["job"]["state"], item["job"]["attempts"]) == ("running", 1)
    assert (item["job"]["epoch"], item["job"]["claimed_by"]) == (1, member.id)
    assert (settled["state"], settled["result"]) == ("succeeded", [1])
    assert await world.ok("POST", path, body) == settled
    assert (await world.refused("POST", path, {**body, "outcome": "failed"}))["status"] == 409


async def test_claims_are_refused_in_the_order_of_the_contract(world: World) -> None:
    """Stale epoch, not the leader, lease expired, stepping down: each by its code."""
    await world.group()
    leader, standby = await world.member("a"), await world.member("b")
    body = {"claim_id": "c"}

    async def refused(member_id: str, session_id: str, epoch: int) -> tuple[int, str]:
        problem = await world.refused(
            "POST",
            f"/v1/runners/{member_id}/jobs/claim",
            {**body, "session_id": session_id, "epoch": epoch},
        )
        return problem["status"], problem["code"]

    assert await refused(leader.id, "never", 9) == (409, "session-ended")
    assert await refused(leader.id, leader.session_id, 9) == (409, "stale-epoch")
    assert await refused(standby.id, standby.session_id, 1) == (409, "not-leader")
    await world.ok("POST", f"/v1/runners/{leader.id}/taint")
    assert await refused(leader.id, leader.session_id, 1) == (409, "stepping-down")


async def test_facts_come_with_a_stale_epoch(world: World) -> None:
    """The problem of a stale epoch holds the current one, that of another's who leads."""
    await world.group()
    leader, standby = await world.member("a"), await world.member("b")
    body = {"session_id": standby.session_id, "claim_id": "c"}
    path = f"/v1/runners/{standby.id}/jobs/claim"

    assert (await world.refused("POST", path, {**body, "epoch": 7}))["current_epoch"] == 1
    assert (await world.refused("POST", path, {**body, "epoch": 1}))[
        "leader_runner_id"
    ] == leader.id


async def test_a_lapsed_lease_refuses_until_it_is_renewed(world: World) -> None:
    """Between the end of the lease and any decision, claims and settlements are `lease-expired`."""
    await world.group(lease_seconds=3600)
    member = await world.member()
    await world.job()
    (item,) = await world.claim(member, epoch=1)
    path = f"/v1/jobs/{item['job']['id']}/settle"
    body = {"claim_token": item["claim_token"], "outcome": "succeeded"}
    # A jump of the clock is an outage, after which nobody is deposed for a lease.
    world.clock.advance(seconds=3601)

    claim = await world.refused(
        "POST",
        f"/v1/runners/{member.id}/jobs/claim",
        {"session_id": member.session_id, "claim_id": "c2", "epoch": 1},
    )
    settle = await world.refused("POST", path, body)

    assert {claim["code"], settle["code"]} == {"lease-expired"}
    await world.beat(member)
    assert (await world.ok("POST", path, body))["state"] == "succeeded"


async def test_a_stale_claim_is_refused(world: World) -> None:
    """A token that holds nothing, or no longer, settles nothing."""
    await world.group()
    first, _ = await world.member("a"), await world.member("b")
    job = await world.job()
    path = f"/v1/jobs/{job['id']}/settle"
    (item,) = await world.claim(first, epoch=1)
    body = {"claim_token": item["claim_token"], "outcome": "succeeded"}
    await world.ok(
        "POST", f"/v1/runners/{first.id}/release", {"session_id": first.session_id, "epoch": 1}
    )

    assert (await world.refused("POST", path, body))["code"] == "stale-claim"
    made_up = {"claim_token": "made-up", "outcome": "failed"}
    assert (await world.refused("POST", path, made_up))["code"] == "stale-claim"


async def test_an_addressed_job_goes_to_its_runner_alone(world: World) -> None:
    """Without an epoch a runner gets what is addressed to it, whoever leads."""
    await world.group()
    await world.member("a")
    standby = await world.member("b")
    await world.job()
    mine = await world.job(runner_id=standby.id)

    (item,) = await world.claim(standby, limit=5)

    assert item["job"]["id"] == mine["id"]
    assert item["job"]["max_attempts"] == 1
    assert item["job"]["epoch"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "session_id"),
        ({"session_id": "s"}, "claim_id"),
        ({"session_id": "s", "claim_id": ""}, "claim_id"),
        ({"session_id": "s", "claim_id": "c", "limit": 0}, "limit"),
        ({"session_id": "s", "claim_id": "c", "limit": 501}, "limit"),
        ({"session_id": "s", "claim_id": "c", "epoch": "1"}, "epoch"),
    ],
)
async def test_a_wrong_claim_is_refused(world: World, body: object, field: str) -> None:
    """What is wrong with a claim is named."""
    await world.group()
    member = await world.member()

    problem = await world.refused("POST", f"/v1/runners/{member.id}/jobs/claim", body)

    assert (problem["code"], problem["field"]) == ("invalid", field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"outcome": "succeeded"}, "claim_token"),
        ({"claim_token": "t"}, "outcome"),
        ({"claim_token": "t", "outcome": "lost"}, "outcome"),
        ({"claim_token": "t", "outcome": "failed", "retry": 1}, "retry"),
    ],
)
async def test_a_wrong_settlement_is_refused(world: World, body: object, field: str) -> None:
    """An outcome is one of three, also in a lenient call that reads the rest leniently."""
    await world.group()
    job = await world.job()

    problem = await world.refused("POST", f"/v1/jobs/{job['id']}/settle", body)

    assert (problem["code"], problem["field"]) == ("invalid", field)


async def test_a_failed_attempt_goes_back_unless_told_otherwise(world: World) -> None:
    """A failure is queued again while attempts remain; with `retry` false it is final."""
    await world.group()
    member = await world.member()
    for retry, state in ((True, "queued"), (False, "failed")):
        await world.job()
        (item,) = await world.claim(member, f"claim-{state}", epoch=1)
        settled = await world.ok(
            "POST",
            f"/v1/jobs/{item['job']['id']}/settle",
            {
                "claim_token": item["claim_token"],
                "outcome": "failed",
                "error": "broken",
                "retry": retry,
            },
        )
        assert (settled["state"], settled["error"]) == (state, "broken")


async def test_cancelling_reaches_the_holder(world: World) -> None:
    """A queued job is cancelled at once; a running one's holder is told with its next heartbeat."""
    await world.group()
    member = await world.member()
    running, queued = await world.job(), await world.job()
    await world.claim(member, epoch=1)

    assert (await world.ok("POST", f"/v1/jobs/{queued['id']}/cancel"))["state"] == "cancelled"
    asked = await world.ok("POST", f"/v1/jobs/{running['id']}/cancel", {})
    assert (asked["state"], asked["cancel_requested"]) == ("running", True)
    assert (await world.beat(member))["cancel"] == [running["id"]]
    problem = await world.refused("POST", f"/v1/jobs/{queued['id']}/cancel", {"why": 1})
    assert problem["field"] == "why"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("POST", "/cancel", None),
        ("POST", "/settle", {"claim_token": "t", "outcome": "failed"}),
    ],
)
async def test_a_job_that_is_not_there_is_not_found(
    world: World, method: str, path: str, body: object
) -> None:
    """Every call about a job is 404 without one."""
    problem = await world.refused(method, f"/v1/jobs/none{path}", body)

    assert (problem["status"], problem["code"]) == (404, "not-found")
