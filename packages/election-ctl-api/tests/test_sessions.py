"""Sessions, heartbeats and releases over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api_world import Member, World, in_process

STANDING = {
    "runner_id",
    "session_id",
    "role",
    "epoch",
    "leader_runner_id",
    "lease_remaining_seconds",
    "heartbeat_seconds",
    "step_down_in_seconds",
    "cancel",
    "standing_version",
    "store_time",
}


async def test_a_session_is_opened_once_per_key(world: World) -> None:
    """A new session is 201; the same key again is the same session, 200."""
    await world.group()
    member = await world.member(live=False)
    path = f"/v1/runners/{member.id}/sessions"

    first = await world.call("POST", path, {"session_key": "k"}, token=member.token)
    again = await world.call("POST", path, {"session_key": "k"}, token=member.token)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["session_id"] == again.json()["session_id"]
    assert set(first.json()) == STANDING
    assert first.json()["role"] == "leader"
    assert first.json()["leader_runner_id"] == member.id
    assert 0 < first.json()["lease_remaining_seconds"] <= 15
    assert first.json()["heartbeat_seconds"] == 5


async def test_a_later_session_supersedes(world: World) -> None:
    """Another key supersedes: the earlier session's calls and its key are refused from then on."""
    await world.group()
    member = await world.member()
    path = f"/v1/runners/{member.id}"

    later = await world.call("POST", f"{path}/sessions", {"session_key": "k2"})

    assert later.status_code == 201
    old = {"session_id": member.session_id}
    refused = [
        await world.refused("POST", f"{path}/heart-beats", old),
        await world.refused("POST", f"{path}/release", {**old, "epoch": 1}),
        await world.refused("POST", f"{path}/sessions", {"session_key": "key-a"}),
        await world.refused("DELETE", f"{path}/sessions/{member.session_id}"),
        await world.refused("POST", f"{path}/jobs/claim", {**old, "claim_id": "c"}),
    ]
    assert {(problem["status"], problem["code"]) for problem in refused} == {
        (409, "session-superseded")
    }


async def test_naming_the_previous_session_takes_over_at_once(world: World) -> None:
    """Who says that its previous session is gone leads again at once; another name is ignored."""
    await world.group()
    member = await world.member()
    path = f"/v1/runners/{member.id}/sessions"

    known = {"session_key": "k2", "previous_session_id": member.session_id}
    assert (await world.ok("POST", path, known))["role"] == "leader"
    unknown = {"session_key": "k3", "previous_session_id": "another"}
    assert (await world.ok("POST", path, unknown))["role"] == "standby"


async def test_an_unready_session_stands_by(world: World) -> None:
    """A session that opens not ready does not lead until it says that it is."""
    await world.group()
    member = await world.member(live=False)

    standing = await world.ok(
        "POST", f"/v1/runners/{member.id}/sessions", {"session_key": "k", "ready": False}
    )

    assert standing["role"] == "standby"
    assert standing["leader_runner_id"] is None


async def test_runner_calls_ignore_what_they_do_not_know(world: World) -> None:
    """Unknown fields of sessions, heartbeats, releases, claims and settlements are ignored."""
    await world.group()
    member = await world.member(live=False)
    path = f"/v1/runners/{member.id}"
    more: dict[str, Any] = {"colour": {"deep": [1]}}

    standing = await world.ok("POST", f"{path}/sessions", {"session_key": "k", **more})
    member.session_id = standing["session_id"]
    await world.beat(member, **more)
    await world.job()
    ((item),) = await world.claim(member, epoch=1, **more)
    settled = await world.ok(
        "POST",
        f"/v1/jobs/{item['job']['id']}/settle",
        {"claim_token": item["claim_token"], "outcome": "succeeded", **more},
    )
    body = {"session_id": member.session_id, "epoch": 1, **more}
    await world.ok("POST", f"{path}/release", body)

    assert settled["state"] == "succeeded"


async def test_a_heartbeat_renews(world: World) -> None:
    """A heartbeat answers with the whole lease again."""
    await world.group()
    member = await world.member()
    world.clock.advance(seconds=10)

    standing = await world.beat(member, seq=1, ready=True, seen=0)

    assert set(standing) == STANDING
    assert standing["lease_remaining_seconds"] == 15
    assert (standing["role"], standing["epoch"]) == ("leader", 1)


async def test_an_older_heartbeat_changes_nothing(world: World) -> None:
    """A lower `seq` than the last neither renews nor changes readiness."""
    await world.group()
    member = await world.member()
    await world.beat(member, seq=2)
    world.clock.advance(seconds=10)

    standing = await world.beat(member, seq=1, ready=False)

    assert standing["lease_remaining_seconds"] <= 5
    assert (await world.ok("GET", f"/v1/runners/{member.id}"))["ready"] is True


async def test_a_release_elects_the_successor(world: World) -> None:
    """A release hands over in the same step; repeating it, or an old epoch, changes nothing."""
    await world.group()
    first, second = await world.member("a"), await world.member("b")
    path = f"/v1/runners/{first.id}/release"
    body = {"session_id": first.session_id, "epoch": 1, "reason": "tired"}

    standing = await world.ok("POST", path, body, token=first.token)
    again = await world.ok("POST", path, body, token=first.token)

    assert standing["role"] == "standby"
    assert (standing["leader_runner_id"], standing["epoch"]) == (second.id, 2)
    assert (again["leader_runner_id"], again["epoch"]) == (second.id, 2)
    assert (await world.beat(second))["role"] == "leader"


async def test_leaving_ends_the_session(world: World) -> None:
    """Leaving is 204 and harmless to repeat; other calls of the session are then refused."""
    await world.group()
    member = await world.member()
    path = f"/v1/runners/{member.id}"

    for _ in range(2):
        answer = await world.call(
            "DELETE", f"{path}/sessions/{member.session_id}", token=member.token
        )
        assert answer.status_code == 204
    body = {"session_id": member.session_id}
    assert (await world.refused("POST", f"{path}/heart-beats", body))["code"] == "session-ended"
    reopened = await world.refused("POST", f"{path}/sessions", {"session_key": "key-a"})
    assert reopened["code"] == "session-ended"
    assert (await world.refused("GET", "/v1/runner-groups/g/leader"))["code"] == "no-leader"


async def test_a_leader_that_must_go_is_told(world: World) -> None:
    """A tainted leader steps down, with the time that it has."""
    await world.group(handover_timeout_seconds=30)
    first, second = await world.member("a"), await world.member("b")

    await world.ok("POST", f"/v1/runners/{first.id}/taint")
    standing = await world.beat(first)

    assert standing["role"] == "stepping-down"
    assert 0 < standing["step_down_in_seconds"] <= 30
    assert (await world.beat(second))["role"] == "standby"


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        ("sessions", {}, "session_key"),
        ("sessions", {"session_key": ""}, "session_key"),
        ("sessions", {"session_key": 1}, "session_key"),
        ("sessions", {"session_key": "k", "ready": "yes"}, "ready"),
        ("heart-beats", {}, "session_id"),
        ("heart-beats", {"session_id": "s", "seq": 1.5}, "seq"),
        ("heart-beats", {"session_id": "s", "seq": 2**53}, "seq"),
        ("heart-beats", {"session_id": "s", "seen": "1"}, "seen"),
        ("release", {"session_id": "s"}, "epoch"),
        ("release", {"session_id": "s", "epoch": "1"}, "epoch"),
    ],
)
async def test_a_wrong_runner_call_is_refused(
    world: World, call: str, body: object, field: str
) -> None:
    """Runner calls name what is missing or of a wrong type."""
    await world.group()
    member = await world.member()

    problem = await world.refused("POST", f"/v1/runners/{member.id}/{call}", body)

    assert (problem["code"], problem["field"]) == ("invalid", field)


async def test_an_unknown_session_has_ended(world: World) -> None:
    """A session that never was is refused as one that ended."""
    await world.group()
    member = await world.member()
    stranger = Member(id=member.id, token=member.token, session_id="never")

    problem = await world.refused(
        "POST", f"/v1/runners/{member.id}/heart-beats", {"session_id": stranger.session_id}
    )

    assert problem["code"] == "session-ended"


@pytest.mark.parametrize("call", ["heart-beats", "release", "jobs/claim"])
@pytest.mark.parametrize("token", ["own", "wrong", "operator"])
async def test_a_call_is_answered_the_same_however_it_is_found(
    world: World, token: str, call: str
) -> None:
    """The usual address, one with a stray slash and one below a mount tell the same."""
    await world.group()
    member = await world.member()
    secret = {"own": member.token, "wrong": "elt_x", "operator": world.operator}[token]
    assert world.app is not None
    mounted = httpx.AsyncClient(
        transport=in_process(world.app, below="/mounted"),
        base_url="http://test",
        headers={"Authorization": f"Bearer {secret}"},
    )
    path = f"/v1/runners/{member.id}/{call}"
    bodies: dict[str, dict[str, object]] = {
        "heart-beats": {},
        "release": {"epoch": 99},
        "jobs/claim": {"claim_id": "c", "limit": 1},
    }
    session_id = member.session_id if token != "operator" else "session-x"
    body = {**bodies[call], "session_id": session_id}

    usual = await world.call("POST", path, body, token=secret)
    stray = await world.call("POST", f"{path}/", body, token=secret)
    below = await mounted.post(f"/mounted{path}", json=body)

    answers = [usual, stray, below]
    assert {answer.status_code for answer in answers} == {
        {"own": 200, "wrong": 401, "operator": 409}[token]
    }
    assert usual.headers.keys() == stray.headers.keys() == below.headers.keys()
    told = [{**answer.json(), "store_time": "", "lease_remaining_seconds": 0} for answer in answers]
    assert told[0] == told[1] == told[2]
    counted = (await world.call("GET", "/metrics")).text
    route = f'method="POST",route="/v1/runners/{{runner_id}}/{call}"'
    status = usual.status_code
    assert f'election_http_requests_total{{{route},status="{status}"}} 3.0' in counted


@pytest.mark.parametrize("behind", ["", "/"])
async def test_a_host_that_is_none_is_refused_however_a_call_is_found(
    world: World, behind: str
) -> None:
    """Litestar refuses it, and so it refuses what is not for it to find."""
    await world.group()
    member = await world.member()
    headers = {"Host": "bad host", "Authorization": f"Bearer {world.operator}"}
    assert world.app is not None
    async with httpx.AsyncClient(
        transport=in_process(world.app), base_url="http://test", headers=headers
    ) as client:
        answer = await client.post(f"/v1/runners/{member.id}/taint{behind}", json={"key": "k"})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
