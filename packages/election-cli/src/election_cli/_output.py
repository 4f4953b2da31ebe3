"""What commands print: tables and sentences for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import click

from election_core import encode

__all__ = [
    "NOTHING",
    "labels",
    "print_facts",
    "print_json",
    "print_line",
    "print_table",
    "say",
    "visible",
    "when",
]

NOTHING = "-"
"""What stands in a cell that has nothing to say, so that columns can be counted."""

_STYLES = {
    "leader": "bold green",
    "stepping-down": "yellow",
    "active": "green",
    "unready": "yellow",
    "draining": "yellow",
    "offline": "red",
    "succeeded": "green",
    "running": "cyan",
    "failed": "red",
    "cancelled": "yellow",
    "yes": "green",
    "no": "red",
    "elected": "bold green",
    "vacated": "red",
    "handover-started": "yellow",
}


def visible(text: str) -> str:
    """A text in one line that cannot command a terminal: what is not printable is escaped."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def when(time: datetime | None) -> str:
    """A time in UTC, to the second."""
    if time is None:
        return NOTHING
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def labels(found: Mapping[str, str]) -> str:
    """Labels as they are given on the command line."""
    return ",".join(f"{key}={value}" for key, value in sorted(found.items())) or NOTHING


def say(sentence: str) -> None:
    """Print a sentence."""
    click.echo(visible(sentence))


def _dumps(value: object, indent: int | None) -> str:
    plain = sys.stdout.encoding.lower().replace("-", "") != "utf8"
    return json.dumps(encode(value), ensure_ascii=plain, indent=indent)


def print_json(value: object) -> None:
    """Print the one JSON document of a command."""
    click.echo(_dumps(value, 2))


def print_line(value: object) -> None:
    """Print one of many JSON documents, in a line of its own, at once."""
    click.echo(_dumps(value, None))
    sys.stdout.flush()


def print_facts(facts: Mapping[str, str | None]) -> None:
    """Print names and values below each other; without those that have no value."""
    shown = {name: value for name, value in facts.items() if value not in (None, "", NOTHING)}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name:<{width}}  {visible(value or '')}")


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[str | int | None]], *, empty: str = ""
) -> None:
    """Print a table.

    On a terminal it is coloured and folds what is too wide; elsewhere each row is one line, columns
    are two spaces apart, and nothing is cut.

    Args:
        headers: The columns' names.
        rows: A value for each column; ``None`` and ``""`` show as ``-``.
        empty: A sentence for standard error if there are no rows.
    """
    cells = [
        [NOTHING if value is None or value == "" else visible(str(value)) for value in row]
        for row in rows
    ]
    if not cells and empty:
        click.echo(empty, err=True)
    if sys.stdout.isatty():
        _print_rich(headers, cells)
    else:
        _print_plain(headers, cells)


def _print_plain(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [headers, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(headers))]
    for line in lines:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(text.rstrip())


def _print_rich(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)
