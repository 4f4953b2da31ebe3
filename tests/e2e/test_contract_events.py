"""The history of a group: pages, the live stream, and where it resumes."""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from attrs import define, field

from tests.e2e.contract_client import Api, Group, until

EVENT = {"id", "group_id", "at", "kind", "epoch", "runner_id", "reason", "actor", "data"}


@define
class Stream:
    """An open event stream: what came so far."""

    connection: http.client.HTTPConnection
    wire: socket.socket
    answer: http.client.HTTPResponse
    messages: list[dict[str, str]] = field(factory=list)
    comments: list[str] = field(factory=list)

    def read(self) -> None:
        """Gather messages until the stream ends."""
        message: dict[str, str] = {}
        try:
            while line := self.answer.readline().decode():
                text = line.rstrip("\r\n")
                name, _, value = text.partition(":")
                if text and name:
                    message[name] = message.get(name, "") + value.removeprefix(" ")
                elif name == "" and text:
                    self.comments.append(text)
                elif message:
                    self.messages.append(message)
                    message = {}
        except (OSError, ValueError, AttributeError):
            return

    @property
    def events(self) -> list[dict[str, object]]:
        """The events of the messages."""
        return [json.loads(each["data"]) for each in self.messages if "data" in each]

    def end(self) -> None:
        """Close it."""
        with contextlib.suppress(OSError):
            self.wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it."""
        self.answer.close()
        self.connection.close()


@pytest.fixture
def streams(api: Api) -> Iterator["Opener"]:
    """Opens streams and closes them afterwards."""
    opener = Opener(api)
    yield opener
    opener.end()


@define
class Opener:
    """Streams that are open."""

    api: Api
    opened: list[tuple[Stream, threading.Thread]] = field(factory=list)

    def open(self, path: str, **headers: str) -> Stream:
        """Open one."""
        connection = http.client.HTTPConnection(urlsplit(self.api.url).netloc, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"Accept": "text/event-stream", "Authorization": f"Bearer {self.api.token}"}
        connection.request("GET", path, headers=sent)
        wire = connection.sock
        assert isinstance(wire, socket.socket)
        stream = Stream(connection, wire, connection.getresponse())
        thread = threading.Thread(target=stream.read, daemon=True)
        thread.start()
        self.opened.append((stream, thread))
        return stream

    def end(self) -> None:
        """Close them all."""
        for stream, thread in self.opened:
            stream.end()
            thread.join(5)
            stream.close()


def busy(api: Api) -> Group:
    """A group with some history."""
    group = api.group()
    one, two = group.runners(2)
    one.do("taint", owner="ann", reason="laptop")
    one.release(1)
    one.do("untaint", owner="ann")
    group.pin(one.id, reason="back").ok(202)
    two.release(2)
    return group


def test_an_event_says_everything(api: Api) -> None:
    """All its fields; ids rise; the actor is told; epochs rise along."""
    events = busy(api).events()
    assert all(each.keys() >= EVENT for each in events)
    ids = [each["id"] for each in events]
    assert ids == sorted(set(ids))
    assert {each["group_id"] for each in events} == {events[0]["group_id"]}
    epochs = [each["epoch"] for each in events]
    assert epochs == sorted(epochs)
    assert epochs[-1] == 3
    assert "laptop" in {each["reason"] for each in events}
    assert all(each["actor"] for each in events)


def test_pages_of_events_hold_every_event_once(api: Api) -> None:
    """`after` and `limit`, and the cursor that goes on."""
    group = busy(api)
    events = group.events()
    seen: list[object] = []
    path = f"{group.path}/events?limit=3"
    while path:
        page = api.get(path).ok()
        seen += page["items"]
        assert len(page["items"]) <= 3
        cursor = page["next_cursor"]
        path = f"{group.path}/events?limit=3&after={cursor}" if cursor else ""
    assert seen == events
    after = api.get(f"{group.path}/events?after={events[2]['id']}").ok()["items"]
    assert after == events[3:]
    assert api.get(f"{group.path}/events?after={events[-1]['id']}").ok()["items"] == []


@pytest.mark.parametrize("query", ["after=x", "after=-1", "after=1.5", "limit=0", "limit=501"])
def test_a_malformed_position_is_invalid(api: Api, query: str) -> None:
    """Positions are ids."""
    api.get(f"{api.group().path}/events?{query}").refused(400, "invalid")


def test_a_stream_tells_what_was_and_what_comes(api: Api, streams: Opener) -> None:
    """From the oldest kept event on, live, each with its id."""
    group = busy(api)
    stream = streams.open(f"{group.path}/events")
    assert stream.answer.status == 200
    assert stream.answer.headers["content-type"].startswith("text/event-stream")
    assert stream.answer.headers["election-api"].startswith("1.")
    before = group.events()
    until(lambda: len(stream.events) >= len(before))
    assert stream.events == before
    group.runner()
    after = group.events()
    assert len(after) > len(before)
    until(lambda: len(stream.events) >= len(after), within=5)
    assert stream.events == after
    assert [each["id"] for each in stream.messages if "data" in each] == [
        str(each["id"]) for each in after
    ]


def test_a_stream_resumes_at_the_last_event(api: Api, streams: Opener) -> None:
    """`Last-Event-ID` is the last that the client has; `after` says the same."""
    group = busy(api)
    events = group.events()
    position = events[3]["id"]
    by_header = streams.open(f"{group.path}/events", Last_Event_ID=str(position))
    by_query = streams.open(f"{group.path}/events?after={position}")
    both = streams.open(f"{group.path}/events?after=0", Last_Event_ID=str(position))
    for stream in (by_header, by_query, both):
        until(lambda stream=stream: len(stream.events) >= len(events) - 4)  # type: ignore[misc]
        assert stream.events == events[4:]


def test_a_stream_is_of_its_group(api: Api, streams: Opener) -> None:
    """Other groups' events are not in it."""
    group, other = busy(api), busy(api)
    stream = streams.open(f"{group.path}/events", Last_Event_ID=str(group.events()[-1]["id"]))
    other.runner()
    group.runner()
    until(lambda: stream.events)
    assert {each["group_id"] for each in stream.events} == {group.id}


def test_a_malformed_last_event_is_no_defect(api: Api, streams: Opener) -> None:
    """It is refused as a problem, not as a stream that breaks."""
    group = api.group()
    for position in ("x", "-1", "9" * 40):
        stream = streams.open(f"{group.path}/events", Last_Event_ID=position)
        assert stream.answer.status in {200, 400, 410}
    missing = streams.open("/v1/runner-groups/none/events")
    assert missing.answer.status == 404
    assert missing.answer.headers["content-type"].startswith("application/problem+json")


def test_a_stream_of_a_deleted_group_ends_or_tells(api: Api, streams: Opener) -> None:
    """Deletion does not break the server or other streams."""
    group, other = api.group(), api.group()
    gone, stays = streams.open(f"{group.path}/events"), streams.open(f"{other.path}/events")
    until(lambda: gone.events and stays.events)
    api.call("DELETE", group.path).ok(204)
    other.runner()
    until(lambda: len(stays.events) >= 2)
    api.get(f"{group.path}/events").refused(404, "not-found")


def test_elections_are_told_with_their_ballot(api: Api) -> None:
    """Each grant is an event with its epoch, its runner and its reason."""
    group = busy(api)
    view = group.view()
    last = [each for each in group.events() if each["epoch"] == view["epoch"]]
    assert any(each["runner_id"] == view["leader_runner_id"] and each["reason"] for each in last)
