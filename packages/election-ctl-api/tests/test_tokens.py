"""Tokens over HTTP, and how they are remembered and forgotten."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from functools import partial

import anyio
import pytest
from typing_extensions import override

from api_world import World
from election_core import Token, TokenKind
from election_core.memory import MemoryStore

TOKENS = "/v1/tokens"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"kind": "operator"}, "/v1/tokens"),
        ({"kind": "viewer"}, "/v1/runner-groups"),
        ({"kind": "runner"}, "/v1/runner-groups/g"),
    ],
)
async def test_a_token_is_made_and_good_at_once(
    world: World, body: dict[str, str], path: str
) -> None:
    """A token is 201 with its secret, and lets its bearer in."""
    await world.group()
    member = await world.member(live=False)
    if body["kind"] == "runner":
        body = {**body, "runner_id": member.id}

    answer = await world.call("POST", TOKENS, body)

    assert answer.status_code == 201
    assert {"id", "token", "kind", "group_id", "runner_id", "created_at", "expires_at"} == set(
        answer.json()
    )
    await world.ok("GET", path, token=answer.json()["token"])


async def test_a_runner_token_is_of_its_runners_group(world: World) -> None:
    """The group of a runner token is its runner's; another one is refused."""
    await world.group()
    member = await world.member(live=False)

    token = await world.ok("POST", TOKENS, {"kind": "runner", "runner_id": member.id})
    assert (token["group_id"], token["runner_id"]) == ("g", member.id)
    other = {"kind": "runner", "runner_id": member.id, "group_id": "h"}
    assert (await world.refused("POST", TOKENS, other))["field"] == "group_id"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "root"}, "kind"),
        ({"kind": "join"}, "group_id"),
        ({"kind": "join", "group_id": "g", "runner_id": "r"}, "runner_id"),
        ({"kind": "runner"}, "runner_id"),
        ({"kind": "operator", "group_id": "g"}, "group_id"),
        ({"kind": "viewer", "runner_id": "r"}, "runner_id"),
        ({"kind": "viewer", "ttl_seconds": 0}, "ttl_seconds"),
        ({"kind": "viewer", "ttl_seconds": -1}, "ttl_seconds"),
        ({"kind": "viewer", "scope": "all"}, "scope"),
    ],
)
async def test_a_token_that_makes_no_sense_is_refused(
    world: World, body: object, field: str
) -> None:
    """What is wrong with a token is named."""
    problem = await world.refused("POST", TOKENS, body)

    assert (problem["code"], problem["field"]) == ("invalid", field)


@pytest.mark.parametrize(
    "body", [{"kind": "join", "group_id": "none"}, {"kind": "runner", "runner_id": "none"}]
)
async def test_a_token_for_nothing_is_not_found(world: World, body: object) -> None:
    """The group or runner of a token has to exist."""
    assert (await world.refused("POST", TOKENS, body))["code"] == "not-found"


async def test_tokens_are_listed_without_their_secrets(world: World) -> None:
    """The list names every token and no secret."""
    made = await world.ok("POST", TOKENS, {"kind": "viewer", "ttl_seconds": 60})

    answer = await world.call("GET", f"{TOKENS}?limit=500")

    assert made["token"] not in answer.text
    assert hashlib.sha256(made["token"].encode()).hexdigest() not in answer.text
    listed = {token["id"]: token for token in answer.json()["items"]}
    assert listed[made["id"]]["expires_at"] == made["expires_at"]
    assert all("token" not in token for token in listed.values())


async def test_a_revoked_token_is_refused_at_once(world: World) -> None:
    """Revoking is 204 and takes effect with the next call, though the token was just used."""
    made = await world.ok("POST", TOKENS, {"kind": "viewer"})
    path = "/v1/runner-groups"
    await world.ok("GET", path, token=made["token"])

    assert (await world.call("DELETE", f"{TOKENS}/{made['id']}")).status_code == 204

    assert (await world.refused("GET", path, token=made["token"]))["code"] == "unauthenticated"
    assert (await world.refused("DELETE", f"{TOKENS}/{made['id']}"))["code"] == "not-found"


async def test_an_expired_token_is_refused(world: World) -> None:
    """A token ends at its time by the store's clock, though it was just used."""
    made = await world.ok("POST", TOKENS, {"kind": "viewer", "ttl_seconds": 5})
    path = "/v1/runner-groups"
    await world.ok("GET", path, token=made["token"])

    world.clock.advance(seconds=5.1)

    assert (await world.refused("GET", path, token=made["token"]))["code"] == "unauthenticated"


async def test_the_tokens_of_a_deleted_group_end(world: World) -> None:
    """Deleting a group ends its tokens at once, also for a group made again under its id."""
    await world.group()
    member = await world.member()
    join = await world.token(TokenKind.JOIN, group_id="g")
    await world.ok("GET", "/v1/runner-groups/g", token=member.token)
    await world.ok("POST", "/v1/runner-groups/g/runners", {"name": "b"}, token=join)

    await world.ok("DELETE", "/v1/runner-groups/g?force")
    await world.group()

    for token, method, body in ((member.token, "GET", None), (join, "POST", {"name": "c"})):
        problem = await world.refused(method, "/v1/runner-groups/g/runners", body, token=token)
        assert problem["code"] == "unauthenticated"


async def test_the_store_never_sees_a_secret(world: World) -> None:
    """What is kept of a token is the digest of 256 random bits."""
    assert isinstance(world.store, MemoryStore)
    made = await world.ok("POST", TOKENS, {"kind": "viewer"})
    secret = made["token"]

    kept = await world.store.find_token(hashlib.sha256(secret.encode()).digest())

    assert isinstance(kept, Token)
    assert len(secret.removeprefix("elt_")) == 43
    assert secret not in repr(world.store)


class CountingStore(MemoryStore):
    """Counts how often tokens are looked up."""

    looked_up = 0

    @override
    async def find_token(self, digest: bytes) -> Token | None:
        """See the port."""
        type(self).looked_up += 1
        return await super().find_token(digest)


async def test_a_token_in_use_is_not_looked_up_each_time() -> None:
    """Calls that follow each other ask the store once for a token that does not expire."""
    from api_world import running

    async with running(CountingStore()) as world:
        lasting = await world.token(TokenKind.VIEWER)
        ending = await world.token(TokenKind.VIEWER, ttl=timedelta(hours=1))
        CountingStore.looked_up = 0
        for _ in range(5):
            await world.ok("GET", "/v1/runner-groups", token=lasting)
        assert CountingStore.looked_up == 1
        for _ in range(5):
            await world.ok("GET", "/v1/runner-groups", token=ending)
        assert CountingStore.looked_up == 6


class SlowStore(MemoryStore):
    """Lets look-ups of tokens go when it is told to, and knows the most that were there at once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.most = 0
        self.let_go = anyio.Event()

    @override
    async def find_token(self, digest: bytes) -> Token | None:
        """See the port."""
        self.asked += 1
        self.most = max(self.most, self.asked)
        await self.let_go.wait()
        self.asked -= 1
        return await super().find_token(digest)


async def test_a_fleet_that_starts_leaves_the_store_to_others() -> None:
    """However many tokens are presented for the first time, few look-ups are under way at once."""
    from api_world import running

    store = SlowStore()
    store.let_go.set()
    async with running(store) as world:
        tokens = [await world.token(TokenKind.VIEWER) for _ in range(12)]
        store.let_go = anyio.Event()
        async with anyio.create_task_group() as tasks:
            for token in tokens:
                tasks.start_soon(partial(world.ok, "GET", "/v1/runner-groups", token=token))
            await anyio.wait_all_tasks_blocked()
            at_once = store.asked
            store.let_go.set()

    assert at_once == store.most == 4
