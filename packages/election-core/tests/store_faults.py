"""A store whose calls can be lost, held up or refused, before or after they took effect."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

import anyio
import anyio.lowlevel
from attrs import define, field
from typing_extensions import override

from election_core import Changes, Conflict, Mark, OutcomeUnknown, Snapshot, Unavailable
from election_core.memory import MemoryStore
from election_core.ports import Beat, Beaten, Committed, Due

Fault = Literal["lost-before", "lost-after", "conflict", "unavailable"]


@define(kw_only=True, repr=False)
class FaultyStore(MemoryStore):
    """A memory store that fails as it is told to, and counts what it is asked."""

    faults: deque[Fault] = field(factory=deque)
    """What happens to the next commits, one each."""
    away: bool = False
    """Whether nothing can be reached."""
    slow: float = 0.0
    """How many seconds each flush of renewals takes."""
    locked: set[str] = field(factory=set)
    """The runners whose renewals are not to be had."""
    slow_commits: float = 0.0
    """How many seconds each commit takes."""
    calls: Counter[str] = field(factory=Counter)
    commit_ids: list[str] = field(factory=list)
    batches: list[list[str]] = field(factory=list)
    """The runners of each flush of renewals."""
    entered: anyio.Event | None = None
    """Set when a commit has begun."""

    async def _reach(self, call: str) -> None:
        self.calls[call] += 1
        await anyio.lowlevel.checkpoint()
        if self.away:
            raise Unavailable("the store is away")

    @override
    async def load(self, group_id: str) -> Snapshot:
        await self._reach("load")
        return await super().load(group_id)

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        await self._reach("commit")
        self.commit_ids.append(commit_id)
        if self.entered is not None:
            self.entered.set()
        if self.slow_commits:
            await anyio.sleep(self.slow_commits)
        fault = self.faults.popleft() if self.faults else None
        if fault == "conflict":
            raise Conflict("somebody else was faster")
        if fault == "unavailable":
            raise Unavailable("the store is away")
        if fault == "lost-before":
            raise OutcomeUnknown("the answer was lost")
        committed = await super().commit(
            changes, expected_revision=expected_revision, commit_id=commit_id
        )
        if fault == "lost-after":
            raise OutcomeUnknown("the answer was lost")
        return committed

    @override
    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        await self._reach("beat")
        self.batches.append([beat.runner_id for beat in beats])
        if self.slow:
            await anyio.sleep(self.slow)
        written = await super().beat([beat for beat in beats if beat.runner_id not in self.locked])
        answers = iter(written)
        return [
            Unavailable("its row is locked") if beat.runner_id in self.locked else next(answers)
            for beat in beats
        ]

    @override
    async def pulse(self, runner_id: str, session_id: str) -> Beaten:
        await self._reach("pulse")
        return await super().pulse(runner_id, session_id)

    @override
    async def mark(self, tick: timedelta) -> Mark:
        await self._reach("mark")
        return await super().mark(tick)

    @override
    async def prune(self, limit: int = 1000) -> int:
        await self._reach("prune")
        return await super().prune(limit)

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        await self._reach("due")
        return await super().due(limit, hold=hold)
