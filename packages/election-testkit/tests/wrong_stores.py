"""Stores that are wrong on purpose, and the cases of the suites that each must turn red.

To add one, write a subclass of `SharedMemoryStore` in a module `wrong_*.py` of this folder. Break
one thing in it as an adapter's author might, name it for that, and say above it which cases must
notice:

    @turns_red(StoreConformance.test_revision_rises_by_one)
    class AnswersTheOldRevision(SharedMemoryStore):
        '''Answers the revision that the commit was planned from.'''

`test_wrong_stores.py` finds the module by its name. It runs every case with the right store, which
must be green, and with each of its wrong ones, which must be red, and fails while a case has none.
Where a wrong store leaves its cases waiting for ever, say `hangs=True`; it is then the deadline of
the suite's `patience` that has to end them, and nothing else may.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pytest
from attrs import frozen
from typing_extensions import override

import election_testkit
from election_core import ElectionError
from election_core.memory import SharedMemoryStore
from election_testkit import Subject, Suite, cases
from memory_subject import LastingMemorySubject

__all__ = ["CASES", "SUITES", "WRONG", "Case", "Wrong", "failures", "turns_red"]

Case: TypeAlias = Callable[[Any, Subject], Coroutine[Any, Any, None]]
Store = TypeVar("Store", bound=type[SharedMemoryStore])

_TESTKIT = Path(election_testkit.__file__).parent
_RED = (AssertionError, pytest.fail.Exception, ElectionError, TimeoutError)
_SOON = 0.1
"""Seconds after which a case counts as stuck that is meant to be."""

SUITES = [
    suite
    for suite in (getattr(election_testkit, name) for name in election_testkit.__all__)
    if isinstance(suite, type) and issubclass(suite, Suite) and suite is not Suite
]
"""All that are published."""

CASES: dict[Case, type[Suite]] = {
    getattr(suite, name): suite
    for suite in SUITES
    for name in cases(suite)
    if name not in cases(Suite)
}
"""Every case with its suite, without those that are about the suite itself."""


@frozen
class Wrong:
    """A case, and a store that must turn it red."""

    case: Case
    store: type[SharedMemoryStore]
    hangs: bool

    @override
    def __str__(self) -> str:
        return f"{self.case.__qualname__}-{self.store.__name__}"


WRONG: list[Wrong] = []
"""All that were declared."""


def turns_red(*noticing: Case, hangs: bool = False) -> Callable[[Store], Store]:
    """Declare a store as wrong.

    Args:
        noticing: The cases that must turn red with it.
        hangs: Whether it leaves them waiting for ever.
    """

    def declare(store: Store) -> Store:
        WRONG.extend(Wrong(case, store, hangs) for case in noticing)
        return store

    return declare


async def failures(
    case: Case, store: type[SharedMemoryStore], *, hangs: bool = False
) -> list[BaseException]:
    """Run a case by hand; why it is red, or nothing if it is green.

    An error that is no verdict of the suite's is raised: that of a wrong store which does not work,
    an assertion within the store, a case that declared what the store lacks.
    """
    suite = CASES[case]
    settings = {"many_groups": 50, "many_calls": 50, "patience": _SOON if hangs else suite.patience}
    try:
        await case(type(suite.__name__, (suite,), settings)(), LastingMemorySubject(store))
    except BaseException as error:
        reasons = _leaves(error)
        if all(map(_is_verdict, reasons)):
            return reasons
        raise
    return []


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _is_verdict(error: BaseException) -> bool:
    if isinstance(error, AssertionError):
        raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
        return Path(raised_in).is_relative_to(_TESTKIT)
    return isinstance(error, _RED) and not isinstance(error, pytest.xfail.Exception)
