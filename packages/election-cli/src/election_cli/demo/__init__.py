"""``election demo``: see it work, with real processes that are killed and frozen for real.

Read :mod:`~election_cli.demo._script` first: the acts, in the order in which they are played. What
is promised is checked by :mod:`~election_cli.demo._audit`, from the store, once the server has
stopped.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from election_cli._config import Settings
from election_cli._exits import ExitCode
from election_cli._output import print_json
from election_cli._stores import SqliteFile, find_store

__all__ = ["command"]


@click.command("demo")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option(
    "--keep", is_flag=True, help="Keep the folder with the database and all that was written."
)
@click.option(
    "--store",
    metavar="URL",
    help="Use this store, as sqlite:///PATH or postgresql://USER@HOST/DATABASE, instead of a file "
    "in a temporary folder.",
)
def command(*, as_json: bool, keep: bool, store: str | None) -> int:
    """Start a server and three runners, kill, taint and freeze them, and check what is promised.

    Takes about half a minute. Exits with 1 if a promise was broken, and says which.

    In a store that you name it makes a group of its own, which stays there for you to look at, and
    touches no other. A Postgres database has to be prepared with `election migrate`.
    """
    from rich.console import Console

    from election_cli.demo._performance import Performance, perform
    from election_cli.demo._timeline import Timeline

    complaints = Console(stderr=True, highlight=False)
    console = Console(highlight=False)
    if as_json:
        console = Console(stderr=True, highlight=False, quiet=not sys.stderr.isatty())
    with _folder(keep=keep) as folder:
        location = (
            SqliteFile(folder / "election.db")
            if store is None
            else find_store(Settings({"store": store}))
        )
        performance = Performance(folder=folder, store=location)
        report = perform(performance, Timeline(console))
    if as_json:
        print_json(report.as_json())
    else:
        report.show(console)
    report.complain(complaints)
    return ExitCode.OK if report.ok else ExitCode.REFUSED


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """A folder of the demo's own, gone at the end unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="election-demo-"))
    try:
        yield folder
    finally:
        if keep:
            click.echo(f"Everything is kept in {folder}", err=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
