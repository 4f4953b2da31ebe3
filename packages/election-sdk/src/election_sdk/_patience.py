"""A call that is repeated for as long as the control plane is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import anyio

from election_core import ElectionError
from election_sdk._backoff import Backoff
from election_sdk._log import log
from election_sdk._problems import again

__all__ = ["asked_wait", "until_answered"]

T = TypeVar("T")


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Call until there is an answer, however long that takes; says so once.

    Raises:
        ElectionError: The server refuses.
    """
    backoff = Backoff(timedelta(seconds=0.1), timedelta(seconds=5))
    while True:
        try:
            answer = await call()
        except ElectionError as error:
            if not again(error):
                raise
            if not backoff.failures:
                log.warning("no answer from the control plane, trying on: %s", error)
            await anyio.sleep(backoff.next(at_least=asked_wait(error)).total_seconds())
        else:
            if backoff.failures:
                log.info("the control plane answers again")
            return answer


def asked_wait(error: ElectionError) -> timedelta:
    """How long the server asked to be left alone."""
    seconds = error.facts.get("retry_after_seconds")
    return timedelta(seconds=seconds if isinstance(seconds, int | float) else 0)
