"""Runners: registration, status, taints with their effects and owners, and tolerations."""

import time
from datetime import datetime, timedelta

import pytest

from tests.e2e.contract_client import Api, Runner, fresh, until


def keys(runner: object) -> list[str]:
    """The keys of the taints of a runner as an answer shows it."""
    assert isinstance(runner, dict)
    return sorted(each["key"] for each in runner["taints"])


def test_registering_again_updates_labels_and_version(api: Api) -> None:
    """201 for a new name, 200 for a known one: the same runner and age, a fresh token."""
    group = api.group()
    body = {
        "name": "n",
        "platform": "linux/amd64",
        "labels": {"a": "1"},
        "version": "1.0",
        "taints": [{"key": "k", "effect": "no-elect"}],
    }
    first = api.post(f"{group.path}/runners", body).ok(201)
    runner = first["runner"]
    assert (runner["name"], runner["platform"]) == ("n", "linux/amd64")
    assert (runner["labels"], runner["version"]) == ({"a": "1"}, "1.0")
    assert runner["status"] == "pending"
    assert keys(runner) == ["k"]
    second = {"name": "n", "labels": {"b": "2"}, "version": "2.0"}
    again = api.post(f"{group.path}/runners", second).ok(200)
    assert again["token"] != first["token"]
    for name in ("id", "created_at", "taints"):
        assert again["runner"][name] == runner[name]
    assert again["runner"]["labels"] == {"b": "2"}
    assert again["runner"]["version"] == "2.0"
    assert api.get(f"/v1/runners/{runner['id']}").ok() == again["runner"]
    for token in (first["token"], again["token"]):
        api.as_(token).get(f"/v1/runners/{runner['id']}").ok()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": None},
        {"name": 7},
        {"name": "n", "labels": ["a"]},
        {"name": "n", "labels": {"a": 1}},
        {"name": "n", "taints": [{"effect": "no-coffee"}]},
        {"name": "n", "taints": [{"zzz": 1}]},
        {"name": "n", "taints": [{"key": ""}]},
        {"name": "n", "version": 1},
    ],
)
def test_a_runner_that_makes_no_sense_is_invalid(api: Api, body: object) -> None:
    """Types and effects are checked."""
    api.post(f"{api.group().path}/runners", body).refused(400, "invalid")


def test_pages_of_runners_hold_every_runner_once(api: Api) -> None:
    """In an order that later changes do not touch."""
    group = api.group()
    made = [group.runner() for _ in range(5)]
    first = api.get(f"{group.path}/runners?limit=2").ok()
    made[0].do("taint")
    extra = group.runner()
    seen = [each["id"] for each in first["items"]]
    cursor = first["next_cursor"]
    while cursor:
        page = api.get(f"{group.path}/runners?limit=2&cursor={cursor}").ok()
        seen += [each["id"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen))
    assert {each.id for each in made} <= set(seen) <= {each.id for each in [*made, extra]}


def test_status_says_how_a_runner_is(api: Api) -> None:
    """Pending, unready, active, draining, offline."""
    group = api.group(lease_seconds=1)
    runner = group.runner()
    assert runner.view()["status"] == "pending"
    runner.open(ready=False)
    assert runner.view()["status"] == "unready"
    runner.beat(ready=True)
    assert runner.view()["status"] == "active"
    assert runner.do("drain")["status"] == "draining"
    runner.do("undrain")
    until(lambda: runner.view()["status"] == "offline")
    runner.beat()
    runner.leave()
    assert runner.view()["status"] == "offline"


def test_an_empty_taint_is_manual_and_no_lead(api: Api) -> None:
    """The default key is `manual`, the default effect `no-lead`."""
    runner = api.group().runner()
    (taint,) = runner.do("taint")["taints"]
    assert (taint["key"], taint["effect"], taint["expires_at"]) == ("manual", "no-lead", None)
    assert runner.do("untaint", key="manual")["taints"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"effect": "no-coffee"},
        {"key": 1},
        {"key": ""},
        {"ttl_seconds": 0},
        {"ttl_seconds": -1},
        {"ttl_seconds": 1e300},
        {"owner": []},
    ],
)
def test_a_taint_that_makes_no_sense_is_invalid(api: Api, body: object) -> None:
    """Effects, types and times are checked."""
    runner = api.group().runner()
    api.post(f"{runner.path}/taint", body).refused(400, "invalid")
    assert runner.view()["taints"] == []


def test_owners_keep_their_taints_apart(api: Api) -> None:
    """Untaint takes what is the owner's or nobody's; a key held by others only is refused."""
    runner = api.group().runner()
    runner.do("taint", key="a", owner="ann")
    runner.do("taint", key="b", owner="bob")
    runner.do("taint", key="free")
    api.post(f"{runner.path}/untaint", {"key": "b", "owner": "ann"}).refused(409, "owned-by-other")
    api.post(f"{runner.path}/untaint", {"key": "b"}).refused(409, "owned-by-other")
    assert keys(runner.view()) == ["a", "b", "free"]
    assert keys(runner.do("untaint", owner="ann")) == ["b"]
    assert keys(runner.do("untaint", key="not-there", owner="ann")) == ["b"]
    assert keys(runner.do("untaint")) == ["b"]
    assert keys(runner.do("untaint", force=True)) == []


def test_force_takes_one_key_or_all(api: Api) -> None:
    """`force` removes whoever's."""
    runner = api.group().runner()
    for key, owner in (("a", "ann"), ("b", "bob")):
        runner.do("taint", key=key, owner=owner)
    assert keys(runner.do("untaint", key="a", force=True)) == ["b"]
    assert keys(runner.do("untaint", owner="carl", force=True)) == []


def test_a_taint_of_the_same_key_and_owner_replaces(api: Api) -> None:
    """The same key and owner is one taint; another owner's is another."""
    runner = api.group().runner()
    runner.do("taint", key="k", owner="ann", effect="no-elect", value="1")
    view = runner.do("taint", key="k", owner="ann", effect="prefer-no-elect", value="2")
    (taint,) = view["taints"]
    assert (taint["effect"], taint["value"], taint["owner"]) == ("prefer-no-elect", "2", "ann")
    assert len(runner.do("taint", key="k", owner="bob")["taints"]) == 2
    view = runner.do("untaint", key="k", owner="ann")
    assert [each["owner"] for each in view["taints"]] == ["bob"]


def test_no_elect_lets_the_incumbent_stay(api: Api) -> None:
    """A `no-elect` incumbent leads on; once it gave up it is not elected again."""
    group = api.group()
    (one,) = group.runners(1)
    one.do("taint", effect="no-elect")
    assert group.explain()["outcome"] == "keep"
    assert one.beat()["role"] == "leader"
    assert group.view()["epoch"] == 1
    assert one.release(1)["role"] == "standby"
    group.leader().refused(404, "no-leader")
    (verdict,) = group.explain()["ballot"]
    assert not verdict["eligible"]
    assert verdict["reasons"]
    one.do("untaint")
    assert group.leader().ok()["epoch"] == 2


def test_prefer_no_elect_is_the_last_resort(api: Api) -> None:
    """Elected only where no other is; an incumbent stays."""
    group = api.group()
    old = group.runner(taints=[{"key": "laptop", "effect": "prefer-no-elect"}])
    young = group.runner()
    young.open()
    old.open()
    assert group.leader().ok()["runner"]["id"] == young.id
    young.leave()
    assert group.leader().ok()["runner"]["id"] == old.id
    young.open()
    assert group.leader().ok()["runner"]["id"] == old.id
    assert [each["runner_id"] for each in group.explain()["ballot"]] == [old.id, young.id]


def test_no_lead_makes_the_leader_step_down(api: Api) -> None:
    """The answer to the taint comes after the decision, which names a successor."""
    group = api.group()
    one, two = group.runners(2)
    assert one.do("taint")["role"] == "stepping-down"
    decision = group.explain()
    assert (decision["outcome"], decision["leader_runner_id"]) == ("hand-over", one.id)
    assert decision["successor_runner_id"] == two.id
    standing = one.beat()
    assert standing["role"] == "stepping-down"
    assert 55 < standing["step_down_in_seconds"] <= 60
    view = group.view()
    assert view["leader_runner_id"] == one.id
    assert view["handover"]
    standing = one.release(1)
    assert (standing["role"], standing["epoch"]) == ("standby", 2)
    assert standing["leader_runner_id"] == two.id
    assert group.view()["handover"] is None
    assert two.beat()["role"] == "leader"


def test_untaint_cancels_the_handover(api: Api) -> None:
    """If the reason is gone, the incumbent leads on under the same epoch."""
    group = api.group()
    one, _ = group.runners(2)
    one.do("taint")
    assert one.do("untaint")["role"] == "leader"
    standing = one.beat()
    assert (standing["role"], standing["epoch"]) == ("leader", 1)
    assert standing["step_down_in_seconds"] is None
    assert group.view()["handover"] is None


def test_a_tainted_runner_is_never_elected(api: Api) -> None:
    """With nobody else the group stays without a leader; what it answers is the outcome."""
    group = api.group()
    one = group.runner(taints=[{}])
    assert one.open()["role"] == "standby"
    assert group.view()["leader_runner_id"] is None
    one.do("taint", key="second", effect="no-elect")
    assert one.do("untaint", key="manual")["role"] == "standby"
    assert one.do("untaint", key="second")["role"] == "leader"


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"operator": "exists"}, True),
        ({"key": "k", "operator": "exists"}, True),
        ({"key": "other", "operator": "exists"}, False),
        ({"key": "k", "operator": "equal", "value": "v"}, True),
        ({"key": "k", "operator": "equal", "value": "w"}, False),
        ({"key": "k", "operator": "exists", "effect": "no-lead"}, True),
        ({"key": "k", "operator": "exists", "effect": "no-elect"}, False),
    ],
)
def test_tolerations_make_taints_not_count(
    api: Api, toleration: dict[str, str], tolerated: bool
) -> None:
    """A toleration matches by key, value and effect; what it leaves out matches all."""
    group = api.group(tolerations=[toleration])
    one = group.runner(taints=[{"key": "k", "value": "v", "effect": "no-lead"}])
    assert (one.open()["role"] == "leader") is tolerated


def test_settings_decide_at_once(api: Api) -> None:
    """A toleration that comes or goes takes effect with the call that changes it."""
    group = api.group()
    one = group.runner(taints=[{"key": "k"}])
    one.open()
    changed = group.patch(tolerations=[{"key": "k", "operator": "exists"}]).ok()
    assert changed["leader_runner_id"] == one.id
    group.patch(tolerations=[]).ok()
    assert one.beat()["role"] == "stepping-down"


def test_a_taint_that_expires_elects_within_a_tick(api: Api) -> None:
    """Everything that ends by time is decided within a tick."""
    group = api.group(lease_seconds=5)
    one = group.runner()
    one.open(ready=False)
    (taint,) = one.do("taint", ttl_seconds=1.5)["taints"]
    one.beat(ready=True)
    group.leader().refused(404, "no-leader")
    until(lambda: group.leader().status == 200, one)
    leader = group.leader().ok()
    late = datetime.fromisoformat(leader["elected_at"]) - datetime.fromisoformat(
        taint["expires_at"]
    )
    assert timedelta(0) <= late < timedelta(seconds=1.5)
    assert one.view()["taints"] == []


def test_a_deleted_runner_is_gone_behind_the_barrier(api: Api) -> None:
    """Its session and term end; nobody is granted before its lease has run out."""
    group = api.group(lease_seconds=2)
    one, two = group.runners(2)
    end = one.view()["lease_expires_at"]
    began = time.monotonic()
    api.call("DELETE", one.path).ok(204)
    api.get(one.path).refused(404, "not-found")
    one.try_beat().refused(409, "session-ended")
    group.leader().refused(404, "no-leader")
    assert group.view()["leader_runner_id"] is None
    until(lambda: group.leader().status == 200, two)
    leader = group.leader().ok()
    assert (leader["runner"]["id"], leader["epoch"]) == (two.id, 2)
    assert leader["elected_at"] >= end
    assert time.monotonic() - began < 2 + 1 + 1.5
    assert api.post(f"{group.path}/runners", {"name": one.name}).ok(201)["runner"]["id"] != one.id


def test_a_registered_name_is_a_new_runner_in_another_group(api: Api) -> None:
    """Names are of a group."""
    name = fresh("same")
    ids: set[str] = set()
    for _ in range(2):
        runner: Runner = api.group().runner(name)
        ids.add(runner.id)
    assert len(ids) == 2
