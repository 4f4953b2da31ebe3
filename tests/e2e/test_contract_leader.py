"""Who leads: election order, pins, what-if, explain, and the policy's settings."""

import time

import pytest

from tests.e2e.contract_client import Api, until

REASONS = {"code", "detail"}


def order(decision: object) -> list[str]:
    """The ballot's runners in order of preference."""
    assert isinstance(decision, dict)
    return [each["runner_id"] for each in decision["ballot"]]


def test_the_first_to_come_is_elected_and_stays(api: Api) -> None:
    """An older runner that comes later does not depose a healthy incumbent."""
    group = api.group()
    old, young = group.runner(), group.runner()
    standing = young.open()
    assert (standing["role"], standing["epoch"]) == ("leader", 1)
    assert old.open()["role"] == "standby"
    leader = group.leader().ok()
    assert leader["runner"]["id"] == young.id
    assert (leader["epoch"], leader["session_id"]) == (1, young.session)
    assert leader["reason"]
    assert leader["elected_at"] < leader["lease_expires_at"]
    assert order(group.explain()) == [young.id, old.id]


def test_the_oldest_is_elected_in_a_vacancy(api: Api) -> None:
    """By age of registration, not of session; a new session makes nobody younger."""
    group = api.group()
    one, two, three = (group.runner() for _ in range(3))
    one.open()
    three.open()
    two.open()
    assert order(group.explain()) == [one.id, two.id, three.id]
    one.leave()
    assert group.leader().ok()["runner"]["id"] == two.id


def test_the_label_that_the_policy_prefers_comes_before_age(api: Api) -> None:
    """`prefer_labels` orders the eligible before their age does."""
    policy = {"name": "oldest-active", "prefer_labels": {"zone": "a"}}
    group = api.group(policy=policy)
    first = group.runner()
    old = group.runner(labels={"zone": "b"})
    young = group.runner(labels={"zone": "a", "x": "y"})
    for runner in (first, old, young):
        runner.open()
    assert order(group.explain()) == [first.id, young.id, old.id]
    first.leave()
    assert group.leader().ok()["runner"]["id"] == young.id


def test_an_unready_runner_is_not_elected(api: Api) -> None:
    """Readiness is decided within a tick."""
    group = api.group()
    one = group.runner()
    assert one.open(ready=False)["role"] == "standby"
    (verdict,) = group.explain()["ballot"]
    assert not verdict["eligible"]
    assert verdict["reasons"][0].keys() >= REASONS
    began = time.monotonic()
    one.beat(ready=True)
    until(lambda: group.leader().status == 200)
    assert time.monotonic() - began < 2.5
    assert one.beat()["role"] == "leader"


def test_a_leader_that_is_not_ready_hands_over(api: Api) -> None:
    """Within a tick the leader that reported not ready steps down."""
    group = api.group()
    one, two = group.runners(2)
    one.beat(ready=False)
    until(lambda: one.beat()["role"] == "stepping-down")
    assert group.explain()["successor_runner_id"] == two.id
    one.beat(ready=True)
    until(lambda: one.beat()["role"] == "leader")
    assert group.view()["epoch"] == 1


def test_a_pin_hands_over_to_the_pinned(api: Api) -> None:
    """202 with the decision; the incumbent steps down, the pinned follows on release."""
    group = api.group()
    one, two, three = group.runners(3)
    answer = group.pin(three.id, owner="ann", reason="test").ok(202)
    assert answer["status"] == "accepted"
    decision = answer["decision"]
    assert decision["outcome"] == "hand-over"
    assert decision["leader_runner_id"] == one.id
    assert decision["successor_runner_id"] == three.id
    pin = group.view()["pin"]
    assert (pin["runner_id"], pin["owner"], pin["reason"]) == (three.id, "ann", "test")
    assert pin["expires_at"] is None
    one.release(1)
    assert group.leader().ok()["runner"]["id"] == three.id
    assert order(group.explain())[0] == three.id
    assert two.beat()["role"] == "standby"


def test_a_pin_that_is_repeated_changes_nothing(api: Api) -> None:
    """Pinning the leader keeps it; the same call again is harmless."""
    group = api.group()
    one, _ = group.runners(2)
    for _ in range(2):
        assert group.pin(one.id).ok(202)["decision"]["outcome"] == "keep"
    assert group.view()["epoch"] == 1


def test_unpin_decides_again(api: Api) -> None:
    """`runner_id: null` takes the pin away and cancels the handover it caused."""
    group = api.group()
    one, two = group.runners(2)
    group.pin(two.id).ok(202)
    assert one.beat()["role"] == "stepping-down"
    assert group.pin(None).ok(202)["decision"]["outcome"] == "keep"
    assert group.view()["pin"] is None
    assert one.beat()["role"] == "leader"
    assert group.pin(None).ok(202)["decision"]["outcome"] == "keep"


def test_a_pin_must_be_of_the_group_and_eligible(api: Api) -> None:
    """404 for who is not in the group, 409 for who is not eligible now unless `when_eligible`."""
    group = api.group()
    (one,) = group.runners(1)
    stranger = api.group().runner()
    group.pin("none").refused(404, "not-found")
    group.pin(stranger.id).refused(404, "not-found")
    offline = group.runner()
    group.pin(offline.id).refused(409, "not-eligible")
    tainted = group.runner(taints=[{}])
    tainted.open()
    group.pin(tainted.id).refused(409, "not-eligible")
    assert group.view()["pin"] is None
    assert group.pin(offline.id, when_eligible=True).ok(202)["decision"]["outcome"] == "keep"
    assert group.view()["pin"]["runner_id"] == offline.id
    assert one.beat()["role"] == "leader"
    for body in ({}, {"runner_id": 7}, {"runner_id": one.id, "ttl_seconds": 0}):
        api.call("PUT", f"{group.path}/leader", body).refused(400, "invalid")


def test_a_pin_waits_for_who_becomes_eligible(api: Api) -> None:
    """A pin made `when_eligible` is honoured once its runner is."""
    group = api.group(
        policy={"name": "oldest-active", "stable_for_seconds": 0.5}, handover_timeout_seconds=60
    )
    (one,) = group.runners(1)
    late = group.runner()
    group.pin(late.id, when_eligible=True).ok(202)
    late.open()
    until(lambda: one.beat()["role"] == "stepping-down", late)
    one.release(1)
    assert group.leader().ok()["runner"]["id"] == late.id


def test_a_pin_expires(api: Api) -> None:
    """After `ttl_seconds` the pin is gone and its handover with it."""
    group = api.group()
    one, two = group.runners(2)
    group.pin(two.id, ttl_seconds=1).ok(202)
    assert group.view()["pin"]["expires_at"]
    assert one.beat()["role"] == "stepping-down"
    until(lambda: one.beat()["role"] == "leader")
    assert group.view()["pin"] is None
    assert group.view()["epoch"] == 1


def test_a_pin_falls_back_and_returns(api: Api) -> None:
    """While the pinned is not eligible the policy rules; it returns after `stable_for`."""
    group = api.group(policy={"name": "oldest-active", "stable_for_seconds": 1.5})
    one, two = group.runners(2)
    group.pin(two.id).ok(202)
    one.release(1)
    assert two.beat()["role"] == "leader"
    two.do("taint")
    two.release(2)
    assert one.beat()["role"] == "leader"
    assert group.view()["pin"]["runner_id"] == two.id
    began = time.monotonic()
    two.do("untaint")
    assert group.explain()["outcome"] == "keep"
    until(lambda: one.beat()["role"] == "stepping-down", two)
    assert time.monotonic() - began >= 1.4
    assert time.monotonic() - began < 1.5 + 1 + 1.5
    one.release(3)
    assert group.leader().ok()["runner"]["id"] == two.id


def test_an_immediate_pin_waits_for_the_lease_only(api: Api) -> None:
    """`immediate` is a deadline of now: the term is no longer extended, the session is."""
    group = api.group(lease_seconds=2)
    one, two = group.runners(2)
    group.pin(two.id, immediate=True).ok(202)
    end = group.leader().ok()["lease_expires_at"]
    standing = one.beat()
    assert standing["role"] == "stepping-down"
    assert standing["step_down_in_seconds"] == 0
    until(lambda: group.leader().status == 200 and group.view()["epoch"] == 2, one, two)
    leader = group.leader().ok()
    assert leader["runner"]["id"] == two.id
    assert leader["elected_at"] >= end
    assert one.view()["status"] == "active"


def test_preemption_waits_until_the_older_is_stable(api: Api) -> None:
    """With `preempt` an older runner takes over once it was healthy for `stable_for`."""
    policy = {"name": "oldest-active", "preempt": True, "stable_for_seconds": 1.5}
    group = api.group(policy=policy)
    old, young = group.runner(), group.runner()
    young.open()
    began = time.monotonic()
    old.open()
    assert young.beat()["role"] == "leader"
    until(lambda: young.beat()["role"] == "stepping-down", old)
    assert 1.4 <= time.monotonic() - began < 1.5 + 1 + 1.5
    assert group.explain()["successor_runner_id"] == old.id
    young.release(1)
    assert old.beat()["role"] == "leader"


def test_what_if_tells_without_writing(api: Api) -> None:
    """The decision that would come out at once; nothing is written."""
    group = api.group()
    one, two = group.runners(2)
    before = (group.view(), group.events())
    lost = group.what_if({"lose": {"runner_id": one.id}})
    assert lost["outcome"] == "elect"
    assert lost["leader_runner_id"] == two.id
    assert order(lost)[0] == two.id
    tainted = group.what_if({"taint": {"runner_id": one.id}})
    assert (tainted["outcome"], tainted["successor_runner_id"]) == ("hand-over", two.id)
    assert tainted["leader_runner_id"] == one.id
    stays = group.what_if({"taint": {"runner_id": one.id, "effect": "no-elect"}})
    assert stays["outcome"] == "keep"
    pinned = group.what_if({"pin": {"runner_id": two.id}})
    assert (pinned["outcome"], pinned["successor_runner_id"]) == ("hand-over", two.id)
    drained = group.what_if({"drain": {"runner_id": one.id}})
    assert (drained["outcome"], drained["successor_runner_id"]) == ("hand-over", two.id)
    both = group.what_if(
        {"taint": {"runner_id": one.id, "key": "k"}},
        {"untaint": {"runner_id": one.id, "key": "k"}},
    )
    assert both["outcome"] == "keep"
    nobody = group.what_if({"lose": {"runner_id": one.id}}, {"lose": {"runner_id": two.id}})
    assert (nobody["outcome"], nobody["leader_runner_id"]) == ("vacate", None)
    assert all(each["reasons"] for each in nobody["ballot"])
    assert group.what_if() == group.explain()
    assert (group.view(), group.events()) == before


def test_what_if_untaint(api: Api) -> None:
    """An untaint that would let somebody lead is told."""
    group = api.group()
    one = group.runner(taints=[{"key": "k"}])
    one.open()
    decision = group.what_if({"untaint": {"runner_id": one.id}})
    assert (decision["outcome"], decision["leader_runner_id"]) == ("elect", one.id)
    assert group.what_if({"pin": {"runner_id": None}})["outcome"] in {"keep", "vacate"}


@pytest.mark.parametrize(
    "changes",
    [
        None,
        {},
        [1],
        [{}],
        [{"eat": {}}],
        [{"taint": {}}],
        [{"taint": {"runner_id": "x", "effect": "no-coffee"}}],
        [{"taint": {"runner_id": "x", "ttl_seconds": 0}}],
        [{"lose": {"runner_id": "x", "zzz": 1}}],
        [{"lose": {"runner_id": "x"}, "drain": {"runner_id": "x"}}],
    ],
)
def test_a_what_if_that_makes_no_sense_is_invalid(api: Api, changes: object) -> None:
    """One change each, of the known kinds, without unknown fields."""
    path = f"{api.group().path}/what-if"
    api.post(path, {"changes": changes}).refused(400, "invalid")


def test_what_if_of_a_stranger_is_not_found(api: Api) -> None:
    """A runner that is not in the group is 404."""
    group, stranger = api.group(), api.group().runner()
    for runner_id in ("none", stranger.id):
        body = {"changes": [{"lose": {"runner_id": runner_id}}]}
        api.post(f"{group.path}/what-if", body).refused(404, "not-found")


def test_an_empty_group_explains_itself(api: Api) -> None:
    """A group without runners has a decision too."""
    group = api.group()
    decision = group.explain()
    assert decision["ballot"] == []
    assert decision["leader_runner_id"] is None
    assert decision["successor_runner_id"] is None
    assert decision["reason"]
    assert decision["outcome"] in {"keep", "vacate"}
