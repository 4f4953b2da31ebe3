"""What all suites share: the fixture, what an adapter lacks, and patience."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import ClassVar

import pytest

from election_testkit._subject import Ability, FullStore, Subject

__all__ = ["Suite", "cases"]


class Suite:
    """A conformance suite: subclass it, and give it the fixture `subject`.

    Every test of it runs. What the adapter cannot have it declares in `lacks` with the reason; the
    tests that need it are then reported as expected failures with that reason.
    """

    pytestmark = pytest.mark.anyio

    lacks: ClassVar[Mapping[Ability, str]] = {}
    """What the adapter cannot have, each with the reason why."""
    patience: ClassVar[float] = 30
    """How many seconds any one thing may take before it counts as stuck."""
    many_groups: ClassVar[int] = 10_000
    """How many groups the tests with many of them make."""
    many_calls: ClassVar[int] = 200
    """How many calls are more than the adapter has connections."""

    @pytest.fixture
    async def subject(self) -> Subject:
        """The adapter under test; the subclass says which."""
        raise NotImplementedError("override the fixture `subject`")

    def need(self, ability: Ability) -> None:
        """Go on if the adapter has this, and else end the test as an expected failure."""
        reason = self.lacks.get(ability)
        if reason is not None:
            pytest.xfail(f"no {ability}: {reason}")

    async def reopened(self, subject: Subject) -> FullStore:
        """The store, closed and opened again."""
        self.need(Ability.REOPEN)
        return await subject.reopen()

    async def sibling(self, subject: Subject) -> FullStore:
        """Another store object over the same data."""
        self.need(Ability.SIBLING)
        return await subject.sibling()

    async def test_lacks_nothing_that_it_has(self, subject: Subject) -> None:
        """What the adapter declares to lack has a reason, and is not there."""
        written = {
            Ability.REOPEN: type(subject).reopen is not Subject.reopen,
            Ability.SIBLING: type(subject).sibling is not Subject.sibling,
        }
        assert all(self.lacks.values()), "a reason is missing"
        assert [ability for ability in self.lacks if written[ability]] == []


def cases(suite: type[Suite]) -> list[str]:
    """The names of a suite's tests, its bases' included.

    Each is a coroutine function that takes the subject alone, so that one case can be run by hand:
    `await getattr(suite(), name)(subject)`.
    """
    found = inspect.getmembers(suite, inspect.iscoroutinefunction)
    return [name for name, _ in found if name.startswith("test_")]
