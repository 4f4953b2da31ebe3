"""One connection, the thread it lives in, and the order in which calls get there.

Calls that wait are committed together, each in a savepoint of its own: a commit waits for the disk,
and that costs as much for one as for many.

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
from typing import Any, Generic, TypeVar, cast

from attrs import define, frozen

from election_sqlite._errors import closed, mapped_error, outcome_of_commit

__all__ = ["Lane", "Transaction", "Urgency", "outlast"]

T = TypeVar("T")
_STREAK = 16
"""How many calls may overtake a less urgent one before it gets its turn."""
_TOGETHER = 32
"""How many calls are committed together at most; what is bulk is so much that each is alone."""


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
    then: Callable[[Sequence[T]], None] | None
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[T]
    begun: bool = False
    """It is past the point where it can be withdrawn."""
    withdrawn: bool = False
    """Its caller was cancelled before that."""
    result: T | None = None
    error: BaseException | None = None
    """Why it had no effect."""

    def resolve(self) -> None:
        """Tell its caller."""
        if self.answer.done():
            return
        if self.error is None:
            self.answer.set_result(cast("T", self.result))
        else:
            self.answer.set_exception(self.error)


class Lane:
    """Runs calls on one connection, one after the other, in a thread.

    Args:
        path: The database, for messages.
        connection: The connection; from now on this lane's thread alone uses it.
        now: The store's time.
        begin: The statements that open a transaction, and fix what it reads.
        before_commit: What each transaction does last, with the time of its last call.
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
        then: Callable[[Sequence[T]], None] | None = None,
    ) -> T:
        """Run a function, wholly or not at all, and return what it returns once it is committed.

        Cancelled before its turn, or while it waits for the lock of the file, nothing happens.
        Cancelled later it takes effect wholly, and its caller is told once it has: nothing that a
        cancelled call does comes after it.

        Args:
            work: What to do; an exception rolls all of it back.
            urgency: Who is served first.
            then: What to do in the thread once it is committed, once for all the results of
                those committed together that ask for the same; may not raise.

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
            await asyncio.wait([answer])
        except asyncio.CancelledError:
            if not self._withdraw(call):
                with suppress(Exception):  # the answer is dropped
                    await outlast(answer)
            raise
        return answer.result()

    def _withdraw(self, call: _Call[Any]) -> bool:
        """Take a call back, unless it has begun."""
        with self._change:
            if not call.begun:
                call.withdrawn = True
                call.answer.cancel()
            return call.withdrawn

    def _begin_call(self, call: _Call[Any]) -> bool:
        """Begin a call, unless it was taken back."""
        with self._change:
            call.begun = not call.withdrawn
            return call.begun

    async def stop(self) -> None:
        """Finish what was asked for, close the connection and end the thread."""
        loop = asyncio.get_running_loop()
        stopped: asyncio.Future[None] = loop.create_future()
        with self._change:
            self._stopping = True
            self._stopped = loop, stopped
            self._change.notify()
        await stopped

    def _next(self) -> list[_Call[Any]]:
        """The calls whose turn it is; none when there will be no more."""
        with self._change:
            while True:
                ready = [u for u in Urgency if self._waiting[u]]
                if ready:
                    break
                if self._stopping:
                    return []
                self._change.wait()
            turn = next((u for u in ready if self._passed_over[u] >= _STREAK), ready[0])
            most = 1 if turn is Urgency.BULK else _TOGETHER
            for urgency in ready:
                if urgency is not turn:
                    most = min(most, max(1, _STREAK - self._passed_over[urgency]))
            waiting = self._waiting[turn]
            calls = [waiting.popleft() for _ in range(min(most, len(waiting)))]
            for urgency in ready:
                self._passed_over[urgency] += len(calls)
            self._passed_over[turn] = 0
            return calls

    def _serve(self) -> None:
        while calls := self._next():
            try:
                self._transact(calls)
            except BaseException as error:  # noqa: BLE001 - it is the callers', whatever it is
                for call in calls:
                    call.error = call.error or self._mapped(error)
            for call in calls:
                with suppress(RuntimeError):  # the caller's loop may be gone
                    call.loop.call_soon_threadsafe(call.resolve)
        self._connection.close()
        if self._stopped is not None:
            loop, stopped = self._stopped
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, stopped)

    def _mapped(self, error: BaseException) -> BaseException:
        """An error as the port calls it."""
        known = mapped_error(error, self._path) if isinstance(error, Exception) else None
        if known is None:
            return error
        known.__cause__ = error
        return known

    def _transact(self, calls: Sequence[_Call[Any]]) -> None:
        """Run calls as one transaction; what is raised is the error of all that have none."""
        connection = self._connection
        if connection.in_transaction:  # an earlier rollback failed with its disk
            connection.execute("ROLLBACK")
        for statement in self._begin:
            connection.execute(statement)
        try:
            at = None
            for call in calls:
                if self._begin_call(call):
                    at = self._attempt(call, alone=len(calls) == 1) or at
            if at is None:
                connection.execute("ROLLBACK")
                return
            if self._before_commit is not None:
                self._before_commit(Transaction(connection, at))
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise outcome_of_commit(error, self._path) from error
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        results: dict[Callable[[Sequence[Any]], None], list[Any]] = {}
        for call in calls:
            if call.then is not None and not call.withdrawn and call.error is None:
                results.setdefault(call.then, []).append(call.result)
        for then, found in results.items():
            then(found)

    def _attempt(self, call: _Call[Any], *, alone: bool) -> datetime | None:
        """Run one call within a transaction; its time, or `None` if it had no effect.

        One that is alone needs no savepoint, which costs as much as copying what it writes.
        """
        connection = self._connection
        transaction = Transaction(connection, self._now())
        if alone:
            call.result = call.work(transaction)
            return transaction.at
        connection.execute("SAVEPOINT one")
        try:
            call.result = call.work(transaction)
        except BaseException as error:
            if not connection.in_transaction:  # it took the whole transaction with it
                raise
            connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
            call.error = self._mapped(error)
            return None
        connection.execute("RELEASE one")
        return transaction.at


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


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
