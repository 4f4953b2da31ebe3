"""Group commit: what arrives while a write is under way goes together in the next one."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

import anyio

from election_core._errors import Unavailable

__all__ = ["Batches", "Queue"]

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Batch(Generic[Asked, Answer]):
    """What is written together, and how that went."""

    def __init__(self) -> None:
        self.asked: dict[Hashable, Asked] = {}
        self.answers: dict[Hashable, Answer] = {}
        self.error: Exception = Unavailable("the engine was stopped")
        """Of who has no answer."""
        self.over = anyio.Event()


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
        self._waiting: deque[_Batch[Asked, Answer]] = deque()

    def __len__(self) -> int:
        """How many batches wait."""
        return len(self._waiting)

    async def answer(self, asked: Asked) -> Answer:
        """Have it written with the first batch that takes it, and wait for that."""
        key = self._key(asked)
        for batch in self._waiting:
            if key not in batch.asked and len(batch.asked) < self._most:
                break
        else:
            batch = _Batch()
            self._waiting.append(batch)
        batch.asked[key] = asked
        await batch.over.wait()
        if key not in batch.answers:
            raise batch.error
        return batch.answers[key]

    async def flush(self) -> int:
        """Write a batch, if anything waits, and say of how many.

        Whoever asked is told how that went.
        """
        if not self._waiting:
            return 0
        batch = self._waiting.popleft()
        try:
            answers = await self._write(tuple(batch.asked.values()))
            batch.answers.update(zip(batch.asked, answers, strict=True))
        except Exception as error:  # noqa: BLE001 - handed to who asked
            batch.error = error
        finally:
            batch.over.set()
        return len(batch.asked)

    def fail(self) -> None:
        """Fail all that wait: nobody will write them any more."""
        while self._waiting:
            self._waiting.popleft().over.set()


class Batches:
    """Flushes queues for ever, in their order, one batch of each at a time.

    Args:
        queues: The queues.
        pause: Seconds from one flush of several to the next at the least. A crowd of callers is
            written in few large batches, which costs a fraction; one caller alone never waits.
    """

    def __init__(self, *queues: Queue[Any, Any], pause: float = 0.0) -> None:
        self._queues = queues
        self._pause = pause
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
        self._wanted.set()
        return await queue.answer(asked)

    async def run(self) -> None:
        """Flush for ever; cancelled when the engine ends."""
        not_before = anyio.current_time()
        try:
            while True:
                await self._wanted.wait()
                await anyio.sleep_until(not_before)
                self._wanted = anyio.Event()
                started = anyio.current_time()
                written = [await queue.flush() for queue in self._queues]
                if max(written) > 1:
                    not_before = started + self._pause
                if any(self._queues):
                    self._wanted.set()
        finally:
            self._closed = True
            for queue in self._queues:
                queue.fail()
