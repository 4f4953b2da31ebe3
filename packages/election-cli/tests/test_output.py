"""What is printed, for people and for programs."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from election_cli._output import (
    print_facts,
    print_json,
    print_table,
    visible,
    when,
)


def test_a_table_elsewhere_than_on_a_terminal_is_cut_nowhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A row is one line, however long, with columns two spaces apart and no trailing blanks."""
    long = "x" * 500

    print_table(("NAME", "STATUS"), [(long, "active"), ("b", None)])

    assert capsys.readouterr().out == (f"{'NAME':<500}  STATUS\n{long}  active\n{'b':<500}  -\n")


def test_a_table_without_rows_says_so_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The header alone goes to standard output, the sentence to standard error."""
    print_table(("NAME",), [], empty="There are none.")

    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("NAME\n", "There are none.\n")


def test_a_table_on_a_terminal_folds_and_keeps_every_character(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a narrow terminal long cells are folded, not cut, and markup in them means nothing."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "dumb")

    print_table(("NAME", "WHY"), [("0123456789" * 4, "[bold]x[/bold]")])

    out = capsys.readouterr().out
    assert sum(char.isdigit() for char in out) == 40
    assert "…" not in out
    assert "[bold]" in out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ✓ text", "plain ✓ text"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\u202ereversed", "\\u202ereversed"),
    ],
)
def test_names_cannot_command_the_terminal(text: str, shown: str) -> None:
    """What others wrote is shown in one line, its control characters as escapes."""
    assert visible(text) == shown


def test_facts_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Names stand below each other, as far as there is something to say."""
    print_facts({"name": "a", "longer name": "b", "nothing": None, "neither": "-", "empty": ""})

    assert capsys.readouterr().out == "name         a\nlonger name  b\n"


def test_times_are_utc() -> None:
    """A time is shown in UTC to the second, whatever its zone."""
    zone = timezone(timedelta(hours=2))

    assert when(datetime(2026, 1, 31, 13, 5, 6, 700, tzinfo=zone)) == "2026-01-31 11:05:06Z"
    assert when(None) == "-"


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Types of the core have their form of the HTTP contract."""
    at = datetime(2026, 1, 31, tzinfo=UTC)

    print_json({"at": at, "name": "Ä\x1b"})

    assert json.loads(capsys.readouterr().out) == {"at": "2026-01-31T00:00:00Z", "name": "Ä\x1b"}
