"""The store in memory as a suite is given it."""

from __future__ import annotations

from typing_extensions import override

from election_core.memory import SharedMemoryStore
from election_testkit import FullStore, ManualClock, Subject

__all__ = ["LastingMemorySubject", "MemorySubject"]


class MemorySubject(Subject):
    """A store in memory, under a clock that stands until it is moved."""

    packages = ("election_core",)

    def __init__(self, store: type[SharedMemoryStore] = SharedMemoryStore) -> None:
        self.clock = ManualClock()
        self.shared = store(clock=self.clock)
        self.store = self.shared

    @override
    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @override
    async def sibling(self) -> FullStore:
        return self.shared.replica()


class LastingMemorySubject(MemorySubject):
    """A store in memory that can be closed and opened again, as if its data were elsewhere."""

    @override
    async def reopen(self) -> FullStore:
        self.store = self.shared = self.shared.replica()
        return self.store
