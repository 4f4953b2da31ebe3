"""One connection, the thread it lives in, and the order in which calls get there.

`aiosqlite` runs each *statement* in a thread, and each await between two of them is a place where
a caller can be cancelled inside a transaction, with its lock held. Here a whole transaction is one
synchronous function that runs in the connection's thread: a cancelled caller can stop it before it
begins or let it finish, and nothing in between. `aiosqlite` offers no public way to run a
function in its thread, and its queue knows no priorities, so bulk work would hold up renewals;
hence a thread of our own around a plain `sqlite3` connection. Programs that embed the store
use `aiosqlite` for their own transactions, see [`connect`][election_sqlite.SqliteStore.connect].
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from attrs import define, frozen

from election_sqlite._errors import closed, mapped_error, outcome_of_commit

__all__ = ["Lane", "Transaction", "Urgency", "outlast"]

T = TypeVar("T")
_STREAK = 16
"""How many calls may overtake a less urgent one before it gets its turn."""


class Urgency(IntEnum):
    """Which calls come first. A less urgent one gets every seventeenth turn at least."""

    RENEWAL = 0
    """What keeps leases alive: renewals, the mark."""
    ORDINARY = 1
    BULK = 2
    """Pages and pruning: many rows, nobody's lease."""


@frozen
class Transaction:
    """What the function of a transaction works with."""

    connection: sqlite3.Connection
    at: datetime
    """The store's time, read when the transaction had its locks."""


@define(eq=False)
class _Call(Generic[T]):
    work: Callable[[Transaction], T]
    then: Callable[[T], None] | None
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[T]
    withdrawn: bool = False
    """Its caller was cancelled."""


class Lane:
    """Runs transactions of one connection, one after the other, in a thread.

    Args:
        path: The database, for messages.
        connection: The connection; from now on this lane's thread alone uses it.
        now: The store's time.
        begin: The statements that open a transaction, and fix what it reads.
        before_commit: What each transaction does last.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        now: Callable[[], datetime],
        *,
        begin: Sequence[str],
        before_commit: Callable[[Transaction], None] | None = None,
    ) -> None:
        self._path = path
        self._connection = connection
        self._now = now
        self._begin = begin
        self._before_commit = before_commit
        self._waiting: tuple[deque[_Call[Any]], ...] = tuple(deque() for _ in Urgency)
        self._passed_over = [0 for _ in Urgency]
        self._change = threading.Condition()
        self._stopping = False
        self._stopped: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self._thread = threading.Thread(target=self._serve, name=str(path), daemon=True)
        self._thread.start()

    async def run(
        self,
        work: Callable[[Transaction], T],
        urgency: Urgency = Urgency.ORDINARY,
        *,
        then: Callable[[T], None] | None = None,
    ) -> T:
        """Run a function as one transaction and return what it returns.

        Cancelled before its turn, or while it waits for the lock of the file, nothing happens.
        Cancelled later it takes effect wholly, and its answer is dropped.

        Args:
            work: What to do; an exception rolls everything back.
            urgency: Who is served first.
            then: What to do in the thread once it is committed; may not raise.

        Raises:
            Unavailable: Nothing took effect.
            OutcomeUnknown: It may have.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        call = _Call(work, then, loop, answer)
        with self._change:
            if self._stopping:
                raise closed(self._path)
            self._waiting[urgency].append(call)
            self._change.notify()
        try:
            return await answer
        except asyncio.CancelledError:
            call.withdrawn = True
            raise

    async def stop(self) -> None:
        """Finish what was asked for, close the connection and end the thread."""
        loop = asyncio.get_running_loop()
        stopped: asyncio.Future[None] = loop.create_future()
        with self._change:
            self._stopping = True
            self._stopped = loop, stopped
            self._change.notify()
        await stopped

    def _next(self) -> _Call[Any] | None:
        """The call whose turn it is; `None` when there will be no more."""
        with self._change:
            while True:
                ready = [u for u in Urgency if self._waiting[u]]
                if ready:
                    break
                if self._stopping:
                    return None
                self._change.wait()
            turn = next((u for u in ready if self._passed_over[u] >= _STREAK), ready[0])
            for urgency in ready:
                self._passed_over[urgency] += 1
            self._passed_over[turn] = 0
            return self._waiting[turn].popleft()

    def _serve(self) -> None:
        while (call := self._next()) is not None:
            if call.withdrawn:
                continue
            try:
                result, error = self._transact(call), None
            except BaseException as caught:  # noqa: BLE001 - it is the caller's, whatever it is
                result, error = None, caught
            with suppress(RuntimeError):  # the caller's loop may be gone
                call.loop.call_soon_threadsafe(_resolve, call.answer, result, error)
        self._connection.close()
        if self._stopped is not None:
            loop, stopped = self._stopped
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, stopped, None, None)

    def _transact(self, call: _Call[T]) -> T | None:
        connection = self._connection
        try:
            if connection.in_transaction:  # an earlier rollback failed with its disk
                connection.execute("ROLLBACK")
            for statement in self._begin:
                connection.execute(statement)
            try:
                if call.withdrawn:
                    connection.execute("ROLLBACK")
                    return None
                transaction = Transaction(connection, self._now())
                result = call.work(transaction)
                if self._before_commit is not None:
                    self._before_commit(transaction)
                try:
                    connection.execute("COMMIT")
                except sqlite3.Error as error:
                    raise outcome_of_commit(error, self._path) from error
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except Exception as error:
            known = mapped_error(error, self._path)
            if known is None:
                raise
            raise known from error
        if call.then is not None:
            call.then(result)
        return result


async def outlast(task: asyncio.Future[T]) -> T:
    """Wait for a task that nothing can stop; a cancellation of the caller is raised after it."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()


def _resolve(
    future: asyncio.Future[T | None], result: T | None, error: BaseException | None
) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
