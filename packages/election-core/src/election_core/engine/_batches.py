"""Group commit: what arrives while a write is under way goes together in the next one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import anyio

from election_core._errors import Unavailable

__all__ = ["Batches", "Queue"]

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Pending(Generic[Asked, Answer]):
    """Something asked of the store, and its answer once it is there."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self._done = anyio.Event()
        self._answer: list[Answer] = []
        self._error: BaseException = Unavailable("the engine was stopped")

    def answer(self, answer: Answer) -> None:
        self._answer.append(answer)
        self._done.set()

    def fail(self, error: BaseException | None = None) -> None:
        """Fail it, if it has no answer yet."""
        if error is not None:
            self._error = error
        self._done.set()

    async def result(self) -> Answer:
        await self._done.wait()
        if not self._answer:
            raise self._error
        return self._answer[0]


class Queue(Generic[Asked, Answer]):
    """What waits to be written together.

    Args:
        write: Writes a batch, and answers in its order.
        key: What no two of a batch may have in common; the later one goes with the next batch.
        most: The largest batch.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]],
        *,
        key: Callable[[Asked], Hashable] = id,
        most: int = 1000,
    ) -> None:
        self._write = write
        self._key = key
        self._most = most
        self._waiting: list[_Pending[Asked, Answer]] = []

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, asked: Asked) -> _Pending[Asked, Answer]:
        """Have it written with the next batch that takes it."""
        pending: _Pending[Asked, Answer] = _Pending(asked)
        self._waiting.append(pending)
        return pending

    async def flush(self) -> None:
        """Write a batch, if anything waits; whoever asked is told how that went."""
        batch: dict[Hashable, _Pending[Asked, Answer]] = {}
        left: list[_Pending[Asked, Answer]] = []
        for pending in self._waiting:
            key = self._key(pending.asked)
            if key in batch or len(batch) >= self._most:
                left.append(pending)
            else:
                batch[key] = pending
        self._waiting = left
        if not batch:
            return
        try:
            answers = await self._write([pending.asked for pending in batch.values()])
            for pending, answer in zip(batch.values(), answers, strict=True):
                pending.answer(answer)
        except Exception as error:  # noqa: BLE001 - handed to who asked
            for pending in batch.values():
                pending.fail(error)
        finally:
            for pending in batch.values():
                pending.fail()

    def fail(self) -> None:
        """Fail all that wait: nobody will write them any more."""
        for pending in self._waiting:
            pending.fail()


class Batches:
    """Flushes queues for ever, in their order, one batch of each at a time."""

    def __init__(self, *queues: Queue[Any, Any]) -> None:
        self._queues = queues
        self._wanted = anyio.Event()
        self._closed = True

    def open(self) -> None:
        """Take what is asked from now on; `run` is about to be called."""
        self._closed = False

    async def ask(self, queue: Queue[Asked, Answer], asked: Asked) -> Answer:
        """Have something written along with whatever else waits.

        Raises:
            Unavailable: The store does not answer, or the engine does not run.
        """
        if self._closed:
            raise Unavailable("the engine is not running")
        pending = queue.add(asked)
        self._wanted.set()
        return await pending.result()

    async def run(self) -> None:
        """Flush for ever; cancelled when the engine ends."""
        try:
            while True:
                await self._wanted.wait()
                self._wanted = anyio.Event()
                for queue in self._queues:
                    await queue.flush()
                if any(self._queues):
                    self._wanted.set()
        finally:
            self._closed = True
            for queue in self._queues:
                queue.fail()
