"""A store in memory that several engines share, as replicas share a database."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Self

import anyio
import attrs
from anyio.streams.memory import MemoryObjectSendStream
from attrs import field

from election_core.memory._store import MemoryStore
from election_core.ports import Topic

__all__ = ["SharedMemoryStore"]

_News = frozenset[Topic]


@attrs.define(kw_only=True, slots=False, repr=False)
class SharedMemoryStore(MemoryStore):
    """A [`MemoryStore`][election_core.memory.MemoryStore] for more than one engine.

    Each engine takes an object of its own: the first this one, the others what `replica` gives. It
    implements [`SharedStore`][election_core.ports.SharedStore] as well.
    """

    _ears: list[tuple[object, MemoryObjectSendStream[_News]]] = field(factory=list, init=False)

    def replica(self) -> Self:
        """Another object over the same data."""
        other = object.__new__(type(self))
        other.__dict__ = self.__dict__  # whatever either sets, both have
        return other

    async def newest_event(self) -> int:
        """See [`newest_event`][election_core.ports.SharedStore.newest_event]."""
        return self._last_event

    async def announce(self, topics: Collection[Topic]) -> None:
        """See [`announce`][election_core.ports.SharedStore.announce]."""
        for owner, ear in self._ears:
            if owner is not self:
                ear.send_nowait(frozenset(topics))

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[frozenset[Topic] | None]]:
        """See [`changes`][election_core.ports.SharedStore.changes]."""
        ear, heard = anyio.create_memory_object_stream[_News](math.inf)
        entry = (self, ear)
        self._ears.append(entry)
        try:
            with ear, heard:
                yield heard
        finally:
            self._ears.remove(entry)
