"""Runner groups over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from api_world import World

GROUPS = "/v1/runner-groups"


async def test_a_group_is_created_once(world: World) -> None:
    """A new group is 201, the same again 200, another of that id a conflict."""
    body = {"id": "g", "settings": {"lease_seconds": 10}}

    first = await world.call("POST", GROUPS, body)
    again = await world.call("POST", GROUPS, body)
    other = await world.refused("POST", GROUPS, {"id": "g"})

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert (other["status"], other["code"]) == (409, "conflict")


async def test_a_group_has_the_fields_of_the_contract(world: World) -> None:
    """A fresh group has its defaults, no epoch and no leader."""
    group = await world.ok("POST", GROUPS, {"id": "g"})

    assert group["id"] == "g"
    assert group["epoch"] == 0
    assert group["leader_runner_id"] is None
    assert group["pin"] is None
    assert group["handover"] is None
    assert group["settings"] == {
        "lease_seconds": 15.0,
        "heartbeat_seconds": 5.0,
        "handover_timeout_seconds": 60.0,
        "policy": {
            "name": "oldest-active",
            "preempt": False,
            "stable_for_seconds": 30.0,
            "prefer_labels": {},
        },
        "tolerations": [],
        "retry_backoff_seconds": 1.0,
        "retention_days": 7.0,
    }
    assert await world.ok("GET", f"{GROUPS}/g") == group


async def test_an_id_is_generated_where_none_is_chosen(world: World) -> None:
    """Without an id, even without a body, a group gets one of its own."""
    one = await world.ok("POST", GROUPS, {})
    two = await world.ok("POST", GROUPS)

    assert one["id"] != two["id"]
    assert 1 <= len(one["id"]) <= 63


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"id": "Ä"}, "id"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"id": "g", "more": 1}, "more"),
        ({"settings": {"lease_seconds": 0}}, "settings.lease_seconds"),
        ({"settings": {"lease_seconds": 3601}}, "settings.lease_seconds"),
        ({"settings": {"lease_seconds": "15"}}, "settings.lease_seconds"),
        ({"settings": {"heartbeat_seconds": 15}}, "settings.heartbeat_seconds"),
        ({"settings": {"lease": 3}}, "settings.lease"),
        ({"settings": {"policy": {"name": 1}}}, "settings.policy.name"),
        (
            {"settings": {"tolerations": [{"operator": "maybe"}]}},
            "settings.tolerations[0].operator",
        ),
    ],
)
async def test_a_wrong_field_is_named(world: World, body: object, field: str) -> None:
    """What is wrong with a group is told with the path of the field."""
    problem = await world.refused("POST", GROUPS, body)

    assert problem["code"] == "invalid"
    assert problem["field"] == field


async def test_groups_are_listed_in_pages(world: World) -> None:
    """Pages follow each other by their cursor, and the last one has none."""
    for name in "cab":
        await world.group(name)

    first = await world.ok("GET", f"{GROUPS}?limit=2")
    second = await world.ok("GET", f"{GROUPS}?limit=2&cursor={first['next_cursor']}")

    assert [group["id"] for group in first["items"]] == ["a", "b"]
    assert [group["id"] for group in second["items"]] == ["c"]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1e2", "limit"),
        ("limit=%D9%A3", "limit"),
        ("cursor=%21", "cursor"),
    ],
)
async def test_wrong_page_parameters_are_named(world: World, query: str, field: str) -> None:
    """A limit out of 1 to 500 and a cursor that was never given out are invalid."""
    problem = await world.refused("GET", f"{GROUPS}?{query}")

    assert (problem["code"], problem["field"]) == ("invalid", field)


async def test_unknown_query_parameters_are_ignored(world: World) -> None:
    """A parameter that nobody knows changes nothing."""
    assert (await world.ok("GET", f"{GROUPS}?colour=red"))["items"] == []


async def test_settings_are_merged_at_the_top_level(world: World) -> None:
    """A patch changes what it names and leaves the rest."""
    await world.group(lease_seconds=10, retention_days=3)

    group = await world.ok("PATCH", f"{GROUPS}/g", {"settings": {"lease_seconds": 20}})

    assert group["settings"]["lease_seconds"] == 20
    assert group["settings"]["retention_days"] == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "settings"),
        ({"settings": 1}, "settings"),
        ({"settings": {"colour": 1}}, "settings.colour"),
        ({"settings": {"heartbeat_seconds": 100}}, "settings.heartbeat_seconds"),
    ],
)
async def test_a_wrong_patch_is_refused(world: World, body: object, field: str) -> None:
    """A patch is checked like new settings."""
    await world.group()

    problem = await world.refused("PATCH", f"{GROUPS}/g", body)

    assert (problem["code"], problem["field"]) == ("invalid", field)


async def test_a_group_with_live_sessions_is_deleted_by_force_only(world: World) -> None:
    """Deleting is 409 while sessions live, 204 by force, and then the group is gone."""
    await world.group()
    await world.member()

    assert (await world.refused("DELETE", f"{GROUPS}/g"))["code"] == "conflict"
    assert (await world.refused("DELETE", f"{GROUPS}/g?force=false"))["code"] == "conflict"
    assert (await world.refused("DELETE", f"{GROUPS}/g?force=perhaps"))["field"] == "force"
    answer = await world.call("DELETE", f"{GROUPS}/g?force")

    assert (answer.status_code, answer.content) == (204, b"")
    assert (await world.refused("GET", f"{GROUPS}/g"))["code"] == "not-found"
    assert (await world.ok("POST", GROUPS, {"id": "g"}))["epoch"] == 1


async def test_an_empty_group_is_deleted(world: World) -> None:
    """A group without live sessions needs no force."""
    await world.group()

    assert (await world.call("DELETE", f"{GROUPS}/g")).status_code == 204


ABOUT_A_GROUP: list[tuple[str, str, object]] = [
    ("GET", "", None),
    ("PATCH", "", {"settings": {}}),
    ("DELETE", "", None),
    ("GET", "/leader", None),
    ("PUT", "/leader", {"runner_id": None}),
    ("GET", "/explain", None),
    ("POST", "/what-if", {"changes": []}),
    ("GET", "/events", None),
    ("GET", "/runners", None),
    ("POST", "/runners", {"name": "a"}),
    ("GET", "/jobs", None),
    ("POST", "/jobs", {"kind": "build"}),
]


@pytest.mark.parametrize("group_id", ["none-such", "x" * 65, "%00", "%20"])
async def test_a_group_that_is_not_there_is_not_found(world: World, group_id: str) -> None:
    """Every call about a group is 404 without one."""
    for method, path, body in ABOUT_A_GROUP:
        problem = await world.refused(method, f"{GROUPS}/{group_id}{path}", body)

        assert (problem["status"], problem["code"]) == (404, "not-found")


# Leaders.


async def test_the_leader_is_shown_with_its_term(world: World) -> None:
    """The leader's answer holds runner, epoch, session and times; without one it is `no-leader`."""
    await world.group()
    assert (await world.refused("GET", f"{GROUPS}/g/leader"))["code"] == "no-leader"

    member = await world.member()
    leader = await world.ok("GET", f"{GROUPS}/g/leader")

    assert leader["runner"]["id"] == member.id
    assert leader["runner"]["role"] == "leader"
    assert (leader["epoch"], leader["session_id"]) == (1, member.session_id)
    assert leader["elected_at"] < leader["lease_expires_at"]
    assert leader["reason"]


async def test_a_pin_moves_leadership_and_is_shown(world: World) -> None:
    """Choosing a leader is accepted with the decision; the group shows the pin and the handover."""
    await world.group()
    first, second = await world.member("a"), await world.member("b")

    answer = await world.call(
        "PUT",
        f"{GROUPS}/g/leader",
        {"runner_id": second.id, "owner": "ana", "reason": "debugging", "ttl_seconds": 60},
    )
    group = await world.ok("GET", f"{GROUPS}/g")

    assert answer.status_code == 202
    assert answer.json()["status"] == "accepted"
    decision = answer.json()["decision"]
    assert decision["outcome"] == "hand-over"
    assert decision["leader_runner_id"] == first.id
    assert decision["successor_runner_id"] == second.id
    assert group["pin"]["runner_id"] == second.id
    assert group["pin"]["owner"] == "ana"
    assert group["handover"]["successor_runner_id"] == second.id


async def test_null_unpins(world: World) -> None:
    """`runner_id: null` leaves the choice to the policy again."""
    await world.group()
    await world.member("a")
    second = await world.member("b")
    await world.ok("PUT", f"{GROUPS}/g/leader", {"runner_id": second.id})

    answer = await world.ok("PUT", f"{GROUPS}/g/leader", {"runner_id": None})

    assert answer["decision"]["outcome"] == "keep"
    group = await world.ok("GET", f"{GROUPS}/g")
    assert group["pin"] is None
    assert group["handover"] is None


async def test_a_pin_is_refused_with_its_reason(world: World) -> None:
    """An unknown runner is not found, one that cannot lead not eligible unless it may be later."""
    await world.group()
    await world.group("h")
    await world.member("a")
    idle = await world.member("b", live=False)
    foreign = await world.member("c", "h")
    path = f"{GROUPS}/g/leader"

    assert (await world.refused("PUT", path, {}))["field"] == "runner_id"
    forever = {"runner_id": idle.id, "ttl_seconds": -1}
    assert (await world.refused("PUT", path, forever))["field"] == "ttl_seconds"
    assert (await world.refused("PUT", path, {"runner_id": "none"}))["code"] == "not-found"
    assert (await world.refused("PUT", path, {"runner_id": foreign.id}))["code"] == "not-found"
    assert (await world.refused("PUT", path, {"runner_id": idle.id}))["code"] == "not-eligible"
    later = await world.call("PUT", path, {"runner_id": idle.id, "when_eligible": True})
    assert later.status_code == 202


async def test_a_decision_is_explained(world: World) -> None:
    """The ballot names every runner, and why whoever is not eligible is not."""
    await world.group()
    member = await world.member("a")
    idle = await world.member("b", live=False)

    decision = await world.ok("GET", f"{GROUPS}/g/explain")

    assert decision["outcome"] == "keep"
    assert decision["leader_runner_id"] == member.id
    assert decision["successor_runner_id"] is None
    assert [line["runner_id"] for line in decision["ballot"]] == [member.id, idle.id]
    assert decision["ballot"][0] == {"runner_id": member.id, "eligible": True, "reasons": []}
    assert decision["ballot"][1]["eligible"] is False
    assert set(decision["ballot"][1]["reasons"][0]) == {"code", "detail"}


def _changes(one: str, two: str) -> list[tuple[dict[str, Any], str | None]]:
    """Changes, and who would lead once they are made; the first runner leads before."""
    return [
        ({"taint": {"runner_id": one}}, one),
        ({"taint": {"runner_id": two, "key": "k", "effect": "no-elect", "ttl_seconds": 9}}, one),
        ({"untaint": {"runner_id": one}}, one),
        ({"pin": {"runner_id": two}}, one),
        ({"pin": {"runner_id": None}}, one),
        ({"unpin": {}}, one),
        ({"lose": {"runner_id": one}}, two),
        ({"drain": {"runner_id": one}}, one),
        ({"undrain": {"runner_id": one}}, one),
    ]


@pytest.mark.parametrize("index", range(9))
async def test_what_if_tells_and_writes_nothing(world: World, index: int) -> None:
    """Each kind of change is understood, and nothing is different afterwards."""
    await world.group()
    one, two = await world.member("a"), await world.member("b")
    change, leader = _changes(one.id, two.id)[index]
    before = await world.ok("GET", f"{GROUPS}/g/events")

    decision = await world.ok("POST", f"{GROUPS}/g/what-if", {"changes": [change]})

    assert decision["leader_runner_id"] == leader
    if "taint" in change or "pin" in change or "drain" in change:
        unpins = change.get("pin") == {"runner_id": None}
        keeps = unpins or change.get("taint", {}).get("runner_id") == two.id
        assert decision["successor_runner_id"] == (None if keeps else two.id)
    assert await world.ok("GET", f"{GROUPS}/g/events") == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "changes"),
        ({"changes": {}}, "changes"),
        ({"changes": [{}]}, "changes[0]"),
        ({"changes": [{"lose": {"runner_id": "r"}, "unpin": {}}]}, "changes[0]"),
        ({"changes": [{"lose": {}}]}, "changes[0].lose.runner_id"),
        ({"changes": [{"explode": {}}]}, "changes[0].explode"),
        (
            {"changes": [{"drain": {"runner_id": "r", "timeout_seconds": -1}}]},
            "changes[0].drain.timeout_seconds",
        ),
        ({"changes": [{"taint": {"runner_id": "r", "effect": "x"}}]}, "changes[0].taint.effect"),
    ],
)
async def test_what_if_names_what_it_does_not_understand(
    world: World, body: object, field: str
) -> None:
    """A change that is none, two or unknown is invalid."""
    await world.group()

    problem = await world.refused("POST", f"{GROUPS}/g/what-if", body)

    assert (problem["code"], problem["field"]) == ("invalid", field)


async def test_what_if_about_a_stranger_is_not_found(world: World) -> None:
    """A runner that is not in the group cannot be supposed to do anything."""
    await world.group()

    problem = await world.refused(
        "POST", f"{GROUPS}/g/what-if", {"changes": [{"lose": {"runner_id": "none"}}]}
    )

    assert problem["code"] == "not-found"
