"""The loop that decides the groups whose time has come."""

from __future__ import annotations

import logging
from collections import deque
from datetime import timedelta

import anyio

from election_core._commands import Decide
from election_core._errors import ElectionError, NotFound
from election_core.engine._beats import Beats
from election_core.engine._commits import Commits
from election_core.ports import Store

__all__ = ["Elector"]

_log = logging.getLogger("election_core.engine")
_BATCH = 500
_AT_ONCE = 16
"""How many groups are decided side by side: each waits for its own commit."""
_PRUNE_EVERY = 60.0
_PRUNE_BATCH = 1000


class Elector:
    """Refreshes the mark at every tick and decides what is due.

    The two are tasks of their own, so that a decision that takes long does not look like a time in
    which nobody could renew.

    Args:
        store: Where groups are kept.
        commits: How decisions are carried out.
        beats: The path of renewals, which the mark takes.
        tick: The longest time between two looks.
    """

    def __init__(self, store: Store, commits: Commits, beats: Beats, tick: timedelta) -> None:
        self._store = store
        self._commits = commits
        self._beats = beats
        self._tick = tick
        self._marked = anyio.Event()
        self._kicked = anyio.Event()
        self._trouble = ""

    def kick(self) -> None:
        """Something is due before the next tick."""
        self._kicked.set()

    async def mark(self) -> None:
        """Refresh the mark for ever; cancelled when the engine ends."""
        while True:
            try:
                await self._beats.mark(self._tick)
            except ElectionError as error:
                self._complain(error)
            else:
                self._marked.set()
            await anyio.sleep(self._tick.total_seconds())

    async def run(self) -> None:
        """Decide for ever; cancelled when the engine ends."""
        await self._marked.wait()  # a store that lost commits has noticed it by now
        while True:
            wait = self._tick.total_seconds()
            try:
                wait = min(wait, await self._decide_due())
                self._trouble = ""
            except ElectionError as error:
                self._complain(error)
            with anyio.move_on_after(wait):
                await self._kicked.wait()
            self._kicked = anyio.Event()

    def _complain(self, error: ElectionError) -> None:
        """Log what is wrong with the store, once."""
        if self._trouble != str(error):
            self._trouble = str(error)
            _log.warning("the store did not answer the elector: %s", error)

    async def _decide_due(self) -> float:
        """Decide all that is due, and return the seconds until more may be."""
        while True:
            due = await self._store.due(_BATCH, hold=self._tick / 2)
            waiting = deque(due.group_ids)
            async with anyio.create_task_group() as tasks:
                for _ in range(min(_AT_ONCE, len(waiting))):
                    tasks.start_soon(self._decide_all, waiting)
            if not due.group_ids:
                if due.next_at is None:
                    return self._tick.total_seconds()
                return max(0.001, (due.next_at - due.at).total_seconds())

    async def _decide_all(self, waiting: deque[str]) -> None:
        while waiting:
            await self._decide(waiting.popleft())

    async def _decide(self, group_id: str) -> None:
        """Decide a group. One that cannot be decided is due again when it is no longer held."""
        try:
            await self._commits.carry_out(group_id, Decide(), actor="elector", record=True)
        except NotFound:
            pass  # deleted meanwhile
        except ElectionError as error:
            _log.warning("group %s could not be decided: %s", group_id, error)
        except Exception:  # noqa: BLE001
            # One group's fault must not keep the others without a leader.
            _log.exception("group %s could not be decided", group_id)

    async def prune(self) -> None:
        """Delete for ever what is not kept any more; cancelled when the engine ends."""
        while True:
            await anyio.sleep(_PRUNE_EVERY)
            try:
                while await self._store.prune(_PRUNE_BATCH):  # noqa: ASYNC110 - others come between
                    await anyio.sleep(0.05)
            except ElectionError as error:
                _log.warning("the store could not be pruned: %s", error)
