"""Callers that go away at the worst moment."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from election_sqlite._lane import Lane
from sqlite_clock import ManualClock


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancelled_call_keeps_no_lock(tmp_path: Path) -> None:
    """A call cancelled while it waits for the lock gives it back at once, not with the next."""
    path, loop = tmp_path / "election.db", asyncio.get_running_loop()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    statements: list[str] = []
    waiting, is_cancelled = asyncio.Event(), threading.Event()

    def wait_for_the_lock(statement: str) -> None:
        statements.append(statement)
        if statement.startswith("BEGIN"):
            loop.call_soon_threadsafe(waiting.set)
            is_cancelled.wait(20)

    connection.set_trace_callback(wait_for_the_lock)
    lane = Lane(path, connection, ManualClock().wall, begin=["BEGIN IMMEDIATE"])
    call = asyncio.ensure_future(lane.run(lambda _: statements.append("the work")))
    await waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    is_cancelled.set()
    await lane.stop()
    assert statements == ["BEGIN IMMEDIATE", "ROLLBACK"]
