"""Sessions: opening, superseding, heartbeats, lapses, release and leaving."""

import time

import pytest

from tests.e2e.contract_client import Api, Later, Runner, fresh, until

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


def opened(runner: Runner, key: str, status: int, **more: object) -> dict[str, object]:
    """The standing of a session opened under this key."""
    body = {"session_key": key, **more}
    standing: dict[str, object] = runner.own().post(f"{runner.path}/sessions", body).ok(status)
    return standing


def test_a_standing_says_everything(api: Api) -> None:
    """All its fields, for a leader and for a standby."""
    group = api.group(lease_seconds=6)
    one, two = group.runner(), group.runner()
    leads, stands = one.open(), two.open()
    for standing in (leads, stands):
        assert standing.keys() >= STANDING
        assert standing["leader_runner_id"] == one.id
        assert standing["epoch"] == 1
        assert standing["heartbeat_seconds"] == 2
        assert 5 < standing["lease_remaining_seconds"] <= 6
        assert standing["step_down_in_seconds"] is None
        assert standing["cancel"] == []
        assert standing["store_time"].endswith(("Z", "+00:00"))
    assert (leads["role"], stands["role"]) == ("leader", "standby")
    assert leads["runner_id"] == one.id


def test_the_same_key_is_the_same_session(api: Api) -> None:
    """201, then 200 with the same session; after supersession the key is refused."""
    runner = api.group().runner()
    first = opened(runner, "k1", 201, version="1.2")
    again = opened(runner, "k1", 200)
    assert again["session_id"] == first["session_id"]
    assert (again["role"], again["epoch"]) == ("leader", 1)
    assert runner.view()["version"] == "1.2"
    opened(runner, "k2", 201)
    body = {"session_key": "k1"}
    runner.own().post(f"{runner.path}/sessions", body).refused(409, "session-superseded")


def test_a_session_is_ready_unless_it_says_otherwise(api: Api) -> None:
    """`ready` may be left out."""
    runner = api.group().runner()
    assert opened(runner, "k", 201)["role"] == "leader"
    assert runner.view()["status"] == "active"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"session_key": ""},
        {"session_key": None},
        {"session_key": 1},
        {"session_key": "k", "ready": "yes"},
        {"session_key": "k", "previous_session_id": 1},
        {"session_key": "k" * 10_000},
    ],
)
def test_a_session_needs_a_key(api: Api, body: object) -> None:
    """Types are checked even where unknown fields are ignored."""
    runner = api.group().runner()
    runner.own().post(f"{runner.path}/sessions", body).refused(400, "invalid")


def test_a_superseded_session_is_refused_everything(api: Api) -> None:
    """Beats, claims and release of a session that another superseded say so."""
    group = api.group(lease_seconds=2)
    runner = group.runner()
    old = runner.open()["session_id"]
    runner.open()
    new, runner.session = runner.session, old
    runner.try_beat().refused(409, "session-superseded")
    runner.claim(1).refused(409, "session-superseded")
    runner.claim().refused(409, "session-superseded")
    body = {"session_id": old, "epoch": 1}
    runner.own().post(f"{runner.path}/release", body).refused(409, "session-superseded")
    runner.own().call("DELETE", f"{runner.path}/sessions/{old}")
    runner.session = new
    runner.beat()


def test_supersession_waits_for_the_old_lease(api: Api) -> None:
    """Without naming the previous session nobody is granted before its lease has run out."""
    group = api.group(lease_seconds=2)
    one, two = group.runners(2)
    end = one.view()["lease_expires_at"]
    standing = one.open()
    assert (standing["role"], standing["epoch"]) == ("standby", 1)
    assert standing["leader_runner_id"] is None
    group.leader().refused(404, "no-leader")
    assert group.explain()["leader_runner_id"] is None
    assert group.view()["epoch"] == 1
    until(lambda: group.leader().status == 200, one, two)
    leader = group.leader().ok()
    assert (leader["runner"]["id"], leader["epoch"]) == (one.id, 2)
    assert leader["elected_at"] >= end


def test_naming_the_previous_session_leads_on_at_once(api: Api) -> None:
    """Who asserts that everything under the old session is gone is elected without waiting."""
    group = api.group()
    one, _ = group.runners(2)
    standing = one.open(previous_session_id=one.session)
    assert (standing["role"], standing["epoch"]) == ("leader", 2)


def test_a_previous_session_that_is_not_the_current_is_ignored(api: Api) -> None:
    """Neither refused nor believed: the barrier stands."""
    group = api.group(lease_seconds=2)
    runner = group.runner()
    older = runner.open()["session_id"]
    runner.open()
    until(lambda: group.leader().status == 200, runner)
    for previous in (older, "never-there"):
        standing = runner.open(previous_session_id=previous)
        assert standing["role"] == "standby"
        group.leader().refused(404, "no-leader")


def test_superseding_a_standby_disturbs_nobody(api: Api) -> None:
    """The barrier is for terms only."""
    group = api.group()
    one, two = group.runners(2)
    assert two.open()["role"] == "standby"
    assert one.beat()["role"] == "leader"
    one.leave()
    assert group.leader().ok()["runner"]["id"] == two.id


def test_an_unknown_session_is_refused(api: Api) -> None:
    """A session that never was, or is of another runner, renews nothing."""
    one, two = api.group().runners(2)
    two.session = one.session
    answer = two.try_beat()
    assert answer.status in {404, 409}, answer
    assert answer.body["code"] in {"session-ended", "not-found", "session-superseded"}
    two.session = "never-there"
    assert two.try_beat().status in {404, 409}


def test_a_lower_seq_changes_nothing(api: Api) -> None:
    """A heartbeat that was overtaken is answered and has no effect."""
    group = api.group()
    runner = group.runner()
    runner.open()
    runner.beat(seq=5, ready=True)
    before = runner.view()["lease_expires_at"]
    assert runner.beat(seq=4, ready=False)["role"] == "leader"
    assert runner.view()["status"] == "active"
    assert runner.view()["lease_expires_at"] == before
    runner.beat(seq=6, ready=False)
    assert runner.view()["status"] == "unready"
    assert runner.view()["lease_expires_at"] > before


def test_a_beat_that_says_nothing_of_ready_leaves_it(api: Api) -> None:
    """`ready` is kept until it is said again."""
    runner = api.group().runner()
    runner.open(ready=False)
    runner.beat()
    assert runner.view()["status"] == "unready"


def test_a_lapsed_leader_that_beats_again_leads_on(api: Api) -> None:
    """Alone, nothing was committed meanwhile or it is elected again; epochs never go back."""
    group = api.group(lease_seconds=1)
    (runner,) = group.runners(1)
    until(lambda: group.leader().status == 404)
    assert group.view()["leader_runner_id"] is None
    assert group.view()["epoch"] == 1
    standing = runner.beat()
    assert standing["epoch"] in {1, 2}
    until(lambda: runner.beat()["role"] == "leader")
    assert group.view()["epoch"] in {1, 2}


def test_a_lapsed_leader_that_was_replaced_is_a_standby(api: Api) -> None:
    """After the change a renewal keeps the session, not the term."""
    group = api.group(lease_seconds=1)
    one, two = group.runners(2)
    began = time.monotonic()
    until(lambda: group.leader().status == 200 and group.view()["epoch"] == 2, two)
    assert 0.9 < time.monotonic() - began < 1 + 1 + 1.5
    standing = one.beat()
    assert (standing["role"], standing["epoch"]) == ("standby", 2)
    assert standing["leader_runner_id"] == two.id


def test_a_release_elects_another_at_once(api: Api) -> None:
    """Who releases stands last in the decision that follows."""
    group = api.group()
    one, two = group.runners(2)
    standing = one.release(1)
    assert (standing["role"], standing["epoch"]) == ("standby", 2)
    assert standing["leader_runner_id"] == two.id
    assert two.release(2)["leader_runner_id"] == one.id
    assert group.view()["epoch"] == 3


def test_releasing_alone_elects_the_same_under_a_new_epoch(api: Api) -> None:
    """Every grant is a new epoch, also one to the same runner."""
    (runner,) = api.group().runners(1)
    standing = runner.release(1)
    assert (standing["role"], standing["epoch"]) == ("leader", 2)


def test_repeating_a_release_changes_nothing(api: Api) -> None:
    """The old epoch's release does not end the new term, nor does a standby's."""
    group = api.group()
    one, two = group.runners(2)
    one.release(1)
    for _ in range(2):
        assert one.release(1)["epoch"] == 2
        assert two.release(1)["role"] == "leader"
        assert one.release(2)["epoch"] == 2
    assert one.release(99)["epoch"] == 2
    assert group.leader().ok()["runner"]["id"] == two.id


def test_leaving_gives_leadership_up_first(api: Api) -> None:
    """204, at once another leads; leaving again is 204 too, beating is `session-ended`."""
    group = api.group()
    one, two = group.runners(2)
    one.leave()
    assert group.leader().ok()["runner"]["id"] == two.id
    one.leave()
    assert group.view()["epoch"] == 2
    one.try_beat().refused(409, "session-ended")
    one.claim().refused(409, "session-ended")
    assert one.view()["status"] == "offline"


def test_leaving_alone_leaves_no_barrier(api: Api) -> None:
    """A lease that its own session gave up is waited for by nobody; the epoch rises."""
    group = api.group()
    (runner,) = group.runners(1)
    runner.leave()
    group.leader().refused(404, "no-leader")
    assert group.view()["epoch"] == 1
    standing = runner.open()
    assert (standing["role"], standing["epoch"]) == ("leader", 2)


def test_a_heartbeat_waits_for_news(api: Api) -> None:
    """With `Prefer: wait` the answer is held until the role changes."""
    group = api.group(lease_seconds=12)
    one, two = group.runners(2)
    seen = two.beat()["standing_version"]
    waiting = Later(lambda: two.waiting_beat(3.5, seen=seen))
    one.leave()
    standing = waiting.result()
    assert standing["role"] == "leader"
    assert standing["standing_version"] > seen
    assert waiting.ended - waiting.started < 3


def test_a_heartbeat_takes_effect_on_arrival(api: Api) -> None:
    """The renewal is written at once; what was left is as of the write, though the answer waits."""
    group = api.group(lease_seconds=6)
    (runner,) = group.runners(1)
    before = runner.view()["lease_expires_at"]
    seen = runner.beat()["standing_version"]
    waiting = Later(lambda: runner.waiting_beat(2, seen=seen))
    until(lambda: runner.view()["lease_expires_at"] > before, within=1.5)
    assert waiting.pending
    standing = waiting.result()
    assert waiting.ended - waiting.started >= 1.5
    assert standing["lease_remaining_seconds"] > 5.5


def test_a_wait_is_no_longer_than_a_heartbeat(api: Api) -> None:
    """At most `heartbeat_seconds`, whatever is asked; without `Prefer` not at all."""
    group = api.group(lease_seconds=3)
    (runner,) = group.runners(1)
    seen = runner.beat()["standing_version"]
    began = time.monotonic()
    runner.waiting_beat(60, seen=seen)
    assert 0.5 < time.monotonic() - began < 2
    began = time.monotonic()
    runner.beat(seen=seen)
    assert time.monotonic() - began < 0.5


def test_an_old_seen_is_answered_at_once(api: Api) -> None:
    """News that the runner has not seen is news."""
    group = api.group(lease_seconds=12)
    one, two = group.runners(2)
    seen = two.beat()["standing_version"]
    one.leave()
    began = time.monotonic()
    assert two.waiting_beat(3.5, seen=seen)["role"] == "leader"
    assert time.monotonic() - began < 2


def test_another_leader_is_no_news(api: Api) -> None:
    """`standing_version` does not rise when another runner leads."""
    group = api.group()
    one, _, three = group.runners(3)
    seen = three.beat()["standing_version"]
    one.leave()
    standing = three.beat()
    assert standing["standing_version"] == seen
    assert standing["epoch"] == 2


def test_a_wait_ends_when_the_session_does(api: Api) -> None:
    """A held answer of a session that was superseded comes at once, as a refusal or an answer."""
    group = api.group(lease_seconds=12)
    one, two = group.runners(2)
    body = {"session_id": two.session, "seen": two.beat()["standing_version"]}
    path = f"{two.path}/heart-beats"
    waiting = Later(lambda: two.own().post(path, body, prefer="wait=3.5"))
    two.own().post(f"{two.path}/sessions", {"session_key": fresh("key")}).ok(201)
    answer = waiting.result()
    assert waiting.ended - waiting.started < 3
    answer.refused(409, "session-superseded")
    assert one.beat()["role"] == "leader"
