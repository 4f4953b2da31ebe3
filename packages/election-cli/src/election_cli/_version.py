"""``election version``."""

from __future__ import annotations

import platform
from importlib.metadata import version as version_of

import click

from election_cli._output import print_facts, print_json

__all__ = ["version"]

_PACKAGES = (
    "election-cli",
    "election-core",
    "election-ctl-api",
    "election-postgres",
    "election-sdk",
    "election-sqlite",
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def version(as_json: bool) -> None:
    """The versions of this program's packages, and of Python."""
    found = {name: version_of(name) for name in _PACKAGES}
    found["python"] = platform.python_version()
    if as_json:
        print_json(found)
    else:
        print_facts(found)
