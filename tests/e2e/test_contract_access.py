"""Who may call what: each kind of token against each route, expiry, revocation, and secrets."""

import pytest
from attrs import frozen

from tests.e2e.contract_client import Api, Group, Runner, fresh, settle, until


@frozen
class Plane:
    """Two groups with a leader each, and a token of every kind for the first."""

    group: Group
    other: Group
    runner: Runner
    mate: Runner
    stranger: Runner
    job: str
    other_job: str
    tokens: dict[str, str | None]


@pytest.fixture(scope="module")
def plane(api: Api) -> Plane:
    """Everything that the calls below name."""
    group, other = api.group(), api.group()
    runner, mate = group.runners(2)
    (stranger,) = other.runners(1)
    tokens: dict[str, str | None] = {"nobody": None, "nonsense": "nonsense"}
    tokens["runner"] = runner.token
    for kind, scope in (("operator", {}), ("viewer", {}), ("join", {"group_id": group.id})):
        tokens[kind] = api.post("/v1/tokens", {"kind": kind, **scope}).ok(201)["token"]
    return Plane(
        group=group,
        other=other,
        runner=runner,
        mate=mate,
        stranger=stranger,
        job=group.job()["id"],
        other_job=other.job()["id"],
        tokens=tokens,
    )


KINDS = ["nobody", "nonsense", "viewer", "join", "runner", "operator"]
VIEWERS = {"viewer", "operator"}
MEMBERS = {"viewer", "operator", "runner"}
OPERATORS = {"operator"}
OWN = {"operator", "runner"}

# A body that is wrong in itself shows whether the call was let in without its taking effect.
ROUTES: list[tuple[str, str, set[str]]] = [
    ("GET", "/v1/runner-groups", VIEWERS),
    ("POST", "/v1/runner-groups", OPERATORS),
    ("GET", "/v1/runner-groups/{group}", MEMBERS),
    ("PATCH", "/v1/runner-groups/{group}", OPERATORS),
    ("GET", "/v1/runner-groups/{group}/leader", MEMBERS),
    ("PUT", "/v1/runner-groups/{group}/leader", OPERATORS),
    ("GET", "/v1/runner-groups/{group}/explain", MEMBERS),
    ("GET", "/v1/runner-groups/{group}/events", MEMBERS),
    ("GET", "/v1/runner-groups/{group}/runners", MEMBERS),
    ("POST", "/v1/runner-groups/{group}/runners", {"operator", "join"}),
    ("GET", "/v1/runner-groups/{group}/jobs", MEMBERS),
    ("POST", "/v1/runner-groups/{group}/jobs", OPERATORS),
    ("GET", "/v1/jobs/{job}", MEMBERS),
    ("GET", "/v1/runners/{runner}", MEMBERS),
    ("GET", "/v1/runners/{mate}", MEMBERS),
    ("POST", "/v1/runners/{runner}/taint", OPERATORS),
    ("POST", "/v1/runners/{runner}/untaint", OPERATORS),
    ("POST", "/v1/runners/{runner}/drain", OPERATORS),
    ("POST", "/v1/runners/{runner}/undrain", OPERATORS),
    ("POST", "/v1/runners/{runner}/sessions", OWN),
    ("POST", "/v1/runners/{runner}/heart-beats", OWN),
    ("POST", "/v1/runners/{runner}/release", OWN),
    ("POST", "/v1/runners/{runner}/jobs/claim", OWN),
    ("POST", "/v1/jobs/{job}/settle", OWN),
    ("POST", "/v1/runners/{mate}/sessions", OPERATORS),
    ("POST", "/v1/runners/{mate}/heart-beats", OPERATORS),
    ("POST", "/v1/runners/{mate}/release", OPERATORS),
    ("POST", "/v1/runners/{mate}/jobs/claim", OPERATORS),
    ("POST", "/v1/tokens", OPERATORS),
    ("GET", "/v1/tokens", VIEWERS),
    ("GET", "/metrics", VIEWERS),
    # Another group than the runner's.
    ("GET", "/v1/runner-groups/{other}", VIEWERS),
    ("GET", "/v1/runner-groups/{other}/leader", VIEWERS),
    ("GET", "/v1/runner-groups/{other}/explain", VIEWERS),
    ("GET", "/v1/runner-groups/{other}/events", VIEWERS),
    ("GET", "/v1/runner-groups/{other}/runners", VIEWERS),
    ("GET", "/v1/runner-groups/{other}/jobs", VIEWERS),
    ("GET", "/v1/jobs/{other_job}", VIEWERS),
    ("GET", "/v1/runners/{stranger}", VIEWERS),
    ("POST", "/v1/runner-groups/{other}/runners", OPERATORS),
    ("POST", "/v1/runners/{stranger}/sessions", OPERATORS),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("method", "path", "allowed"), ROUTES)
def test_a_token_opens_what_its_kind_says(
    api: Api, plane: Plane, method: str, path: str, allowed: set[str], kind: str
) -> None:
    """401 without a token that counts, 403 with one of the wrong kind or scope, else let in."""
    where = path.format(
        group=plane.group.id,
        other=plane.other.id,
        runner=plane.runner.id,
        mate=plane.mate.id,
        stranger=plane.stranger.id,
        job=plane.job,
        other_job=plane.other_job,
    )
    raw = None if method == "GET" else b"["
    answer = api.as_(plane.tokens[kind]).call(method, where, raw=raw)
    if kind in {"nobody", "nonsense"}:
        answer.refused(401, "unauthenticated")
    elif kind not in allowed:
        answer.refused(403, "forbidden")
    else:
        assert answer.status in {200, 400}, answer


DELETIONS = [
    ("/v1/runner-groups/{group}?force=true", OPERATORS),
    ("/v1/runners/{runner}", OPERATORS),
    ("/v1/runners/{runner}/sessions/none", OWN),
    ("/v1/runners/{mate}/sessions/none", OPERATORS),
    ("/v1/tokens/none", OPERATORS),
]


@pytest.mark.parametrize("kind", [each for each in KINDS if each != "operator"])
@pytest.mark.parametrize(("path", "allowed"), DELETIONS)
def test_a_token_deletes_what_its_kind_says(
    api: Api, plane: Plane, path: str, allowed: set[str], kind: str
) -> None:
    """The same for deletions."""
    names = {"group": plane.group.id, "runner": plane.runner.id, "mate": plane.mate.id}
    answer = api.as_(plane.tokens[kind]).call("DELETE", path.format(**names))
    if kind in {"nobody", "nonsense"}:
        answer.refused(401, "unauthenticated")
    elif kind not in allowed:
        answer.refused(403, "forbidden")
    else:
        assert answer.status in {204, 404, 409}, answer


def test_a_viewer_may_ask_what_if(api: Api, plane: Plane) -> None:
    """What-if writes nothing, so it is a read."""
    for kind in ("viewer", "runner"):
        asked = api.as_(plane.tokens[kind]).post(f"{plane.group.path}/what-if", {"changes": []})
        assert asked.ok()["outcome"] == "keep"
    for kind in ("join",):
        asked = api.as_(plane.tokens[kind]).post(f"{plane.group.path}/what-if", {"changes": []})
        asked.refused(403, "forbidden")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic eDp5", "bearer {token}", "Bearer  {token}", "{token}"],
)
def test_only_a_bearer_token_counts(api: Api, header: str) -> None:
    """Schemes are compared without case (RFC 9110); anything else is 401."""
    value = header.format(token=api.token)
    answer = api.call("GET", "/v1/runner-groups", headers={"authorization": value})
    if header.lower().startswith("bearer") and "{token}" in header:
        assert answer.status in {200, 401}
    else:
        answer.refused(401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_expires(api: Api) -> None:
    """After `ttl_seconds` a token is as good as none."""
    made = api.post("/v1/tokens", {"kind": "viewer", "ttl_seconds": 1.5}).ok(201)
    assert made["expires_at"]
    viewer = api.as_(made["token"])
    viewer.get("/v1/runner-groups").ok()
    until(lambda: viewer.get("/v1/runner-groups").status == 401)
    viewer.get("/v1/runner-groups").refused(401, "unauthenticated")


def test_a_token_is_revoked(api: Api) -> None:
    """A deleted token ends at once; deleting it again finds nothing or changes nothing."""
    made = api.post("/v1/tokens", {"kind": "viewer"}).ok(201)
    viewer = api.as_(made["token"])
    viewer.get("/v1/runner-groups").ok()
    api.call("DELETE", f"/v1/tokens/{made['id']}").ok(204)
    viewer.get("/v1/runner-groups").refused(401, "unauthenticated")
    assert api.call("DELETE", f"/v1/tokens/{made['id']}").status in {204, 404}


def test_the_secret_is_shown_once(api: Api) -> None:
    """The list of tokens never has a secret, nor what a secret is stored as."""
    made = api.post("/v1/tokens", {"kind": "operator"}).ok(201)
    assert len(made["token"]) >= 43
    listed = api.get("/v1/tokens?limit=500").ok()["items"]
    (mine,) = [each for each in listed if each["id"] == made["id"]]
    assert mine == {name: value for name, value in made.items() if name != "token"}
    assert made["token"] not in api.get("/v1/tokens?limit=500").text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "king"},
        {"kind": "join"},
        {"kind": "runner"},
        {"kind": "viewer", "ttl_seconds": 0},
        {"kind": "viewer", "ttl_seconds": -1},
        {"kind": "viewer", "ttl_seconds": "1"},
        {"kind": "viewer", "ttl_seconds": 1e300},
        {"kind": "viewer", "zzz": 1},
    ],
)
def test_a_token_that_makes_no_sense_is_invalid(api: Api, body: object) -> None:
    """A kind, the scope it needs, and a time to live above zero."""
    api.post("/v1/tokens", body).refused(400, "invalid")


def test_a_token_for_what_is_not_there_is_not_made(api: Api) -> None:
    """The group or runner of a token must exist."""
    api.post("/v1/tokens", {"kind": "join", "group_id": "none"}).refused(404, "not-found")
    api.post("/v1/tokens", {"kind": "runner", "runner_id": "none"}).refused(404, "not-found")


def test_a_runner_token_can_be_made_and_ends_with_its_runner(api: Api) -> None:
    """An operator may make another token for a runner; without the runner it opens nothing."""
    runner = api.group().runner()
    made = api.post("/v1/tokens", {"kind": "runner", "runner_id": runner.id}).ok(201)
    api.as_(made["token"]).get(runner.path).ok()
    api.call("DELETE", runner.path).ok(204)
    assert api.as_(made["token"]).get(runner.path).status in {401, 403, 404}
    assert runner.own().get(runner.path).status in {401, 403, 404}


def test_a_mate_of_the_same_group_may_not_settle(api: Api) -> None:
    """A settlement is for who holds the claim token, with a token that may settle there."""
    group = api.group()
    runner, mate = group.runners(2)
    job = group.job()
    _, token = runner.claim_one(1)
    settle(api.as_(None), job["id"], token, "succeeded").refused(401, "unauthenticated")
    settle(mate.own(), job["id"], "guess", "succeeded").refused(409, "stale-claim")
    settle(runner.own(), job["id"], token, "succeeded").ok()


def test_registering_with_a_join_token(api: Api) -> None:
    """With `join` an existing runner is given only to who brings its `instance_key`."""
    group = api.group()
    made = api.post("/v1/tokens", {"kind": "join", "group_id": group.id}).ok(201)
    join = api.as_(made["token"])
    path = f"{group.path}/runners"
    name = fresh("joined")
    first = join.post(path, {"name": name, "instance_key": "mine"}).ok(201)
    again = join.post(path, {"name": name, "instance_key": "mine"}).ok(200)
    assert again["runner"]["id"] == first["runner"]["id"]
    assert again["token"] != first["token"]
    for token in (first["token"], again["token"]):
        api.as_(token).get(f"/v1/runners/{first['runner']['id']}").ok()
    join.post(path, {"name": name, "instance_key": "other"}).refused(409, "conflict")
    join.post(path, {"name": name}).refused(409, "conflict")
    api.post(path, {"name": name}).ok(200)
    assert "mine" not in api.get(path).text
    bare = fresh("bare")
    join.post(path, {"name": bare}).ok(201)
    join.post(path, {"name": bare}).refused(409, "conflict")
