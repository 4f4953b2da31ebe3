"""What an adapter lacks is reported, with the reason and never by silence."""

from __future__ import annotations

import pytest

from election_testkit import (
    START,
    AccessStoreConformance,
    SharedStoreConformance,
    Subject,
    Suite,
    cases,
)
from memory_subject import MemorySubject

pytest_plugins = ["pytester"]

_NEEDY = len(cases(SharedStoreConformance)) - 1
"""All cases of that suite but the one about what is lacked need a sibling."""

_BEGINNING = """
from election_testkit import Ability, SharedStoreConformance, Subject
from memory_subject import MemorySubject
import pytest

class Alone(MemorySubject):
    sibling = Subject.sibling

class TestMine(SharedStoreConformance):
    @pytest.fixture
    async def subject(self):
        return Alone()
"""
_LACKS = """
    lacks = {Ability.SIBLING: "one process at a time"}
"""


def run(pytester: pytest.Pytester, page: str) -> pytest.RunResult:
    """Run a file of tests as an adapter's author does."""
    pytester.makepyfile(page)
    return pytester.runpytest_inprocess("-rxf", "-k", "asyncio", "-p", "no:cacheprovider")


def test_lack_is_an_expected_failure(pytester: pytest.Pytester) -> None:
    """The cases that need what the adapter lacks are reported with its reason, none is skipped."""
    result = run(pytester, _BEGINNING + _LACKS)
    result.assert_outcomes(passed=1, xfailed=_NEEDY)
    result.stdout.fnmatch_lines(["XFAIL *test_nobody_hears_itself* no sibling: one process at a*"])


def test_lack_that_is_not_declared_is_red(pytester: pytest.Pytester) -> None:
    """The cases that need what nobody wrote fail, and say what to do."""
    result = run(pytester, _BEGINNING)
    result.assert_outcomes(passed=1, failed=_NEEDY)
    result.stdout.fnmatch_lines(["*has no sibling(); write it, or declare Ability.SIBLING in*"])


def test_lack_of_what_is_there_is_red(pytester: pytest.Pytester) -> None:
    """An adapter that has what it declares to lack does not pass."""
    result = run(pytester, _BEGINNING.replace("Alone()", "MemorySubject()") + _LACKS)
    result.assert_outcomes(failed=1, xfailed=_NEEDY)
    result.stdout.fnmatch_lines(["FAILED *test_lacks_nothing_that_it_has*"])


def test_lack_without_a_reason_is_red(pytester: pytest.Pytester) -> None:
    """A reason has to be given."""
    result = run(pytester, _BEGINNING + _LACKS.replace("one process at a time", ""))
    result.assert_outcomes(failed=1, xfailed=_NEEDY)
    result.stdout.fnmatch_lines(["*a reason is missing*"])


def test_subject_has_to_be_given(pytester: pytest.Pytester) -> None:
    """A suite without the fixture tells its author what is missing."""
    page = "from election_testkit import AccessStoreConformance\n"
    result = run(pytester, page + "class TestMine(AccessStoreConformance): ...")
    result.assert_outcomes(errors=len(cases(AccessStoreConformance)))
    result.stdout.fnmatch_lines(["*NotImplementedError: override the fixture `subject`"])


async def test_subject_says_what_is_not_written() -> None:
    """A subject that does not say how to open its data again cannot be asked to."""
    subject = MemorySubject()
    with pytest.raises(NotImplementedError, match=r"declare Ability\.REOPEN in `lacks`"):
        await subject.reopen()
    assert (await subject.store.due(0)).at == START


def test_cases_are_all_tests_of_a_suite() -> None:
    """The cases are the coroutine functions that pytest would run, inherited ones included."""

    class Mine(Suite):
        async def test_this(self, subject: Subject) -> None: ...

        async def _test_not_this(self, subject: Subject) -> None: ...

        def test_nor_this(self) -> None: ...

    assert cases(Mine) == ["test_lacks_nothing_that_it_has", "test_this"]
