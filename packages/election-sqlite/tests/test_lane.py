"""The thread of a connection: whole transactions, renewals first, nobody for ever last."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from election_core import Unavailable
from election_sqlite._lane import Lane, Transaction, Urgency, outlast
from sqlite_clock import NOW


@pytest.fixture
async def lane(path: Path) -> AsyncIterator[Lane]:
    """A lane of a database with one table."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE seen (name TEXT)")
    opened = Lane(path, connection, lambda: NOW, begin=["BEGIN IMMEDIATE"])
    yield opened
    await opened.stop()


def insert(name: str) -> Callable[[Transaction], None]:
    """A transaction that writes one row."""

    def work(transaction: Transaction) -> None:
        transaction.connection.execute("INSERT INTO seen VALUES (?)", (name,))

    return work


def everything(transaction: Transaction) -> list[str]:
    """A transaction that reads all rows."""
    rows = transaction.connection.execute("SELECT name FROM seen ORDER BY rowid")
    return [row[0] for row in rows]


class Gate:
    """Holds a lane until it is opened."""

    def __init__(self, lane: Lane) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()
        self._holding = asyncio.ensure_future(lane.run(self._hold, Urgency.RENEWAL))

    def _hold(self, transaction: Transaction) -> None:
        self.reached.set()
        assert self._opened.wait(30)

    async def __aenter__(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 30)

    async def __aexit__(self, *_: object) -> None:
        self._opened.set()
        await self._holding


async def test_renewals_go_first(lane: Lane) -> None:
    """What waits is served by urgency, and in the order of asking within one."""
    asked = [
        ("page 1", Urgency.BULK),
        ("commit 1", Urgency.ORDINARY),
        ("beat 1", Urgency.RENEWAL),
        ("page 2", Urgency.BULK),
        ("commit 2", Urgency.ORDINARY),
        ("beat 2", Urgency.RENEWAL),
    ]
    async with Gate(lane):
        calls = [asyncio.ensure_future(lane.run(insert(name), urgency)) for name, urgency in asked]
        await asyncio.sleep(0)
    await asyncio.gather(*calls)

    assert await lane.run(everything) == [
        "beat 1",
        "beat 2",
        "commit 1",
        "commit 2",
        "page 1",
        "page 2",
    ]


async def test_nobody_waits_for_ever(lane: Lane) -> None:
    """However many renewals there are, a page gets its turn among them."""
    async with Gate(lane):
        calls = [asyncio.ensure_future(lane.run(insert("page"), Urgency.BULK))]
        calls += [
            asyncio.ensure_future(lane.run(insert("beat"), Urgency.RENEWAL)) for _ in range(100)
        ]
        await asyncio.sleep(0)
    await asyncio.gather(*calls)

    assert (await lane.run(everything)).index("page") == 16


async def test_call_cancelled_before_its_turn_does_nothing(lane: Lane) -> None:
    """A caller that gave up while it waited has changed nothing."""
    async with Gate(lane):
        call = asyncio.ensure_future(lane.run(insert("never")))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
    assert call.cancelled()
    assert await lane.run(everything) == []


async def test_call_cancelled_during_its_turn_takes_effect_wholly(lane: Lane) -> None:
    """A caller that gave up too late has changed all it meant to, and is told once it has."""
    reached, go_on = threading.Event(), threading.Event()

    def work(transaction: Transaction) -> None:
        insert("first")(transaction)
        reached.set()
        assert go_on.wait(30)
        insert("second")(transaction)

    call = asyncio.ensure_future(lane.run(work))
    assert await asyncio.to_thread(reached.wait, 30)
    call.cancel()
    await asyncio.wait([call], timeout=0.05)
    assert not call.done()
    go_on.set()
    await asyncio.wait([call])

    assert call.cancelled()
    assert await lane.run(everything) == ["first", "second"]


async def test_call_cancelled_while_it_waits_for_the_file_does_nothing(path: Path) -> None:
    """A caller that gave up while another connection had the lock has changed nothing."""
    beginning = threading.Event()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE seen (name TEXT)")
    connection.set_trace_callback(lambda statement: beginning.set())
    lane = Lane(path, connection, lambda: NOW, begin=["BEGIN IMMEDIATE"])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        call = asyncio.ensure_future(lane.run(insert("never")))
        assert await asyncio.to_thread(beginning.wait, 30)
        call.cancel()
        await asyncio.wait([call])
        other.execute("ROLLBACK")

    assert await lane.run(everything) == []
    await lane.stop()


async def test_failure_rolls_back(lane: Lane) -> None:
    """A transaction that raises leaves nothing, and the next one begins afresh."""

    def work(transaction: Transaction) -> None:
        insert("never")(transaction)
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await lane.run(work)
    assert await lane.run(everything) == []


def refuse(transaction: Transaction) -> None:
    """A transaction that changes its mind."""
    insert("refused")(transaction)
    raise LookupError("refused")


async def test_calls_that_wait_are_committed_together(path: Path) -> None:
    """Who waits meanwhile shares the next commit, and one that fails takes no other along."""
    statements: list[str] = []
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE seen (name TEXT)")
    lane = Lane(path, connection, lambda: NOW, begin=["BEGIN IMMEDIATE"])
    noted: list[Sequence[None]] = []
    async with Gate(lane):
        connection.set_trace_callback(statements.append)
        calls = [
            asyncio.ensure_future(lane.run(work, then=noted.append))
            for work in (insert("first"), refuse, insert("last"))
        ]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(answer) for answer in answers] == [type(None), LookupError, type(None)]
    assert noted == [[None, None]]
    assert statements.count("COMMIT") == 2  # the gate's own is one of them
    assert await lane.run(everything) == ["first", "last"]
    await lane.stop()


async def test_a_transaction_that_is_gone_fails_all_its_calls(lane: Lane) -> None:
    """When an error ends the whole transaction, nobody in it is told that anything was written."""

    def lost(transaction: Transaction) -> None:
        transaction.connection.execute("ROLLBACK")
        raise LookupError("lost")

    async with Gate(lane):
        calls = [
            asyncio.ensure_future(lane.run(work))
            for work in (insert("first"), lost, insert("last"))
        ]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(answer) for answer in answers] == [LookupError] * 3
    assert await lane.run(everything) == []


async def test_then_runs_after_the_commit(lane: Lane, path: Path) -> None:
    """What follows a commit sees it as others do."""
    seen: list[int] = []

    def then(results: Sequence[None]) -> None:
        other = sqlite3.connect(path)
        seen.append(other.execute("SELECT count(*) FROM seen").fetchone()[0])
        other.close()

    await lane.run(insert("row"), then=then)

    assert seen == [1]


async def test_stop_finishes_what_was_asked_for(path: Path) -> None:
    """Stopping answers those who wait, then closes, and refuses whoever comes after."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE seen (name TEXT)")
    lane = Lane(path, connection, lambda: NOW, begin=["BEGIN IMMEDIATE"])
    async with Gate(lane):
        calls = [asyncio.ensure_future(lane.run(insert(str(n)))) for n in range(3)]
        await asyncio.sleep(0)
        stopping = asyncio.ensure_future(lane.stop())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="closed"):
            await lane.run(everything)
    await stopping
    await asyncio.gather(*calls)

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


async def test_outlast_raises_the_cancellation_afterwards() -> None:
    """What nothing can stop is waited for, and the cancellation is not forgotten."""
    finish = asyncio.Event()
    inner = asyncio.ensure_future(finish.wait())
    outer = asyncio.ensure_future(outlast(inner))
    await asyncio.sleep(0)
    outer.cancel()
    await asyncio.sleep(0)
    assert not outer.done()

    finish.set()
    await asyncio.wait([outer])
    assert outer.cancelled()
    assert inner.result() is True
