"""A stream of events that goes on where it was when its connection broke."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import httpx2

from election_core import ElectionError, Event, Invalid, decode
from election_sdk._backoff import Backoff
from election_sdk._http import Call, Http
from election_sdk._patience import asked_wait
from election_sdk._problems import again, unreadable

__all__ = ["follow"]

_SILENCE = timedelta(seconds=45)
"""The server sends a comment now and then; a connection without any for so long is dead."""


async def follow(
    http: Http, where: str, after: int | None, *, silence: timedelta = _SILENCE
) -> AsyncGenerator[Event, None]:
    """The events of a stream, in order, each once.

    Args:
        http: Connections to the control API.
        where: The path of the events.
        after: Begin behind this one; with the oldest that is kept if there is none.
        silence: After that long without a byte the stream is opened again.

    Raises:
        ElectionError: The server refuses to go on, e.g. `CursorExpired`.
    """
    # Every id is above 0, so that a first connection that breaks before its first event begins
    # where it was as well.
    last = after
    backoff = Backoff(timedelta(seconds=0.1), timedelta(seconds=5))
    while True:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last is not None:
            headers["Last-Event-ID"] = str(last)
        wait = timedelta()
        try:
            call = Call(method="GET", path=where, headers=headers)
            async with http.stream(call, silence=silence) as response:
                if "text/event-stream" not in response.headers.get("content-type", ""):
                    raise unreadable(http.address, TypeError(), writes=False)
                async with _reading(response) as messages:
                    async for found in messages:
                        backoff.reset()
                        if found.data and (event := _event(http, found.data)).id > (last or 0):
                            last = event.id
                            yield event
        except ElectionError as error:
            if not again(error):
                raise
            wait = asked_wait(error)
        await anyio.sleep(backoff.next(at_least=wait).total_seconds())


@asynccontextmanager
async def _reading(
    response: httpx2.Response,
) -> AsyncIterator[AsyncIterator[httpx2.ServerSentEvent]]:
    """The messages of a stream, whose generators have all ended when the block has."""
    messages = aiter(httpx2.EventSource(response))
    try:
        yield messages
    except GeneratorExit:
        # The generators within each other are not closed one by the other. A cancellation goes
        # through all of them.
        with anyio.CancelScope() as scope:
            scope.cancel()
            async for _ in messages:
                pass
        raise


def _event(http: Http, data: str) -> Event:
    try:
        return decode(Event, json.loads(data), lenient=True)
    except (ValueError, Invalid) as error:
        raise unreadable(http.address, error, writes=False) from error
