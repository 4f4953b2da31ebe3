"""The history of a group: in pages, or live as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from attrs import define, field

from election_core import (
    MAX_INTEGER,
    CursorExpired,
    ElectionError,
    Event,
    NotFound,
    Page,
    encode,
)
from election_ctl_api._access import Access
from election_ctl_api._logging import log
from election_ctl_api._operations import CURSOR, LIMIT, Call, Operation, Parameter, operation
from election_ctl_api._reading import header, whole_number

if TYPE_CHECKING:
    from litestar.types import HTTPResponseBodyEvent, Receive, Scope, Send

__all__ = ["OPERATIONS", "EventStream"]

KEEP_ALIVE = 15.0
"""Seconds between comments, and between looks at the token."""
PATIENCE = 20.0
"""Seconds that a client may take nothing."""
_MEDIA_TYPE = "text/event-stream"
_END: HTTPResponseBodyEvent = {"type": "http.response.body", "body": b"", "more_body": False}

_AFTER = Parameter(
    name="after",
    type=int,
    description="Only events behind the one of this id.",
    example=41,
    bounds={"minimum": 0},
)
_LAST = Parameter(
    name="Last-Event-ID",
    place="header",
    description="Of a stream: go on behind this event.",
    example="41",
)


@operation(
    "GET",
    "/v1/runner-groups/{group}/events",
    access=Access.READ_GROUP,
    answers={200: Page[Event]},
    errors=(NotFound, CursorExpired),
    parameters=(_AFTER, LIMIT, CURSOR, _LAST),
    media_types=(_MEDIA_TYPE,),
)
async def list_events(call: Call) -> object:
    """List the events of a group, or follow them.

    With `Accept: text/event-stream` the answer is a live stream: what is kept behind
    `Last-Event-ID` or `after`, or all of it, and then what happens. Ids rise without gaps that fill
    later.
    """
    group_id = call.path("group")
    limit = call.limit
    if _MEDIA_TYPE in (call.header("Accept") or "").lower():
        # Who has seen none may say so with an empty header.
        after = _position(call, ("Last-Event-ID", call.header("Last-Event-ID") or None))
        # Refused before the stream begins, while there is a status to say it with.
        await call.engine.events(group_id, after=after, limit=1)
        return EventStream(call, call.engine.follow(group_id, after=after))
    after = _position(call)
    found = await call.engine.events(group_id, after=after, limit=limit + 1)
    items = tuple(found[:limit])
    return Page(items=items, next_cursor=str(items[-1].id) if len(found) > limit else None)


def _position(call: Call, *more: tuple[str, str | None]) -> int | None:
    """The event behind which to begin, by whichever way it is said first."""
    for name, text in (*more, *((name, call.query.get(name)) for name in ("cursor", "after"))):
        if text is not None:
            return whole_number(text, field=name, least=0, most=MAX_INTEGER)
    return None


@define
class EventStream:
    """An answer that goes on: each event as it comes, and a comment when none does.

    It ends when the engine stops waiting, the client leaves or takes nothing for a while, or its
    token is no longer good. A client resumes with the id of the last event that it got.
    """

    call: Call
    events: AsyncIterator[Event]
    keep_alive: float = field(factory=lambda: KEEP_ALIVE)
    patience: float = field(factory=lambda: PATIENCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", _MEDIA_TYPE.encode()),
                    (b"cache-control", b"no-store"),
                    (b"x-accel-buffering", b"no"),
                ],
            }
        )
        if self.call.scope["method"] == "HEAD":
            await send(_END)
            return
        into, out = anyio.create_memory_object_stream[Event]()
        with self.call.services.metrics.streaming():
            async with anyio.create_task_group() as tasks, out:
                tasks.start_soon(self._feed, into)
                tasks.start_soon(_watch, receive, tasks.cancel_scope)
                if await self._pass_on(out, send):
                    with anyio.move_on_after(self.patience):
                        await send(_END)
                tasks.cancel_scope.cancel()

    async def _feed(self, into: ObjectSendStream[Event]) -> None:
        async with into:
            try:
                async for event in self.events:
                    await into.send(event)
            except ElectionError as error:
                # The client resumes, and is told then what is wrong.
                log.info("event stream ended", code=error.code)

    async def _pass_on(self, out: ObjectReceiveStream[Event], send: Send) -> bool:
        """Send what comes until nothing more does; whether the client took it all."""
        chunk = b": follow\n\n"
        checked = anyio.current_time()
        while True:
            sent = False
            with anyio.move_on_after(self.patience):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                sent = True
            if not sent:
                log.info("event stream cut, its client is too slow")
                return False
            if anyio.current_time() - checked >= self.keep_alive:
                checked = anyio.current_time()
                if not await self._still_admitted():
                    return True
            chunk = b": still here\n\n"
            with anyio.move_on_after(self.keep_alive):
                try:
                    chunk = _chunk(await out.receive())
                except anyio.EndOfStream:
                    return True

    async def _still_admitted(self) -> bool:
        gate, scope = self.call.services.gate, self.call.scope
        try:
            caller = await gate.caller(header(scope, b"authorization"))
            await gate.admit(caller, self.call.operation.access, scope["path_params"])
        except ElectionError as error:
            # A store that is away says nothing about the token.
            return error.status >= 500
        return True


async def _watch(receive: Receive, stream: anyio.CancelScope) -> None:
    """End the stream when its client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.cancel()


def _chunk(event: Event) -> bytes:
    """An event in the form of a stream."""
    data = json.dumps(encode(event), ensure_ascii=False, separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n".encode()


OPERATIONS: Sequence[Operation] = (list_events,)
