"""Runners, taints and drains over HTTP."""

from __future__ import annotations

import pytest

from api_world import World
from election_core import TokenKind

RUNNERS = "/v1/runner-groups/g/runners"


async def test_a_runner_is_registered_with_a_token_of_its_own(world: World) -> None:
    """A new runner is 201 with a token that is good for it at once."""
    await world.group()

    answer = await world.call(
        "POST",
        RUNNERS,
        {
            "name": "a",
            "platform": "linux",
            "labels": {"zone": "home"},
            "version": "1",
            "taints": [{"key": "new", "effect": "no-elect"}],
        },
    )

    assert answer.status_code == 201
    runner, token = answer.json()["runner"], answer.json()["token"]
    assert runner["name"] == "a"
    assert runner["group_id"] == "g"
    assert (runner["status"], runner["role"]) == ("pending", "standby")
    assert runner["labels"] == {"zone": "home"}
    assert [taint["key"] for taint in runner["taints"]] == ["new"]
    path = f"/v1/runners/{runner['id']}"
    assert await world.ok("GET", path, token=token) == runner


async def test_a_name_is_one_runner(world: World) -> None:
    """The same name again is 200, with labels and version updated, and both tokens are good."""
    await world.group()
    first = (await world.call("POST", RUNNERS, {"name": "a", "version": "1"})).json()

    answer = await world.call("POST", RUNNERS, {"name": "a", "version": "2", "labels": {"x": "y"}})

    assert answer.status_code == 200
    again = answer.json()
    assert again["runner"]["id"] == first["runner"]["id"]
    assert (again["runner"]["version"], again["runner"]["labels"]) == ("2", {"x": "y"})
    assert again["token"] != first["token"]
    for token in (first["token"], again["token"]):
        await world.ok("GET", f"/v1/runners/{again['runner']['id']}", token=token)


async def test_joining_again_takes_the_instance_key(world: World) -> None:
    """With a join token an existing runner is only given to who brings its instance key."""
    await world.group()
    join = await world.token(TokenKind.JOIN, group_id="g")
    body = {"name": "a", "instance_key": "k1"}

    assert (await world.call("POST", RUNNERS, body, token=join)).status_code == 201
    assert (await world.call("POST", RUNNERS, body, token=join)).status_code == 200
    for other in ({"name": "a", "instance_key": "k2"}, {"name": "a"}):
        assert (await world.refused("POST", RUNNERS, other, token=join))["code"] == "conflict"
    assert (await world.call("POST", RUNNERS, {"name": "a"})).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"name": "a", "labels": {"x": 1}}, "labels.x"),
        ({"name": "a", "labels": []}, "labels"),
        ({"name": "a", "taints": [{"effect": "none"}]}, "taints[0].effect"),
        ({"name": "a", "taints": [{}, {"ttl_seconds": -1}]}, "taints[1].ttl_seconds"),
        ({"name": "a", "taints": [{}, {"key": ""}]}, "taints[1].key"),
        ({"name": "a", "taints": [{"key": "x" * 201}]}, "taints[0].key"),
        ({"name": "a", "colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_registration_is_refused(world: World, body: object, field: str) -> None:
    """What is wrong with a registration is named."""
    await world.group()

    problem = await world.refused("POST", RUNNERS, body)

    assert (problem["code"], problem["field"]) == ("invalid", field)


async def test_runners_are_listed_oldest_first(world: World) -> None:
    """Pages of runners are in the order of registration."""
    await world.group()
    ids = [(await world.member(name, live=False)).id for name in "bca"]

    first = await world.ok("GET", f"{RUNNERS}?limit=2")
    second = await world.ok("GET", f"{RUNNERS}?limit=2&cursor={first['next_cursor']}")

    assert [runner["id"] for runner in first["items"] + second["items"]] == ids
    assert second["next_cursor"] is None
    assert (await world.refused("GET", f"{RUNNERS}?limit=0"))["field"] == "limit"


async def test_a_runner_shows_its_status(world: World) -> None:
    """A runner is pending, then active, unready, draining, and offline once its lease ran out."""
    await world.group()
    member = await world.member(live=False)
    path = f"/v1/runners/{member.id}"

    async def status() -> object:
        return (await world.ok("GET", path))["status"]

    assert await status() == "pending"
    session = await world.ok("POST", f"{path}/sessions", {"session_key": "k"})
    member.session_id = session["session_id"]
    assert await status() == "active"
    await world.beat(member, ready=False)
    assert await status() == "unready"
    await world.ok("POST", f"{path}/drain")
    assert await status() == "draining"
    world.clock.advance(seconds=60)
    assert await status() == "offline"


async def test_a_runner_is_deleted(world: World) -> None:
    """Deleting is 204; the runner is gone and its session told so."""
    await world.group()
    member = await world.member()
    path = f"/v1/runners/{member.id}"

    assert (await world.call("DELETE", path)).status_code == 204
    assert (await world.refused("GET", path))["code"] == "not-found"
    assert (await world.refused("DELETE", path))["code"] == "not-found"
    body = {"session_id": member.session_id}
    ended = await world.refused("POST", f"{path}/heart-beats", body, token=member.token)
    assert ended["code"] == "session-ended"


@pytest.mark.parametrize("content", [b"", b" \n", b"{}"])
async def test_an_empty_taint_keeps_a_runner_from_leading(world: World, content: bytes) -> None:
    """Without a body a taint is `manual` and `no-lead`."""
    await world.group()
    member = await world.member()

    runner = await world.ok("POST", f"/v1/runners/{member.id}/taint", content=content)

    assert [(taint["key"], taint["effect"]) for taint in runner["taints"]] == [
        ("manual", "no-lead")
    ]


async def test_a_taint_expires_and_is_replaced_by_its_like(world: World) -> None:
    """A taint of the same key and owner replaces the earlier one, and one with a time ends."""
    await world.group()
    member = await world.member()
    path = f"/v1/runners/{member.id}"
    body = {"key": "k", "owner": "ana", "value": "1", "reason": "r", "effect": "prefer-no-elect"}

    await world.ok("POST", f"{path}/taint", body)
    runner = await world.ok("POST", f"{path}/taint", {**body, "value": "2", "ttl_seconds": 5})

    (taint,) = runner["taints"]
    assert (taint["value"], taint["reason"]) == ("2", "r")
    assert taint["created_at"] < taint["expires_at"]
    world.clock.advance(seconds=6)
    assert (await world.ok("GET", path))["taints"] == []


async def test_untaint_respects_owners_unless_forced(world: World) -> None:
    """A key that others hold alone is 409; force removes it; without a key one's own go."""
    await world.group()
    member = await world.member()
    path = f"/v1/runners/{member.id}"
    for owner in ("ana", "bob", ""):
        await world.ok("POST", f"{path}/taint", {"key": f"k{owner}", "owner": owner})

    other = await world.refused("POST", f"{path}/untaint", {"key": "kbob", "owner": "ana"})
    mine = await world.ok("POST", f"{path}/untaint", {"owner": "ana"})
    forced = await world.ok("POST", f"{path}/untaint", {"key": "kbob", "force": True})

    assert (other["status"], other["code"]) == (409, "owned-by-other")
    assert [taint["key"] for taint in mine["taints"]] == ["kbob"]
    assert forced["taints"] == []
    assert (await world.ok("POST", f"{path}/untaint"))["taints"] == []


async def test_a_drain_lasts_until_undrain(world: World) -> None:
    """A drained runner is shown so until it is undrained; both calls may have a body or none."""
    await world.group()
    member = await world.member()
    path = f"/v1/runners/{member.id}"

    drained = await world.ok("POST", f"{path}/drain", {"reason": "upgrade", "timeout_seconds": 9})
    assert drained["status"] == "draining"
    assert drained["drain"]["reason"] == "upgrade"
    assert drained["drain"]["timeout_seconds"] == 9
    assert (await world.ok("POST", f"{path}/undrain", {"reason": "done"}))["drain"] is None
    assert (await world.ok("POST", f"{path}/drain"))["status"] == "draining"
    assert (await world.ok("POST", f"{path}/undrain"))["status"] == "active"


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        ("taint", {"effect": "no"}, "effect"),
        ("taint", {"ttl_seconds": "1"}, "ttl_seconds"),
        ("taint", {"key": ""}, "key"),
        ("taint", {"ttl": 1}, "ttl"),
        ("taint", {"ttl_seconds": 0}, "ttl_seconds"),
        ("drain", {"timeout_seconds": -1}, "timeout_seconds"),
        ("untaint", {"force": 1}, "force"),
        ("drain", {"timeout_seconds": True}, "timeout_seconds"),
        ("undrain", {"what": 1}, "what"),
    ],
)
async def test_a_wrong_operator_call_is_refused(
    world: World, call: str, body: object, field: str
) -> None:
    """Operator calls refuse unknown fields and wrong types by their name."""
    await world.group()
    member = await world.member(live=False)

    problem = await world.refused("POST", f"/v1/runners/{member.id}/{call}", body)

    assert (problem["code"], problem["field"]) == ("invalid", field)


ABOUT_A_RUNNER: list[tuple[str, str, object]] = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("POST", "/taint", None),
    ("POST", "/untaint", None),
    ("POST", "/drain", None),
    ("POST", "/undrain", None),
    ("POST", "/sessions", {"session_key": "k"}),
    ("POST", "/heart-beats", {"session_id": "s"}),
    ("POST", "/release", {"session_id": "s", "epoch": 1}),
    ("DELETE", "/sessions/s", None),
    ("POST", "/jobs/claim", {"session_id": "s", "claim_id": "c"}),
]


@pytest.mark.parametrize("runner_id", ["none-such", "x" * 65, "%00"])
async def test_a_runner_that_is_not_there_is_not_found(world: World, runner_id: str) -> None:
    """Every call about a runner is 404 without one."""
    for method, path, body in ABOUT_A_RUNNER:
        problem = await world.refused(method, f"/v1/runners/{runner_id}{path}", body)

        assert (problem["status"], problem["code"]) == (404, "not-found")
