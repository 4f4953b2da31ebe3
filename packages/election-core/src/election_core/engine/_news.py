"""News: who waits here is woken at once, who waits elsewhere by way of the store.

Nothing rests on it. An announcement that is lost, because whoever made the change died before it
could be told, is made up for at the next tick by what the history says; while a store cannot be
listened to, whoever waits looks again at every tick.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

import anyio

from election_core._errors import CursorExpired, ElectionError
from election_core._events import Event
from election_core._views import Pulse
from election_core.engine._wakeups import Wakeups
from election_core.ports import SharedStore, Store, Topic

__all__ = ["News"]

_log = logging.getLogger("election_core.engine")
_PAUSE = 0.01
"""Seconds between two announcements; what comes meanwhile goes together."""
_BATCH = 1000


class News:
    """Tells of changes, and hears of them.

    Args:
        store: Where groups are kept. Only one that is shared has others to tell.
        wakeups: Who waits here.
        tick: The longest time that a lost announcement costs.
    """

    def __init__(self, store: Store, wakeups: Wakeups, tick: timedelta) -> None:
        self._store = store
        self._shared = store if isinstance(store, SharedStore) else None
        self._wakeups = wakeups
        self._tick = tick.total_seconds()
        self._untold: set[Topic] = set()
        self._wanted = anyio.Event()
        self._trouble = ""

    def tell(self, topics: Collection[Topic], pulses: Mapping[str, Pulse] | None = None) -> None:
        """There may be news of these. Never waits.

        Args:
            topics: Each once, the most urgent first.
            pulses: Runners as their news left them, for who waits here.
        """
        self._wakeups.wake(topics, pulses)
        if self._shared is not None and topics:
            self._untold.update(topics)
            self._wanted.set()

    async def run(self) -> None:
        """Tell and listen for ever; cancelled when the engine ends."""
        if self._shared is None:
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._announce, self._shared)
            tasks.start_soon(self._listen, self._shared)
            tasks.start_soon(self._look, self._shared)

    async def _announce(self, store: SharedStore) -> None:
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            topics, self._untold = self._untold, set()
            try:
                await store.announce(topics)
            except ElectionError as error:
                self._complain(error)
                self._untold |= topics  # told with the next, which is not far
                await anyio.sleep(self._tick)
                self._wanted.set()
            await anyio.sleep(_PAUSE)

    async def _listen(self, store: SharedStore) -> None:
        while True:
            try:
                async with store.changes() as changes:
                    self._trouble = ""
                    self._wakeups.wake_all()  # of what came while nobody listened
                    async for topics in changes:
                        if topics is None:
                            self._wakeups.wake_all()
                        else:
                            self._wakeups.wake(topics)
            except ElectionError as error:
                self._complain(error)
            self._wakeups.wake_all()
            await anyio.sleep(self._tick)

    async def _look(self, store: SharedStore) -> None:
        """Find in the history what was not announced, as long as anybody waits."""
        last: int | None = None
        while True:
            await anyio.sleep(self._tick)
            if not len(self._wakeups):
                last = None
                continue
            try:
                if last is None:
                    last = await store.newest_event()
                    self._wakeups.wake_all()  # of what came before that
                    continue
                events = await self._store.events(None, after=last, limit=_BATCH)
            except CursorExpired:
                last = None
            except ElectionError as error:
                self._complain(error)
            else:
                for event in events:
                    self._wakeups.wake(_topics(event))
                    last = event.id

    def _complain(self, error: ElectionError) -> None:
        """Log what is wrong, once."""
        if self._trouble != str(error):
            self._trouble = str(error)
            _log.warning("changes of other replicas are found by polling: %s", error)


def _topics(event: Event) -> Iterable[Topic]:
    """Of whom an event is news."""
    yield ("events", event.group_id)
    yield ("events", "*")
    yield ("jobs", event.group_id)
    concerned: list[object] = [event.runner_id]
    concerned += [event.data.get(name) for name in ("previous_runner_id", "successor_runner_id")]
    for runner_id in concerned:
        if isinstance(runner_id, str):
            yield ("runner", runner_id)
