"""The adapter that the how-to writes keeps what the ports promise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
from hypothesis import settings
from typing_extensions import override

from election_core.ports import SharedStore
from election_testkit import (
    START,
    AccessStoreConformance,
    AgreementMachine,
    FullStore,
    JobStoreConformance,
    ManualClock,
    SharedStoreConformance,
    StoreConformance,
    Subject,
    Suite,
)
from examples.journal_store import JournalStore

FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
"""Nothing here is about disks."""


def open_at(folder: Path, clock: ManualClock) -> AbstractAsyncContextManager[JournalStore]:
    """The store in a folder, under a clock that stands until it is moved."""
    return JournalStore.open(folder, wall=clock, elapsed=lambda: clock() - START)


class JournalSubject(Subject):
    """A store in a folder, as the suites are given it."""

    packages = ("examples",)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.first = AsyncExitStack()
        self.others = AsyncExitStack()

    @override
    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @override
    async def reopen(self) -> FullStore:
        await self.first.aclose()
        self.store = await self.first.enter_async_context(open_at(self.folder, self.clock))
        return self.store

    @override
    async def sibling(self) -> FullStore:
        return await self.others.enter_async_context(open_at(self.folder, self.clock))


class OnJournal(Suite):
    """Where the suites get their subject."""

    many_groups: ClassVar = 200

    @pytest.fixture
    @override
    async def subject(self) -> AsyncIterator[Subject]:
        """A store in a folder of the test's own."""
        with TemporaryDirectory(dir=FAST) as folder:
            subject = JournalSubject(Path(folder))
            await subject.reopen()
            async with subject.first, subject.others:
                yield subject


class TestStore(OnJournal, StoreConformance):
    """Groups, runners, sessions, events and the mark."""


class TestJobs(OnJournal, JobStoreConformance):
    """Jobs and their claims."""


class TestAccess(OnJournal, AccessStoreConformance):
    """Tokens."""


class TestShared(OnJournal, SharedStoreConformance):
    """What one process tells the others."""


class JournalAgreement(AgreementMachine):
    """The store in a folder beside the store in memory."""

    @override
    @asynccontextmanager
    async def open_store(self, clock: ManualClock) -> AsyncIterator[FullStore]:
        with TemporaryDirectory(dir=FAST) as folder:
            async with open_at(Path(folder), clock) as store:
                yield store


TestAgreement = JournalAgreement.TestCase
TestAgreement.settings = settings(max_examples=10, stateful_step_count=30)


def as_shared(store: JournalStore) -> SharedStore:
    """It has the optional capability too, which mypy looks at here."""
    return store
