"""Waking of the calls that wait for news, within one process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import anyio

from election_core._views import Pulse
from election_core.ports import Topic

__all__ = ["Listener", "Wakeups"]


class Listener:
    """Somebody who waits. News that comes between two waits is not lost."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self.told: Pulse | None = None
        """The newest news, if it is known."""

    def wake(self, told: Pulse | None = None) -> None:
        """There is news; `told` if it is known."""
        self.told = told
        self._event.set()

    async def wait(self, timeout: timedelta) -> bool:
        """Wait for news, at most for `timeout`; whether there was any."""
        with anyio.move_on_after(max(0.0, timeout.total_seconds())):
            await self._event.wait()
        woken = self._event.is_set()
        if woken:
            self._event = anyio.Event()
        return woken


class Wakeups:
    """Who waits for what."""

    def __init__(self) -> None:
        self._listeners: dict[Topic, set[Listener]] = {}
        self.stopped = False
        self.token_news = 0
        """Rises whenever tokens may have been revoked."""

    def __len__(self) -> int:
        """How many calls wait."""
        return len({listener for found in self._listeners.values() for listener in found})

    @contextmanager
    def listen(self, *topics: Topic) -> Iterator[Listener]:
        """Hear of these topics within the block."""
        listener = Listener()
        for topic in topics:
            self._listeners.setdefault(topic, set()).add(listener)
        try:
            yield listener
        finally:
            for topic in topics:
                found = self._listeners[topic]
                found.discard(listener)
                if not found:
                    del self._listeners[topic]

    def wake(self, topics: Iterable[Topic], pulses: Mapping[str, Pulse] | None = None) -> None:
        """Wake whoever waits for one of these topics.

        Args:
            topics: What there is news of; who waits for the first is woken first.
            pulses: Runners by id as their news left them, where that is known.
        """
        for kind, name in topics:
            if kind == "tokens":
                self.token_news += 1
            told = pulses.get(name) if pulses and kind == "runner" else None
            for listener in self._listeners.get((kind, name), ()):
                listener.wake(told)

    def wake_all(self) -> None:
        """Wake everybody: there may be news of anything."""
        self.token_news += 1
        for found in self._listeners.values():
            for listener in found:
                listener.wake()

    def stop(self) -> None:
        """Wake everybody, and let nobody wait again."""
        self.stopped = True
        self.wake_all()
