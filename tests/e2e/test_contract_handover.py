"""Handover: drain, deadlines, vacating, and what a leader may do while it steps down."""

import time

import pytest

from tests.e2e.contract_client import Api, Later, settle, until


def test_drain_hands_over_and_lasts(api: Api) -> None:
    """A drained leader steps down and stays out, over a new session too, until undrain."""
    group = api.group()
    one, two = group.runners(2)
    view = one.do("drain", reason="upgrade")
    assert (view["status"], view["role"]) == ("draining", "stepping-down")
    assert group.explain()["successor_runner_id"] == two.id
    one.release(1)
    assert group.leader().ok()["runner"]["id"] == two.id
    one.open(previous_session_id=one.session)
    assert one.view()["status"] == "draining"
    two.leave()
    group.leader().refused(404, "no-leader")
    assert one.do("undrain")["role"] == "leader"
    assert one.do("undrain")["status"] == "active"


def test_undrain_cancels_the_handover(api: Api) -> None:
    """Under the same epoch."""
    one, _ = api.group().runners(2)
    one.do("drain")
    assert one.beat()["role"] == "stepping-down"
    one.do("undrain")
    standing = one.beat()
    assert (standing["role"], standing["epoch"]) == ("leader", 1)


def test_the_drain_timeout_replaces_the_group_s(api: Api) -> None:
    """For this handover, `timeout_seconds` is the deadline."""
    one, _ = api.group(handover_timeout_seconds=60).runners(2)
    one.do("drain", timeout_seconds=20)
    assert 18 < one.beat()["step_down_in_seconds"] <= 20


@pytest.mark.parametrize("timeout", [-1, "1", True, 1e300])
def test_a_timeout_that_makes_no_sense_is_invalid(api: Api, timeout: object) -> None:
    """Durations are numbers from 0."""
    runner = api.group().runner()
    body = {"timeout_seconds": timeout}
    api.post(f"{runner.path}/drain", body).refused(400, "invalid")


def test_past_the_deadline_the_session_lives_and_the_term_ends(api: Api) -> None:
    """Heartbeats past the deadline are 200, `stepping-down`, and extend the session only."""
    group = api.group(lease_seconds=2, handover_timeout_seconds=1)
    one, two = group.runners(2)
    began = time.monotonic()
    one.do("taint")
    roles: list[str] = []
    remaining: list[float] = []

    def look() -> bool:
        standing = one.beat()
        roles.append(standing["role"])
        if standing["role"] == "stepping-down":
            remaining.append(standing["lease_remaining_seconds"])
            assert standing["leader_runner_id"] in {one.id, None}
        return bool(two.beat()["role"] == "leader")

    until(look)
    took = time.monotonic() - began
    assert 2.5 < took < 1 + 2 + 1 + 1.5
    assert set(roles) <= {"stepping-down", "standby"}
    assert remaining[0] > 1.5
    assert remaining[-1] < 1.2
    assert one.view()["status"] == "active"
    assert group.leader().ok()["epoch"] == 2


def test_a_deadline_of_zero_is_at_once(api: Api) -> None:
    """With `handover_timeout_seconds` 0 the term is not extended from the start."""
    group = api.group(lease_seconds=2, handover_timeout_seconds=0)
    one, two = group.runners(2)
    end = group.leader().ok()["lease_expires_at"]
    one.do("drain")
    until(lambda: two.beat()["role"] == "leader", one)
    leader = group.leader().ok()
    assert leader["elected_at"] >= end
    assert leader["epoch"] == 2


def test_a_leader_that_must_go_without_successor_vacates(api: Api) -> None:
    """Told `vacate`, it steps down; its release leaves the group without a leader."""
    group = api.group()
    (one,) = group.runners(1)
    one.do("taint")
    decision = group.explain()
    assert (decision["outcome"], decision["successor_runner_id"]) == ("vacate", None)
    assert one.beat()["role"] == "stepping-down"
    standing = one.release(1)
    assert (standing["role"], standing["epoch"]) == ("standby", 1)
    group.leader().refused(404, "no-leader")


def test_a_pin_without_successor_left_is_cancelled(api: Api) -> None:
    """If the pinned runner goes before the handover, the incumbent leads on."""
    group = api.group()
    one, two = group.runners(2)
    group.pin(two.id).ok(202)
    assert one.beat()["role"] == "stepping-down"
    two.leave()
    standing = one.beat()
    assert (standing["role"], standing["epoch"]) == ("leader", 1)


def test_the_successor_is_chosen_at_the_release(api: Api) -> None:
    """If the named successor goes meanwhile, the next best follows."""
    group = api.group()
    one, two, three = group.runners(3)
    one.do("taint")
    assert group.explain()["successor_runner_id"] == two.id
    two.leave()
    assert group.explain()["successor_runner_id"] == three.id
    assert one.release(1)["leader_runner_id"] == three.id


def test_the_leader_learns_at_once(api: Api) -> None:
    """A held heartbeat is answered when the handover begins and when it is cancelled."""
    group = api.group(lease_seconds=12)
    one, _ = group.runners(2)
    seen = one.beat()["standing_version"]
    waiting = Later(lambda: one.waiting_beat(3.5, seen=seen))
    one.do("taint")
    told = waiting.result()
    assert told["role"] == "stepping-down"
    assert waiting.ended - waiting.started < 3
    waiting = Later(lambda: one.waiting_beat(3.5, seen=told["standing_version"]))
    one.do("untaint")
    assert waiting.result()["role"] == "leader"
    assert waiting.ended - waiting.started < 3


def test_who_steps_down_finishes_and_claims_nothing_more(api: Api) -> None:
    """Claims are refused with `stepping-down`; settlements still count."""
    group = api.group()
    one, two = group.runners(2)
    first, second = group.job(), group.job()
    _, token = one.claim_one(1)
    one.do("drain")
    one.claim(1).refused(409, "stepping-down")
    assert settle(one.own(), first["id"], token, "succeeded").ok()["state"] == "succeeded"
    one.release(1)
    job, _ = two.claim_one(2)
    assert job["id"] == second["id"]


def test_addressed_jobs_go_on_while_draining(api: Api) -> None:
    """A drained runner claims and settles what is addressed to it, also past the deadline."""
    group = api.group(lease_seconds=2, handover_timeout_seconds=0)
    one, two = group.runners(2)
    one.do("drain")
    job = group.job(runner_id=one.id)
    claimed, token = one.claim_one()
    assert claimed["id"] == job["id"]
    until(lambda: two.beat()["role"] == "leader", one)
    assert settle(one.own(), job["id"], token, "succeeded").ok()["state"] == "succeeded"
    group.job(runner_id=one.id)
    one.claim_one()


def test_jobs_in_hand_return_when_the_term_ends(api: Api) -> None:
    """What a stepping-down leader holds at its release goes back to the queue uncounted."""
    group = api.group()
    one, two = group.runners(2)
    job = group.job(max_attempts=1)
    _, token = one.claim_one(1)
    one.do("drain")
    one.release(1)
    settle(one.own(), job["id"], token, "succeeded").refused(409, "stale-claim")
    again, fresh_token = two.claim_one(2)
    assert (again["id"], again["attempts"]) == (job["id"], 1)
    settle(two.own(), job["id"], fresh_token, "succeeded").ok()


def test_a_handover_is_shown(api: Api) -> None:
    """The group shows the handover and its deadline while it lasts."""
    group = api.group(handover_timeout_seconds=30)
    one, two = group.runners(2)
    assert group.view()["handover"] is None
    group.pin(two.id).ok(202)
    assert isinstance(group.view()["handover"], dict)
    assert group.view()["leader_runner_id"] == one.id
    assert group.leader().ok()["runner"]["role"] == "stepping-down"
    one.release(1)
    assert group.view()["handover"] is None
