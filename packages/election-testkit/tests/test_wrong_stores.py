"""The suites can fail: for each case there is a store that is wrong in just the way it is about."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from election_core.memory import SharedMemoryStore
from wrong_stores import CASES, WRONG, Case, Wrong, failures

for _module in sorted(Path(__file__).parent.glob("wrong_*.py")):
    importlib.import_module(_module.stem)


@pytest.fixture
def anyio_backend() -> str:
    """One event loop: what is wrong is so on any, and the right store is tested on both."""
    return "asyncio"


def test_every_case_has_a_wrong_store() -> None:
    """No case is without a store that must turn it red, and no store is for a case of no suite."""
    declared = {wrong.case for wrong in WRONG}
    assert [case.__qualname__ for case in CASES if case not in declared] == []
    assert declared <= set(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__qualname__)
async def test_right_store_is_green(case: Case) -> None:
    """Run by hand as for the wrong stores, each case passes with the right one."""
    assert await failures(case, SharedMemoryStore) == []


@pytest.mark.parametrize("wrong", WRONG, ids=str)
async def test_wrong_store_is_red(wrong: Wrong) -> None:
    """Each case notices the faults that it is said to notice, hanging only where that is said."""
    reasons = await failures(wrong.case, wrong.store, hangs=wrong.hangs)
    assert reasons, "the case is green"
    stuck = [isinstance(reason, TimeoutError) for reason in reasons]
    assert all(stuck) if wrong.hangs else not any(stuck), reasons
