"""What one process tells the others: lines of the journal that hold no rows."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Self

import anyio
from attrs import define, field
from typing_extensions import override

from election_core.ports import Topic
from examples.journal_store._journal import Ear, Journal
from examples.journal_store._part import Part, transaction
from examples.journal_store._tables import Tables

__all__ = ["Shared"]

_POLL = 0.02
"""How many seconds pass between two looks at the journal."""


class Shared(Part):
    """The optional capability: other processes may write the store too."""

    @transaction
    def newest_event(self, tables: Tables) -> int:
        """See [`newest_event`][election_core.ports.SharedStore.newest_event]."""
        return tables.store.last_event

    @transaction
    def announce(self, tables: Tables, topics: Collection[Topic]) -> None:
        """See [`announce`][election_core.ports.SharedStore.announce]."""
        self.journal.announce(list(topics))

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[frozenset[Topic] | None]]:
        """See [`changes`][election_core.ports.SharedStore.changes]."""
        listener = _Listener(self.journal)
        # In a transaction, so from the end of the journal on.
        await self.journal.run(lambda tables: self.journal.ears.append(listener.ear))
        try:
            yield listener
        finally:
            self.journal.ears.remove(listener.ear)


@define(repr=False, eq=False)
class _Listener(AsyncIterator[frozenset[Topic] | None]):
    """What comes in, looked up again and again."""

    _journal: Journal
    ear: Ear = field(factory=deque, init=False)

    @override
    def __aiter__(self) -> Self:
        return self

    @override
    async def __anext__(self) -> frozenset[Topic] | None:
        while not self.ear:
            await self._journal.run(lambda tables: None)
            if not self.ear:
                await anyio.sleep(_POLL)
        return self.ear.popleft()
