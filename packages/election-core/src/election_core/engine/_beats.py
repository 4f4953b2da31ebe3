"""Group commit of renewals: what arrives while a flush is under way goes together in the next one.

The mark takes the same path, so a mark that is fresh proves that renewals could be written.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

import anyio

from election_core._errors import Unavailable
from election_core._state import Mark
from election_core._views import Pulse
from election_core.engine._observer import Observer
from election_core.ports import Beat, Beaten, Store

__all__ = ["Beats"]

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


class Beats:
    """Writes renewals in batches.

    Args:
        store: Where they go.
        observer: Who watches.
        due: Called when a renewal made its group due.
        most: The largest batch.
    """

    def __init__(
        self, store: Store, observer: Observer, due: Callable[[], None], *, most: int = 1000
    ) -> None:
        self._store = store
        self._observer = observer
        self._due = due
        self._most = most
        self._beats: list[_Pending[Beat, Beaten]] = []
        self._marks: list[_Pending[timedelta, Mark]] = []
        self._wanted = anyio.Event()
        self._closed = True

    def open(self) -> None:
        """Take renewals from now on; `run` is about to be called."""
        self._closed = False

    async def beat(self, beat: Beat) -> Beaten:
        """Renew one session, along with whoever else is waiting.

        Raises:
            Unavailable: The store does not answer, or the engine does not run.
        """
        pending: _Pending[Beat, Beaten] = _Pending(beat)
        return await self._asked(pending, self._beats)

    async def mark(self, tick: timedelta) -> Mark:
        """Refresh the mark by the path of the renewals.

        Raises:
            Unavailable: The store does not answer, or the engine does not run.
        """
        pending: _Pending[timedelta, Mark] = _Pending(tick)
        return await self._asked(pending, self._marks)

    async def _asked(
        self, pending: _Pending[Asked, Answer], queue: list[_Pending[Asked, Answer]]
    ) -> Answer:
        if self._closed:
            raise Unavailable("the engine is not running")
        queue.append(pending)
        self._wanted.set()
        return await pending.result()

    async def run(self) -> None:
        """Flush for ever; cancelled when the engine ends."""
        try:
            while True:
                await self._wanted.wait()
                self._wanted = anyio.Event()
                await self._flush_marks()
                await self._flush_beats()
        finally:
            self._closed = True
            for beat in self._beats:
                beat.fail()
            for mark in self._marks:
                mark.fail()

    async def _flush_marks(self) -> None:
        marks, self._marks = self._marks, []
        try:
            for pending in marks:
                pending.answer(await self._store.mark(pending.asked))
        except Exception as error:  # noqa: BLE001 - handed to who asked
            for pending in marks:
                pending.fail(error)
        finally:
            for pending in marks:
                pending.fail()

    async def _flush_beats(self) -> None:
        batch = self._next_batch()
        if not batch:
            return
        answers: list[Beaten] = []
        try:
            answers = await self._store.beat([pending.asked for pending in batch])
            for pending, answer in zip(batch, answers, strict=True):
                pending.answer(answer)
        except Exception as error:  # noqa: BLE001 - handed to who asked
            for pending in batch:
                pending.fail(error)
        finally:
            for pending in batch:
                pending.fail()
        self._observer.beaten(answers)
        if any(isinstance(answer, Pulse) and answer.due for answer in answers):
            self._due()

    def _next_batch(self) -> list[_Pending[Beat, Beaten]]:
        """The renewals to write now, one per runner; the others wait for the next flush."""
        batch: dict[str, _Pending[Beat, Beaten]] = {}
        left: list[_Pending[Beat, Beaten]] = []
        for pending in self._beats:
            runner_id = pending.asked.runner_id
            if runner_id in batch or len(batch) >= self._most:
                left.append(pending)
            else:
                batch[runner_id] = pending
        self._beats = left
        if left:
            self._wanted.set()
        return list(batch.values())
