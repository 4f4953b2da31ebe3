"""The SQLite store does what the store in memory does, whatever is asked of the two, and when."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hypothesis import settings
from typing_extensions import override

from election_sqlite import SqliteStore
from election_testkit import AgreementMachine, FullStore, ManualClock
from sqlite_clock import ManualClock as SqliteClock

_FAST = Path("/dev/shm")
_FOLDER = _FAST if _FAST.is_dir() else None
"""Nothing here is about disks."""


class SqliteAgreement(AgreementMachine):
    """SQLite beside memory."""

    @override
    @asynccontextmanager
    async def open_store(self, clock: ManualClock) -> AsyncIterator[FullStore]:
        self.machine_clock = SqliteClock()
        with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
            path = Path(folder) / "election.db"
            async with SqliteStore.open(path, clock=self.machine_clock) as store:
                yield store

    @override
    async def moved(self, clock: ManualClock) -> None:
        self.machine_clock.advance((clock() - self.machine_clock.wall()).total_seconds())


TestSqliteAgreement = SqliteAgreement.TestCase
TestSqliteAgreement.settings = settings(max_examples=40, stateful_step_count=40)
