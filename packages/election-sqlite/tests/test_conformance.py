"""The SQLite store keeps what the ports promise."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest
from typing_extensions import override

from election_testkit import (
    Ability,
    AccessStoreConformance,
    JobStoreConformance,
    SharedStoreConformance,
    StoreConformance,
    Subject,
    Suite,
)
from sqlite_subject import ONE_PROCESS, SqliteSubject

_FAST = Path("/dev/shm")
_FOLDER = _FAST if _FAST.is_dir() else None
"""Nothing here is about disks."""


class _OnSqlite(Suite):
    lacks: ClassVar = {Ability.SIBLING: ONE_PROCESS}

    @pytest.fixture
    @override
    async def subject(self) -> AsyncIterator[Subject]:
        """A store on a file of the test's own."""
        with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
            async with SqliteSubject.open(Path(folder) / "election.db") as subject:
                yield subject


class TestStore(_OnSqlite, StoreConformance):
    """Groups, runners, sessions, events and the mark."""


class TestJobs(_OnSqlite, JobStoreConformance):
    """Jobs and their claims."""


class TestAccess(_OnSqlite, AccessStoreConformance):
    """Tokens."""


class TestShared(_OnSqlite, SharedStoreConformance):
    """What one process tells the others, of which there are none."""
