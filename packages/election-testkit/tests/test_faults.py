"""A store that fails as it is told to, and is the store beneath it in everything else."""

from __future__ import annotations

from itertools import count

import anyio
import anyio.lowlevel
import pytest
from typing_extensions import override

from election_core import Changes, Conflict, OutcomeUnknown, Settings, Unavailable, create_group
from election_core.memory import SharedMemoryStore
from election_core.ports import Committed
from election_testkit import (
    START,
    AccessStoreConformance,
    After,
    Before,
    CancelAt,
    Delay,
    FaultyStore,
    FullStore,
    JobStoreConformance,
    StoreConformance,
    Subject,
    Suite,
)
from memory_subject import LastingMemorySubject

_NEW = create_group("g", Settings(), at=START)


async def create(store: FaultyStore) -> Committed:
    """Create the group."""
    return await store.commit(_NEW, expected_revision=0, commit_id="once")


async def exists(store: FaultyStore) -> bool:
    """Whether the group is there, as the store beneath has it."""
    return (await store.store.groups()).items != ()


class _Faulty(LastingMemorySubject):
    def __init__(self) -> None:
        super().__init__()
        self.store = FaultyStore(self.shared)

    @override
    async def reopen(self) -> FullStore:
        self.store = FaultyStore(await super().reopen())
        return self.store


class _OverAnother(Suite):
    many_groups = 500

    @pytest.fixture
    @override
    async def subject(self) -> Subject:
        """A store in memory under one that is never told to fail."""
        return _Faulty()


class TestStore(_OverAnother, StoreConformance):
    """What is passed on about groups is what the store beneath promises."""


class TestJobs(_OverAnother, JobStoreConformance):
    """What is passed on about jobs is what the store beneath promises."""


class TestAccess(_OverAnother, AccessStoreConformance):
    """What is passed on about tokens is what the store beneath promises."""


async def test_error_before_the_write() -> None:
    """A call that fails before it writes takes no effect, and the next one does."""
    store = FaultyStore(SharedMemoryStore())
    store.plan("commit", Before(), Before(Conflict("somebody was faster")))
    with pytest.raises(Unavailable):
        await create(store)
    with pytest.raises(Conflict, match="somebody was faster"):
        await create(store)
    assert not await exists(store)

    await create(store)
    assert await exists(store)
    assert store.calls["commit"] == 3


async def test_error_after_the_write() -> None:
    """A call whose answer is lost has taken effect."""
    store = FaultyStore(SharedMemoryStore())
    store.plan("commit", After())
    with pytest.raises(OutcomeUnknown):
        await create(store)
    assert await exists(store)
    store.plan("ready", After(Unavailable("gone since")))
    with pytest.raises(Unavailable, match="gone since"):
        await store.ready()


async def test_call_that_fails_anyhow_fails_as_it_would() -> None:
    """No answer is lost of a call that the store beneath refuses."""
    store = FaultyStore(SharedMemoryStore())
    await create(store)
    store.plan("commit", After())
    with pytest.raises(Conflict):
        await store.commit(_NEW, expected_revision=7, commit_id="other")


async def test_delay_comes_before_the_write() -> None:
    """A delayed call has written nothing while it waits, and writes then."""
    store = FaultyStore(SharedMemoryStore())
    store.plan("commit", Delay(3600), Delay(0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(create, store)
        await anyio.wait_all_tasks_blocked()
        await store.ready()  # others go past it
        assert not await exists(store)
        tasks.cancel_scope.cancel()
    assert not await exists(store)

    await create(store)
    assert await exists(store)


class _Waiting(SharedMemoryStore):
    """A store that waits for its driver, before and after it writes."""

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        await anyio.lowlevel.checkpoint()
        answer = await super().commit(
            changes, expected_revision=expected_revision, commit_id=commit_id
        )
        await anyio.lowlevel.checkpoint()
        return answer


async def test_cancelled_at_each_await() -> None:
    """The caller is cancelled at the await that was chosen, before the write or behind it."""
    seen = []
    for awaits in count():
        store = FaultyStore(_Waiting())
        with anyio.CancelScope() as scope:
            store.plan("commit", CancelAt(scope, awaits))
            await create(store)
        seen.append((scope.cancelled_caught, await exists(store)))
        if not scope.cancel_called:
            break
    assert sorted(set(seen), key=seen.index) == [(True, False), (True, True), (False, True)]


async def test_store_that_is_away() -> None:
    """While it is away every call fails and none takes effect, whatever was planned."""
    store = FaultyStore(SharedMemoryStore(), away=True)
    store.plan("commit", After())
    for call in (create(store), store.ready(), store.mark(Settings().lease), store.job_counts()):
        with pytest.raises(Unavailable):
            await call
    assert not await exists(store)
    assert store.calls == {"commit": 1, "ready": 1, "mark": 1, "job_counts": 1}

    store.away = False
    with pytest.raises(OutcomeUnknown):
        await create(store)


async def test_faults_are_met_one_by_one() -> None:
    """Each method meets its own faults, in their order and once."""
    store = FaultyStore(SharedMemoryStore())
    store.plan("ready", Before())
    store.plan("ready", After())
    store.plan("census", Before())
    for error in (Unavailable, OutcomeUnknown):
        with pytest.raises(error):
            await store.ready()
    await store.ready()
    with pytest.raises(Unavailable):
        await store.census()
