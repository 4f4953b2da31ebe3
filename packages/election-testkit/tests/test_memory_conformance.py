"""The store in memory keeps what the ports promise."""

from __future__ import annotations

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
from memory_subject import MemorySubject


class _InMemory(Suite):
    lacks: ClassVar = {Ability.REOPEN: "it keeps nothing beyond its process"}

    @pytest.fixture
    @override
    async def subject(self) -> Subject:
        """A store of the test's own."""
        return MemorySubject()


class TestStore(_InMemory, StoreConformance):
    """Groups, runners, sessions, events and the mark."""


class TestJobs(_InMemory, JobStoreConformance):
    """Jobs and their claims."""


class TestAccess(_InMemory, AccessStoreConformance):
    """Tokens."""


class TestShared(_InMemory, SharedStoreConformance):
    """What one object over the data tells the others."""
