"""Groups: identity, settings, pages, deletion, and what stays when a group is deleted."""

import pytest

from tests.e2e.contract_client import Api, Group, Runner, fresh, until

DEFAULTS = {
    "lease_seconds": 15,
    "heartbeat_seconds": 5,
    "handover_timeout_seconds": 60,
    "policy": {
        "name": "oldest-active",
        "preempt": False,
        "stable_for_seconds": 30,
        "prefer_labels": {},
    },
    "tolerations": [],
    "retry_backoff_seconds": 1,
    "retention_days": 7,
}


def test_a_group_begins_with_the_defaults(api: Api) -> None:
    """A new group has the documented settings, no leader, no pin and no handover."""
    name = fresh("plain")
    made = api.post("/v1/runner-groups", {"id": name}).ok(201)
    assert made["id"] == name
    assert made["settings"] == DEFAULTS
    assert made["leader_runner_id"] is None
    assert made["pin"] is None
    assert made["handover"] is None
    assert isinstance(made["epoch"], int)
    assert api.get(f"/v1/runner-groups/{name}").ok() == made


def test_a_group_without_an_id_gets_one(api: Api) -> None:
    """The id is the caller's slug or generated, at most 64 characters."""
    one = api.post("/v1/runner-groups", {}).ok(201)["id"]
    two = api.post("/v1/runner-groups", {"settings": {}}).ok(201)["id"]
    assert one != two
    assert 0 < len(one) <= 64
    api.get(f"/v1/runner-groups/{one}").ok()
    assert api.post("/v1/runner-groups", {"id": None}).ok(201)["id"]


def test_the_same_group_again_is_the_same(api: Api) -> None:
    """Creating again with the same settings is 200, also when defaults are spelled out."""
    name = fresh("again")
    api.post("/v1/runner-groups", {"id": name, "settings": {"lease_seconds": 3}}).ok(201)
    api.post("/v1/runner-groups", {"id": name, "settings": {"lease_seconds": 3.0}}).ok(200)
    spelled = {**DEFAULTS, "lease_seconds": 3, "heartbeat_seconds": 1}
    again = api.post("/v1/runner-groups", {"id": name, "settings": spelled})
    assert again.status == 200, again
    api.post("/v1/runner-groups", {"id": name}).refused(409, "conflict")
    api.post("/v1/runner-groups", {"id": name, "settings": {"lease_seconds": 4}}).refused(
        409, "conflict"
    )


@pytest.mark.parametrize("name", ["a", "0", "a.b_c-d", "x" * 63, "9-"])
def test_slugs_name_groups(api: Api, name: str) -> None:
    """`[a-z0-9][a-z0-9._-]{0,62}` names a group."""
    api.post("/v1/runner-groups", {"id": name}).ok(201)
    api.get(f"/v1/runner-groups/{name}").ok()


@pytest.mark.parametrize(
    "name", ["", "A", "-a", ".a", "_", "x" * 64, "a b", "a/b", "ä", "a\n", 7, [], "a\u0000"]
)
def test_what_is_no_slug_is_invalid(api: Api, name: object) -> None:
    """Anything else is refused."""
    api.post("/v1/runner-groups", {"id": name}).refused(400, "invalid")


@pytest.mark.parametrize(
    "settings",
    [
        {"lease_seconds": 0.999},
        {"lease_seconds": 3600.5},
        {"lease_seconds": "15"},
        {"lease_seconds": True},
        {"lease_seconds": None},
        {"lease_seconds": 3, "heartbeat_seconds": 3},
        {"heartbeat_seconds": 0},
        {"heartbeat_seconds": -1},
        {"heartbeat_seconds": 15},
        {"handover_timeout_seconds": -0.1},
        {"handover_timeout_seconds": 1e300},
        {"policy": {"name": "youngest"}},
        {"policy": {"name": "oldest-active", "preempt": "yes"}},
        {"policy": {"name": "oldest-active", "stable_for_seconds": -1}},
        {"policy": {"name": "oldest-active", "prefer_labels": ["a"]}},
        {"policy": {"name": "oldest-active", "zzz": 1}},
        {"policy": "oldest-active"},
        {"tolerations": {}},
        {"tolerations": [{"operator": "like"}]},
        {"tolerations": [{"key": "a", "operator": "exists", "effect": "no-coffee"}]},
        {"tolerations": [{"key": "a", "operator": "exists", "zzz": 1}]},
        {"retry_backoff_seconds": -1},
        {"retry_backoff_seconds": 301},
        {"retention_days": -1},
        {"retention_days": 1e18},
        {"zzz": 1},
        [],
        "x",
    ],
)
def test_settings_have_bounds(api: Api, settings: object) -> None:
    """A setting out of its range or of another type is `invalid`, and nothing is made."""
    name = fresh("bounded")
    body = {"id": name, "settings": settings}
    api.post("/v1/runner-groups", body).refused(400, "invalid")
    api.get(f"/v1/runner-groups/{name}").refused(404, "not-found")
    group = api.group()
    api.call("PATCH", group.path, {"settings": settings}).refused(400, "invalid")
    assert group.view()["settings"] == DEFAULTS


@pytest.mark.parametrize(
    "settings",
    [
        {"lease_seconds": 1},
        {"lease_seconds": 3600},
        {"lease_seconds": 1.5, "heartbeat_seconds": 0.25},
        {"handover_timeout_seconds": 0},
        {"retry_backoff_seconds": 0.5},
        {"retention_days": 0.5},
        {"policy": {"name": "oldest-active", "preempt": True, "stable_for_seconds": 0.5}},
        {"policy": {"name": "oldest-active", "prefer_labels": {"zone": "a"}}},
        {"tolerations": [{"operator": "exists"}]},
        {"tolerations": [{"key": "k", "operator": "equal", "value": "v", "effect": "no-lead"}]},
    ],
)
def test_settings_may_be_at_the_bounds_and_fractions(api: Api, settings: dict[str, object]) -> None:
    """The bounds belong to the range, and fractions are allowed."""
    got = api.group(**settings).view()["settings"]
    for name, value in settings.items():
        if isinstance(value, dict):
            assert value.items() <= got[name].items()
        elif isinstance(value, list):
            assert value[0].items() <= got[name][0].items()
        else:
            assert got[name] == value


def test_patch_merges_at_the_top_level(api: Api) -> None:
    """A setting that is given replaces the old one whole; the others stay."""
    policy = {"name": "oldest-active", "preempt": True, "stable_for_seconds": 7}
    group = api.group(lease_seconds=6, policy=policy)
    changed = group.patch(policy={"name": "oldest-active", "stable_for_seconds": 8}).ok()
    assert changed["settings"]["lease_seconds"] == 6
    assert changed["settings"]["policy"] == {**DEFAULTS["policy"], "stable_for_seconds": 8}  # type: ignore[dict-item]
    assert group.view() == changed
    assert group.patch().ok() == changed
    group.api.call("PATCH", group.path, {}).refused(400, "invalid")


def test_a_heartbeat_not_chosen_follows_the_lease(api: Api) -> None:
    """`heartbeat_seconds` is a third of the lease until chosen, and stays less than the lease."""
    group = api.group(lease_seconds=6)
    assert group.patch(lease_seconds=9).ok()["settings"]["heartbeat_seconds"] == 3
    assert group.patch(heartbeat_seconds=8).ok()["settings"]["heartbeat_seconds"] == 8
    group.patch(lease_seconds=8).refused(400, "invalid")
    assert group.view()["settings"]["lease_seconds"] == 9


def test_a_new_lease_applies_from_the_next_renewal(api: Api) -> None:
    """A changed lease length changes no lease that runs; the next renewal has it."""
    group = api.group(lease_seconds=10)
    runner = group.runner()
    runner.open()
    before = runner.view()["lease_expires_at"]
    group.patch(lease_seconds=30).ok()
    assert runner.view()["lease_expires_at"] == before
    assert runner.beat()["lease_remaining_seconds"] > 29
    group.patch(lease_seconds=5).ok()
    assert runner.view()["lease_expires_at"] > before


def test_pages_of_groups_hold_every_group_once(api: Api) -> None:
    """Pages are ordered by an immutable key and end with a null cursor."""
    made = {api.group().id for _ in range(7)}
    seen: list[str] = []
    path = "/v1/runner-groups?limit=3"
    while path:
        page = api.get(path).ok()
        assert len(page["items"]) <= 3
        seen += [each["id"] for each in page["items"]]
        cursor = page["next_cursor"]
        path = f"/v1/runner-groups?limit=3&cursor={cursor}" if cursor else ""
    assert len(seen) == len(set(seen))
    assert made <= set(seen)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "limit=-1", "limit=", "cursor=%ff"]
)
@pytest.mark.parametrize("where", ["", "/{group}/runners", "/{group}/jobs", "/{group}/events"])
def test_pages_have_limits(api: Api, where: str, query: str) -> None:
    """A limit outside 1 to 500 and a malformed cursor are `invalid`."""
    if where.endswith("events"):
        query = query.replace("cursor=%ff", "after=zzz")
    path = "/v1/runner-groups" + where.format(group=api.group().id)
    api.get(f"{path}?{query}").refused(400, "invalid")


@pytest.mark.parametrize("where", ["", "/{group}/runners", "/{group}/jobs"])
def test_a_malformed_cursor_is_invalid(api: Api, where: str) -> None:
    """Whatever is wrong with it."""
    path = "/v1/runner-groups" + where.format(group=api.group().id)
    for cursor in ("zzz", "AAAA", "!!!", "MQ==", "9" * 400, "%00", "e30"):
        api.get(f"{path}?cursor={cursor}").refused(400, "invalid")
    api.get(f"{path}?limit=500").ok()


def test_a_group_with_live_sessions_is_deleted_only_by_force(api: Api) -> None:
    """409 while sessions live, unless forced; then everything of it is gone."""
    group = api.group()
    (runner,) = group.runners(1)
    job = group.job()
    api.call("DELETE", group.path).refused(409, "conflict")
    api.call("DELETE", f"{group.path}?force=false").refused(409, "conflict")
    api.call("DELETE", f"{group.path}?force=zzz").refused(400, "invalid")
    api.call("DELETE", f"{group.path}?force=true").ok(204)
    for path in (group.path, runner.path, f"{group.path}/leader", f"/v1/jobs/{job['id']}"):
        api.get(path).refused(404, "not-found")
    assert runner.try_beat().status in {401, 404, 409}
    api.call("DELETE", group.path).refused(404, "not-found")


def test_a_group_without_live_sessions_is_deleted(api: Api) -> None:
    """Once all have left, or their leases ran out, no force is needed."""
    group = api.group(lease_seconds=1)
    left, silent = group.runners(2)
    left.leave()
    assert silent.view()["status"] == "active"
    api.call("DELETE", group.path).refused(409, "conflict")
    until(lambda: api.call("DELETE", group.path).status == 204)


def _recreated(group: Group) -> Runner:
    api = group.api
    api.post("/v1/runner-groups", {"id": group.id, "settings": {"lease_seconds": 2}}).ok(201)
    return group.runner()


def test_a_group_created_again_goes_on_from_its_epoch_and_barrier(api: Api) -> None:
    """Deletion keeps the last epoch and the barrier: no grant before the old lease has run out."""
    group = api.group(lease_seconds=2)
    (old,) = group.runners(1)
    for _ in range(3):
        old.release(group.view()["epoch"])
    epoch = old.beat()["epoch"]
    assert epoch == 4
    end = old.view()["lease_expires_at"]
    api.call("DELETE", f"{group.path}?force=true").ok(204)
    new = _recreated(group)
    assert group.view()["epoch"] == epoch
    assert new.open()["role"] == "standby"
    group.leader().refused(404, "no-leader")
    until(lambda: group.leader().status == 200, new)
    leader = group.leader().ok()
    assert leader["epoch"] == epoch + 1
    assert leader["elected_at"] >= end


def test_tokens_end_with_their_group(api: Api) -> None:
    """Deleting a group ends its tokens, also for the group that is made after it."""
    group = api.group()
    runner = group.runner()
    join = api.post("/v1/tokens", {"kind": "join", "group_id": group.id}).ok(201)
    api.call("DELETE", group.path).ok(204)
    _recreated(group)
    runner.own().get(group.path).refused(401, "unauthenticated")
    body = {"name": "n"}
    api.as_(join["token"]).post(f"{group.path}/runners", body).refused(401, "unauthenticated")
    assert join["id"] not in {each["id"] for each in api.get("/v1/tokens?limit=500").ok()["items"]}
