"""The agreement machine passes a store that does what memory does, and no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from typing_extensions import override

from election_core.memory import SharedMemoryStore
from election_testkit import AgreementMachine, FullStore, ManualClock
from wrong_commits import ForgetsCommitIds, IgnoresTheRevision
from wrong_queue import ComparesNoBodies, CountsStatesWithoutJobs, SkipsTheRowItLookedAheadAt
from wrong_settling import RollsAllBack

_SEARCH = settings(
    max_examples=500,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)
"""The same examples each time, and no effort to make the one that fails any smaller."""


def machine(store: type[SharedMemoryStore]) -> type[AgreementMachine]:
    """The machine for a store of this kind."""

    class Agreement(AgreementMachine):
        @override
        @asynccontextmanager
        async def open_store(self, clock: ManualClock) -> AsyncIterator[FullStore]:
            yield store(clock=clock)

    return Agreement


def test_store_that_agrees_is_green() -> None:
    """A store that answers as the one in memory does passes."""
    run_state_machine_as_test(
        machine(SharedMemoryStore), settings=settings(_SEARCH, max_examples=20)
    )


@pytest.mark.parametrize(
    "store",
    [
        ComparesNoBodies,
        CountsStatesWithoutJobs,
        ForgetsCommitIds,
        IgnoresTheRevision,
        RollsAllBack,
        SkipsTheRowItLookedAheadAt,
    ],
)
def test_store_that_does_not_is_red(store: type[SharedMemoryStore]) -> None:
    """Whatever a store does otherwise, sooner or later it answers otherwise."""
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine(store), settings=_SEARCH)


def test_store_has_to_be_given() -> None:
    """A machine without a store tells its author what is missing."""
    with pytest.raises(NotImplementedError, match="open the adapter under test here"):
        run_state_machine_as_test(AgreementMachine, settings=_SEARCH)
