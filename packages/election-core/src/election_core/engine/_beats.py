"""Renewals, many in one commit.

The mark takes the same path, so a mark that is fresh proves that renewals could be written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from election_core._codec import MAX_INTEGER
from election_core._errors import Invalid
from election_core._names import legible
from election_core._state import Mark
from election_core._views import Pulse
from election_core.engine._batches import Batches, Queue
from election_core.engine._observer import Observer
from election_core.ports import Beat, Beaten, Store

__all__ = ["Beats"]

_PAUSE = 0.01
"""Seconds: nothing beside a lease, and at a fleet's pace enough for several renewals."""


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
        self._marks: Queue[timedelta, Mark] = Queue(self._mark)
        self._beats: Queue[Beat, Beaten] = Queue(
            self._beat, key=lambda beat: beat.runner_id, most=most
        )
        self._batches = Batches(self._marks, self._beats, pause=_PAUSE)
        self.open = self._batches.open
        self.run = self._batches.run

    async def beat(self, beat: Beat) -> Beaten:
        """Renew one session, along with whoever else is waiting.

        Raises:
            Invalid: No store could take it, nor what is written together with it.
            Unavailable: The store does not answer, or the engine does not run.
        """
        legible(beat.runner_id, "runner_id")
        legible(beat.session_id, "session_id")
        if beat.seq is not None and abs(beat.seq) > MAX_INTEGER:
            raise Invalid(f"seq: an integer of at most {MAX_INTEGER} is wanted", field="seq")
        return await self._batches.ask(self._beats, beat)

    async def mark(self, tick: timedelta) -> Mark:
        """Refresh the mark by the path of the renewals.

        Raises:
            Unavailable: The store does not answer, or the engine does not run.
        """
        return await self._batches.ask(self._marks, tick)

    async def _mark(self, ticks: Sequence[timedelta]) -> Sequence[Mark]:
        mark = await self._store.mark(ticks[-1])
        return [mark] * len(ticks)

    async def _beat(self, beats: Sequence[Beat]) -> Sequence[Beaten]:
        answers = await self._store.beat(beats)
        self._observer.beaten(answers)
        if any(isinstance(answer, Pulse) and answer.due for answer in answers):
            self._due()
        return answers
