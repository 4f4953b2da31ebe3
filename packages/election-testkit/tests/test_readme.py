"""The page that introduces the kit is as good as its word."""

from __future__ import annotations

from pathlib import Path

import pytest

from election_testkit import (
    AccessStoreConformance,
    JobStoreConformance,
    StoreConformance,
    cases,
    strategies,
)

pytest_plugins = ["pytester"]

_README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_example_runs_the_suites(pytester: pytest.Pytester) -> None:
    """What the page begins with, put into a file, holds a store to three suites and the machine."""
    example = _README.split("```python\n")[1].split("```")[0]
    pytester.makepyfile(example.replace("max_examples=50", "max_examples=2"))
    result = pytester.runpytest_inprocess(
        "-k", "not trio and not many_groups", "-p", "no:cacheprovider"
    )
    outcomes = result.parseoutcomes()
    suites = (StoreConformance, JobStoreConformance, AccessStoreConformance)
    every = sum(len(cases(suite)) for suite in suites)
    assert set(outcomes) == {"passed", "xfailed", "deselected"}
    # All cases but the one with many groups, and the machine.
    assert outcomes["passed"] + outcomes["xfailed"] == every - 1 + 1


def test_strategies_are_all_named() -> None:
    """The page names every strategy there is."""
    assert [name for name in strategies.__all__ if f"`{name}`" not in _README] == []
