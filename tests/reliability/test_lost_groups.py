"""Groups that were created in the time that a restored store has lost."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from election_core import EPOCH_JUMP, NotFound, Settings
from election_core.engine import Engine
from election_core.memory import MemoryStore
from election_core.ports import Store
from election_sqlite import SqliteStore, restore


@pytest.fixture
def anyio_backend() -> str:
    """SQLite runs on asyncio only."""
    return "asyncio"


async def check_created_anew(store: Store) -> None:
    """The group that was lost comes back with higher epochs, and behind a barrier."""
    async with Engine(store) as engine:
        with pytest.raises(NotFound):
            await engine.group("g")
        await engine.create_group("g")
        runner, _ = await engine.register("g", "a")
        standing = await engine.open_session(runner.id, session_key="1")
        group = await engine.group("g")
        assert group.epoch == EPOCH_JUMP
        assert group.leader_runner_id is None
        assert group.grant_not_before is not None
        assert group.grant_not_before > standing.store_time


async def test_a_group_lost_with_the_newest_commits_reuses_no_epoch(tmp_path: Path) -> None:
    """A backup knows nothing of a group that was created and led after it was made."""
    database, copy = tmp_path / "election.db", tmp_path / "copy.db"
    async with SqliteStore.open(database) as store, Engine(store) as engine:
        await store.backup(copy)
        await engine.create_group("g", Settings(lease=timedelta(seconds=15)))
        runner, _ = await engine.register("g", "a")
        standing = await engine.open_session(runner.id, session_key="1")
        assert standing.epoch == 1

    await restore(copy, database)

    async with SqliteStore.open(database) as store:
        await check_created_anew(store)


async def test_the_reference_store_agrees() -> None:
    """The store in memory does the same once it was told that commits may be missing."""
    store = MemoryStore()
    store.lose_commits()
    await store.mark(timedelta(seconds=1))
    await check_created_anew(store)
