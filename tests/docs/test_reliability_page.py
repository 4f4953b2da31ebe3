"""Every test that `RELIABILITY.md` names exists."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

import election_testkit
from tests.architecture.workspace import ROOT

_NAMED = sorted(
    set(re.findall(r"`([\w/-]+\.py)::([\w:]+)`", (ROOT / "RELIABILITY.md").read_text("utf-8")))
)


@cache
def _tests(path: str) -> frozenset[str]:
    """The tests of a file, those of a class as `Class::test`, a suite's among them."""
    found: set[str] = set()
    for node in ast.parse((ROOT / path).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}::{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            suites = [getattr(election_testkit, ast.unparse(base), None) for base in node.bases]
            found |= {
                f"{node.name}::{name}"
                for suite in suites
                if isinstance(suite, type) and issubclass(suite, election_testkit.Suite)
                for name in election_testkit.cases(suite)
            }
    return frozenset(found)


def test_the_page_has_a_row_for_each_fault() -> None:
    """No number is left out, and tests are named."""
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "RELIABILITY.md").read_text("utf-8"), re.MULTILINE)
    assert [int(row) for row in rows] == list(range(1, 44))
    assert len(_NAMED) > 50


@pytest.mark.parametrize(("path", "name"), _NAMED)
def test_a_named_test_exists(path: str, name: str) -> None:
    """A test that is renamed or removed is renamed or removed on the page too."""
    assert name.startswith("test_") or "::test_" in name
    assert name in _tests(path)
