"""What a conformance suite is given: an adapter under test, with its time in the suite's hands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol

from election_core.ports import AccessStore, JobStore, Store
from election_testkit._client_clock import client_clock_off

__all__ = ["Ability", "FullStore", "Subject"]


class FullStore(Store, JobStore, AccessStore, Protocol):
    """One object that is a store of groups, of jobs and of tokens."""


class Ability(StrEnum):
    """What some adapters cannot have; everything else each of them has."""

    REOPEN = "reopen"
    """To open the same data again, as after a restart."""
    SIBLING = "sibling"
    """To have another store object over the same data, as another process would."""


class Subject(ABC):
    """An adapter under test.

    Subclass it, and yield one from the `subject` fixture of each suite. Its time stands still until
    [`advance`][election_testkit.Subject.advance] is awaited. The data may be shared by many tests:
    the suites make groups, runners and jobs of fresh names and mind no others.

    Attributes:
        store: The store object that the tests talk to.
        packages: Import names of what runs in the client, the adapter and its driver: those modules
            see the wrong wall clock while [`client_clock`][election_testkit.Subject.client_clock]
            is entered.
    """

    store: FullStore
    packages: tuple[str, ...] = ()

    @abstractmethod
    async def advance(self, seconds: float) -> None:
        """Let so much of the store's time pass, for every store object over the data."""

    async def reopen(self) -> FullStore:
        """Close the store in an orderly way, open the same data again, and set `store` to it."""
        raise NotImplementedError(
            "this adapter's Subject has no reopen(); write it, or declare Ability.REOPEN in `lacks`"
        )

    async def sibling(self) -> FullStore:
        """Another store object over the same data, which the fixture closes in the end."""
        raise NotImplementedError(
            "this adapter's Subject has no sibling(); write it, or declare Ability.SIBLING in "
            "`lacks`"
        )

    @contextmanager
    def client_clock(self, seconds: float) -> Iterator[None]:
        """Put the wall clock of the client's process off by so much, the store's clock not.

        As it stands `time.time`, `time.time_ns` and, in the modules of `packages`, `datetime.now`
        are off. Extend it if the adapter reads the wall clock in another way.
        """
        with client_clock_off(seconds, self.packages):
            yield
