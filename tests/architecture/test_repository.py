"""What is committed works on any machine and names none."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.architecture.workspace import ROOT

# A folder of somebody's machine, or a host that packages are downloaded from.
_OF_ONE_MACHINE = re.compile(
    r"(?<![\w/.~$}>-])/(?:home|root|work|Users)/\w"
    r"|[\w.-]*(?:pypi\.org|pythonhosted\.org|registry\.npmjs\.org|deb\.debian\.org)"
)


def _tracked() -> list[Path]:
    """Every committed or staged file, from the repository's root."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [Path(name) for name in listing.split("\0") if name and (ROOT / name).is_file()]


def test_no_lock_file_is_tracked() -> None:
    """Lock files name download hosts; the date in `pyproject.toml` pins versions instead."""
    locks = re.compile(r"(?:^|\.)lock$|-lock\.(?:json|yaml)$|^Pipfile\.lock$")

    assert [path for path in _tracked() if locks.search(path.name)] == []


def test_no_machine_is_named() -> None:
    """No tracked file holds a path of somebody's machine or a host of a package index."""
    here = Path(__file__).relative_to(ROOT)
    found = []
    for path in _tracked():
        try:
            lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path}:{number}: {line.strip()}"
            for number, line in enumerate(lines, 1)
            if path != here and _OF_ONE_MACHINE.search(line)
        ]

    assert found == []


def test_test_helpers_have_names_of_their_own() -> None:
    """Test folders are on one import path, so no two of them hold a helper module of one name."""
    names = Counter(
        path.name
        for path in ROOT.glob("packages/*/tests/*.py")
        if not path.name.startswith("test_") and path.name != "conftest.py"
    )

    assert [name for name, count in names.items() if count > 1] == []


def test_test_folders_are_no_packages() -> None:
    """With an `__init__.py` in two test folders, modules of one name would shadow each other."""
    folders = [*ROOT.glob("packages/*/tests"), ROOT / "tests"]

    assert [str(path) for folder in folders for path in folder.rglob("__init__.py")] == []
