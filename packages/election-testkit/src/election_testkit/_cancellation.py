"""Cancelling a call at a chosen await, and at a chosen time after it began."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel
from attrs import define

__all__ = ["Cancelling", "cancel_at", "cancelled_after", "cancelled_at", "everywhere"]

T = TypeVar("T")

_MOST = 30
"""More awaits, and more steps of the loop, than a call takes that has nothing to wait for."""


class _Counted(Generic[T]):
    """An awaitable that cancels a scope as it is about to wait for the n-th time."""

    def __init__(self, call: Awaitable[T], scope: anyio.CancelScope, awaits: int) -> None:
        self._call = call
        self._scope = scope
        self._left = awaits

    def __await__(self) -> Generator[Any, Any, T]:
        inner = self._call.__await__()
        step: Callable[[], Any] = _sender(inner, None)
        while True:
            try:
                waits_for = step()
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            if self._left == 0:
                self._scope.cancel()
            self._left -= 1
            try:
                sent = yield waits_for
            except BaseException as thrown:  # noqa: BLE001 - cancellations, above all
                step = _thrower(inner, thrown)
            else:
                step = _sender(inner, sent)


def _sender(inner: Generator[Any, Any, T], value: object) -> Callable[[], Any]:
    return lambda: inner.send(value)


def _thrower(inner: Generator[Any, Any, T], thrown: BaseException) -> Callable[[], Any]:
    return lambda: inner.throw(thrown)


async def cancel_at(call: Awaitable[T], scope: anyio.CancelScope, awaits: int) -> T:
    """Await a call; cancel the scope when it waits for the n-th time, from 0."""
    return await _Counted(call, scope, awaits)


async def cancelled_at(call: Awaitable[object], awaits: int) -> bool:
    """Await a call and cancel it at its n-th await; whether it came that far."""
    with anyio.CancelScope() as scope:
        await cancel_at(call, scope, awaits)
    return scope.cancel_called


async def cancelled_after(call: Awaitable[object], steps: int) -> bool:
    """Await a call and cancel it so many steps of the event loop later; whether it took as many."""
    ended = False
    with anyio.CancelScope() as scope:

        async def cancel() -> None:
            for _ in range(steps):
                if ended:
                    return
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel)
            await call
            ended = True
    return scope.cancel_called


@define
class Cancelling:
    """Awaits a call, and cancels it in one place."""

    how: Callable[[Awaitable[object], int], Awaitable[bool]]
    place: int
    reached: bool = True
    """Whether the call came so far."""

    async def __call__(self, call: Awaitable[object]) -> None:
        """Await the call, and cancel it there."""
        self.reached = await self.how(call, self.place)


def everywhere() -> Iterator[Cancelling]:
    """What cancels one call after another like it, each in another place.

    At each await, and after each step of the event loop, until three in a row came to their end
    before: how many steps a call takes is not always the same.
    """
    for how in (cancelled_at, cancelled_after):
        ended = 0
        for place in range(_MOST):
            cancelling = Cancelling(how, place)
            yield cancelling
            ended = 0 if cancelling.reached else ended + 1
            if ended == 3:
                break
