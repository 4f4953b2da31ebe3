"""What pages quote of files is in them."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

import pytest

ROOT = Path(__file__).parents[2]
QUOTE = re.compile(r"(?:^<!-- from (\S+) -->\n)?^```py\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [page for page in sorted(ROOT.glob("docs/**/*.md")) if QUOTE.search(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_quotes_are_in_their_files(page: Path) -> None:
    """A block of `py`, which is not run, stands word for word in the file named above it."""
    for source, text in QUOTE.findall(page.read_text(encoding="utf-8")):
        assert source, f"which file is this from?\n{text}"
        file = (ROOT / source).read_text(encoding="utf-8")
        assert any(indent(text, "    " * depth) in file for depth in range(4)), f"{source}:\n{text}"


def test_the_how_to_quotes_its_adapter() -> None:
    """There is something to hold to: the page about adapters quotes the parts it is about."""
    page = (ROOT / "docs" / "how-to" / "write-an-adapter.md").read_text(encoding="utf-8")
    quoted = {Path(source).name for source, _ in QUOTE.findall(page)}
    assert {"_groups.py", "_sessions.py", "_jobs.py", "test_journal_store.py"} <= quoted
