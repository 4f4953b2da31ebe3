"""The history over HTTP, in pages and as a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from attrs import define
from typing_extensions import override

from api_world import World, listening, problem_of, running
from election_core import CursorExpired, Event
from election_core.memory import MemoryStore
from election_ctl_api import _events

EVENTS = "/v1/runner-groups/g/events"


async def test_events_come_in_pages(world: World) -> None:
    """Pages go on behind `after`, or by their cursor, to the end."""
    await world.group()
    await world.member("a")
    everything = (await world.ok("GET", EVENTS))["items"]

    found: list[Any] = []
    page = await world.ok("GET", f"{EVENTS}?limit=2")
    while True:
        found += page["items"]
        if page["next_cursor"] is None:
            break
        page = await world.ok("GET", f"{EVENTS}?limit=2&cursor={page['next_cursor']}")
    behind = await world.ok("GET", f"{EVENTS}?after={everything[1]['id']}")

    assert found == everything
    assert behind["items"] == everything[2:]
    assert [event["kind"] for event in everything] == [
        "group-created",
        "runner-registered",
        "session-opened",
        "elected",
    ]
    assert set(everything[0]) == {
        "id",
        "group_id",
        "at",
        "kind",
        "epoch",
        "runner_id",
        "reason",
        "actor",
        "data",
    }


async def test_a_page_that_is_just_full_is_the_last(world: World) -> None:
    """There is a cursor only where there is more."""
    await world.group()

    assert (await world.ok("GET", f"{EVENTS}?limit=1"))["next_cursor"] is None


@pytest.mark.parametrize("name", ["after", "cursor"])
@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "9" * 30])
async def test_a_malformed_position_is_named(world: World, name: str, value: str) -> None:
    """A position that no event can have is invalid."""
    await world.group()

    assert (await world.refused("GET", f"{EVENTS}?{name}={value}"))["field"] == name


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "9" * 30])
async def test_a_malformed_position_of_a_stream_is_named(world: World, value: str) -> None:
    """Before the stream begins, while there is a status to say it with."""
    await world.group()

    stream = {"Accept": "text/event-stream", "Last-Event-ID": value}
    assert (await world.refused("GET", EVENTS, headers=stream))["field"] == "Last-Event-ID"


class ForgetfulStore(MemoryStore):
    """Has pruned its first events."""

    @override
    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        """See the port."""
        if after is not None and after < 2:
            raise CursorExpired("pruned")
        return await super().events(group_id, after=after, limit=limit)


async def test_a_position_that_is_not_kept_is_gone() -> None:
    """A position before what is kept is 410, for a stream before it begins."""
    async with running(ForgetfulStore()) as world:
        await world.group()
        for headers in ({}, {"Accept": "text/event-stream"}):
            found = await world.refused("GET", f"{EVENTS}?after=1", headers=headers)
            assert (found["status"], found["code"]) == (410, "cursor-expired")


@define
class Stream:
    """A stream of events that is read."""

    answer: httpx.Response
    lines: AsyncIterator[str]

    async def next(self) -> dict[str, str]:
        """The fields of the next event."""
        found: dict[str, str] = {}
        with anyio.fail_after(5):
            async for line in self.lines:
                if not line and found:
                    return found
                name, _, value = line.partition(": ")
                if name:
                    found[name] = value
        raise EOFError

    async def ended(self) -> bool:
        """Whether nothing more comes."""
        with anyio.fail_after(5):
            async for line in self.lines:
                if line and not line.startswith(":"):
                    return False
        return True


@asynccontextmanager
async def following(
    world: World, path: str = EVENTS, *, token: str = "", **headers: str
) -> AsyncIterator[Stream]:
    """A stream that is open."""
    async with (
        world.client(token or world.operator) as client,
        client.stream(
            "GET",
            path,
            headers={"Accept": "text/event-stream"}
            | {name.replace("_", "-"): value for name, value in headers.items()},
        ) as answer,
    ):
        yield Stream(answer, answer.aiter_lines())


async def test_a_stream_tells_what_was_and_what_happens() -> None:
    """A stream begins with what is kept and goes on live, each event with id, kind and JSON."""
    async with listening() as world:
        await world.group()
        async with following(world) as stream:
            assert stream.answer.status_code == 200
            assert stream.answer.headers["content-type"] == "text/event-stream"
            assert stream.answer.headers["election-api"] == "1.0"
            first = await stream.next()
            member = await world.member(live=False)
            second = await stream.next()

        kept = (await world.ok("GET", EVENTS))["items"]
        assert [first["id"], second["id"]] == [str(event["id"]) for event in kept]
        assert first["event"] == "group-created"
        assert second["event"] == "runner-registered"
        assert json.loads(second["data"]) == kept[1]
        assert kept[1]["runner_id"] == member.id


@pytest.mark.parametrize("by", ["header", "after", "both"])
async def test_a_stream_resumes_behind_an_event(by: str) -> None:
    """`Last-Event-ID` or `after` say where to go on; the header comes first."""
    async with listening() as world:
        await world.group()
        await world.member("a")
        kept = (await world.ok("GET", EVENTS))["items"]
        known = str(kept[1]["id"])
        headers = {} if by == "after" else {"Last_Event_ID": known}
        query = {"header": "", "after": f"?after={known}", "both": "?after=0"}[by]

        async with following(world, EVENTS + query, **headers) as stream:
            assert (await stream.next())["id"] == str(kept[2]["id"])


async def test_a_stream_of_no_group_is_refused(world: World) -> None:
    """A group that is not there has no stream."""
    headers = {"Accept": "text/event-stream"}

    assert (await world.refused("GET", EVENTS, headers=headers))["code"] == "not-found"


async def test_a_quiet_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments keep a stream open while nothing happens."""
    monkeypatch.setattr(_events, "KEEP_ALIVE", 0.05)
    async with listening() as world:
        await world.group()
        async with following(world) as stream:
            await stream.next()
            comments = 0
            with anyio.fail_after(5):
                async for line in stream.lines:
                    comments += line == ": still here"
                    if comments == 3:
                        break


async def test_a_stream_ends_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not read any more is cut off."""
    monkeypatch.setattr(_events, "KEEP_ALIVE", 0.05)
    async with listening() as world:
        await world.group()
        viewer = await world.ok("POST", "/v1/tokens", {"kind": "viewer"})
        async with following(world, token=viewer["token"]) as stream:
            await stream.next()
            await world.ok("DELETE", f"/v1/tokens/{viewer['id']}")
            assert await stream.ended()


async def test_a_runner_follows_its_own_group() -> None:
    """A runner's token opens a stream of its group and of no other."""
    async with listening() as world:
        await world.group()
        await world.group("h")
        member = await world.member(live=False)
        async with following(world, token=member.token) as stream:
            assert (await stream.next())["event"] == "group-created"
        async with following(world, "/v1/runner-groups/h/events", token=member.token) as stream:
            await stream.answer.aread()
            assert problem_of(stream.answer)["code"] == "forbidden"


async def test_a_client_that_reads_nothing_is_cut(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream whose client takes nothing is given up, and counts as open no longer."""
    monkeypatch.setattr(_events, "PATIENCE", 0.1)
    await world.group()
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": EVENTS,
        "raw_path": EVENTS.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"accept", b"text/event-stream"),
            (b"authorization", f"Bearer {world.operator}".encode()),
        ],
    }
    sent: list[str] = []

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if len(sent) > 2:
            await anyio.sleep_forever()  # its buffers are full

    assert world.app is not None
    with anyio.fail_after(5):
        await world.app(scope, receive, send)

    assert sent == ["http.response.start", "http.response.body", "http.response.body"]
    assert "election_event_streams 0.0" in (await world.call("GET", "/metrics")).text
