"""Every route with every kind of token."""

from __future__ import annotations

from typing import Literal

import pytest

from api_world import Member, World
from election_core import TokenKind
from election_ctl_api._access import GRANTS, Access
from election_ctl_api._routes import OPERATIONS

Bearer = Literal[
    "operator", "viewer", "join", "other-join", "runner", "peer", "stranger", "deleted"
]

OPERATOR: frozenset[Bearer] = frozenset({"operator"})
READERS: frozenset[Bearer] = frozenset({"operator", "viewer"})
GROUP: frozenset[Bearer] = frozenset({"operator", "viewer", "runner", "peer"})
JOIN: frozenset[Bearer] = frozenset({"operator", "join"})
OWN: frozenset[Bearer] = frozenset({"operator", "runner"})
CLAIMANTS: frozenset[Bearer] = frozenset({"operator", "runner", "peer", "stranger", "deleted"})

# What every route lets in, written out by hand: the runner is that of the path, the peer another of
# its group, the stranger one of another group, the deleted one was of the group.
LET_IN: dict[str, frozenset[Bearer]] = {
    "POST /v1/runner-groups": OPERATOR,
    "GET /v1/runner-groups": READERS,
    "GET /v1/runner-groups/{group}": GROUP,
    "PATCH /v1/runner-groups/{group}": OPERATOR,
    "DELETE /v1/runner-groups/{group}": OPERATOR,
    "GET /v1/runner-groups/{group}/leader": GROUP,
    "PUT /v1/runner-groups/{group}/leader": OPERATOR,
    "GET /v1/runner-groups/{group}/explain": GROUP,
    "POST /v1/runner-groups/{group}/what-if": GROUP,
    "GET /v1/runner-groups/{group}/events": GROUP,
    "POST /v1/runner-groups/{group}/runners": JOIN,
    "GET /v1/runner-groups/{group}/runners": GROUP,
    "GET /v1/runners/{runner_id}": GROUP,
    "DELETE /v1/runners/{runner_id}": OPERATOR,
    "POST /v1/runners/{runner_id}/taint": OPERATOR,
    "POST /v1/runners/{runner_id}/untaint": OPERATOR,
    "POST /v1/runners/{runner_id}/drain": OPERATOR,
    "POST /v1/runners/{runner_id}/undrain": OPERATOR,
    "POST /v1/runners/{runner_id}/sessions": OWN,
    "POST /v1/runners/{runner_id}/heart-beats": OWN,
    "POST /v1/runners/{runner_id}/release": OWN,
    "DELETE /v1/runners/{runner_id}/sessions/{session_id}": OWN,
    "POST /v1/runner-groups/{group}/jobs": OPERATOR,
    "GET /v1/runner-groups/{group}/jobs": GROUP,
    "GET /v1/jobs/{job_id}": GROUP,
    "POST /v1/jobs/{job_id}/cancel": OPERATOR,
    "POST /v1/runners/{runner_id}/jobs/claim": OWN,
    "POST /v1/jobs/{job_id}/settle": CLAIMANTS,
    "POST /v1/tokens": OPERATOR,
    "GET /v1/tokens": READERS,
    "DELETE /v1/tokens/{token_id}": OPERATOR,
    "GET /metrics": READERS,
}
PUBLIC = {"GET /healthz", "GET /readyz", "GET /openapi.json", "GET /docs"}
BEARERS: tuple[Bearer, ...] = (
    "operator",
    "viewer",
    "join",
    "other-join",
    "runner",
    "peer",
    "stranger",
    "deleted",
)


async def _bearers(world: World) -> tuple[Member, dict[Bearer, str]]:
    """The runner of the path, and a token for each bearer."""
    await world.group("g")
    await world.group("h")
    runner, peer, gone = [await world.member(name, live=False) for name in "abc"]
    stranger = await world.member("a", "h", live=False)
    await world.ok("DELETE", f"/v1/runners/{gone.id}")
    return runner, {
        "operator": world.operator,
        "viewer": await world.token(TokenKind.VIEWER),
        "join": await world.token(TokenKind.JOIN, group_id="g"),
        "other-join": await world.token(TokenKind.JOIN, group_id="h"),
        "runner": runner.token,
        "peer": peer.token,
        "stranger": stranger.token,
        "deleted": gone.token,
    }


def test_the_table_names_every_route() -> None:
    """No route is missing from the table, and none is in it that does not exist."""
    routes = {f"{operation.method} {operation.path}" for operation in OPERATIONS}

    assert routes == set(LET_IN) | PUBLIC
    assert set(GRANTS) == set(Access)


@pytest.mark.parametrize("route", LET_IN)
async def test_a_route_lets_in_whom_it_should(world: World, route: str) -> None:
    """Each bearer gets exactly where the table says; what it sent is looked at only then."""
    runner, tokens = await _bearers(world)
    job = await world.job()
    method, path = route.split(" ")
    path = path.format(
        group="g", runner_id=runner.id, job_id=job["id"], session_id="s", token_id="none"
    )
    # A body that is wrong everywhere: who gets past the gate is told so, and changes nothing.
    content = None if method in ("GET", "DELETE") else b"nonsense"
    turned_away = set()
    for bearer in BEARERS:
        if method == "DELETE" and bearer in LET_IN[route] and "/sessions/" not in path:
            continue  # it would be carried out
        answer = await world.call(method, path, content=content, token=tokens[bearer])
        if answer.status_code == 403:
            assert answer.json()["code"] == "forbidden"
            turned_away.add(bearer)
        else:
            assert answer.status_code != 401
            if content is not None:
                assert answer.json()["code"] == "invalid"

    assert turned_away == set(BEARERS) - LET_IN[route]


INVALID = 'Bearer realm="election", error="invalid_token"'


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        (None, 'Bearer realm="election"'),
        (b"Bearer elt_wrong", INVALID),
        (b"Bearer", INVALID),
        (b"Bearer \xe4", INVALID),
        (b"Basic b3A6b3A=", INVALID),
    ],
)
async def test_nobody_gets_in_without_a_good_token(
    world: World, authorization: bytes | None, challenge: str
) -> None:
    """Without a good token every route is 401 with a challenge, whatever else is wrong."""
    headers = [] if authorization is None else [(b"Authorization", authorization)]
    async with world.client() as client:
        for route in LET_IN:
            method, path = route.split(" ")
            path = path.format(group="x", runner_id="x", job_id="x", session_id="x", token_id="x")
            answer = await client.request(
                method, f"{path}?limit=0", content=b"nonsense", headers=headers
            )

            assert answer.status_code == 401, route
            assert answer.json()["code"] == "unauthenticated"
            assert answer.headers["www-authenticate"] == challenge


@pytest.mark.parametrize("route", sorted(PUBLIC))
async def test_some_routes_need_no_token(world: World, route: str) -> None:
    """The public routes answer anybody, also with a token that is no good."""
    path = route.removeprefix("GET ")

    assert (await world.call("GET", path, token=None)).status_code == 200
    assert (await world.call("GET", path, token="elt_wrong")).status_code == 200


async def test_the_scheme_may_be_in_any_case(world: World) -> None:
    """`bearer` is the same scheme as `Bearer`."""
    async with world.client() as client:
        answer = await client.get(
            "/v1/tokens", headers={"Authorization": f"bEARER  {world.operator}"}
        )

    assert answer.status_code == 200


async def test_a_runner_sees_nothing_of_another_group(world: World) -> None:
    """A runner's token reads its own group alone, though what it asks for exists."""
    _, tokens = await _bearers(world)
    other = await world.job("h")
    stranger = (await world.ok("GET", "/v1/runner-groups/h/runners"))["items"][0]

    for path in (
        "/v1/runner-groups/h",
        "/v1/runner-groups/none",
        f"/v1/jobs/{other['id']}",
        f"/v1/runners/{stranger['id']}",
    ):
        assert (await world.refused("GET", path, token=tokens["runner"]))["code"] == "forbidden"
    assert (await world.refused("GET", "/v1/jobs/none", token=tokens["runner"]))["status"] == 404


async def test_the_history_names_who_did_it(world: World) -> None:
    """Events name an operator by its token's id and a runner by its own."""
    await world.group()
    member = await world.member(live=False)
    path = f"/v1/runners/{member.id}/sessions"
    await world.ok("POST", path, {"session_key": "k"}, token=member.token)

    events = (await world.ok("GET", "/v1/runner-groups/g/events"))["items"]
    actors = {event["kind"]: event["actor"] for event in events}

    tokens = (await world.ok("GET", "/v1/tokens"))["items"]
    (operator,) = [token["id"] for token in tokens if token["kind"] == "operator"]
    assert actors["group-created"] == f"operator:{operator}"
    assert actors["session-opened"] == f"runner:{member.id}"
