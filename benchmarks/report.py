"""What a benchmark prints: on what it ran, and Markdown tables.

A figure is a ratio of two sides that took turns in one run, so that whatever else the machine did
meanwhile met both of them.
"""

from __future__ import annotations

import os
import platform
import shlex
import sqlite3
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

__all__ = ["heading", "ratio", "table", "turns"]

_ROOT = Path(__file__).parents[1]


def heading(title: str, *, postgres: str | None = None, packages: Sequence[str] = ()) -> None:
    """Print what is measured, with which command, on what versions and which machine.

    Args:
        title: What is measured.
        postgres: The server's version, where there is one.
        packages: What else of the environment had a part in it.
    """
    program = os.path.relpath(sys.argv[0], _ROOT)
    servers = [f"SQLite {sqlite3.sqlite_version}"]
    if postgres is not None:
        servers.insert(0, f"Postgres {postgres}")
    versions = [
        f"{platform.python_implementation()} {platform.python_version()}",
        *servers,
        *(f"{package} {version(package)}" for package in packages),
    ]
    memory = psutil.virtual_memory().total / 2**30
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    print(f"### {title}\n")
    print(f"`{shlex.join(['python', program, *sys.argv[1:]])}`")
    print(f"on {machine}; {', '.join(versions)}.\n", flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table; its first column to the left, figures to the right."""
    print(f"| {' | '.join(columns)} |")
    print(f"| --- |{' ---: |' * (len(columns) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)


async def turns(rounds: int, *sides: Callable[[], Awaitable[float]]) -> list[list[float]]:
    """Measure each side in turn, again and again; the figures of each side.

    A first turn of each warms up and does not count. Every other round begins with the last side,
    so that none is always behind the same one.
    """
    figures: list[list[float]] = [[] for _ in sides]
    for number in range(rounds + 1):
        order = range(len(sides)) if number % 2 else reversed(range(len(sides)))
        for side in order:
            figure = await sides[side]()
            if number:
                figures[side].append(figure)
    return figures


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, str]:
    """The median of the ratios of the rounds, and from where to where half of them are."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    if len(ratios) < 2:
        return ratios[0], "–"
    low, _, high = statistics.quantiles(ratios, n=4)
    return statistics.median(ratios), f"{low:.2f}–{high:.2f}"
