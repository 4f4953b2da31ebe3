"""What command lines name: groups, runners, labels, JSON values."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from pathlib import Path

import click
from attrs import frozen
from typing_extensions import override

from election_cli._connection import Connection, pages
from election_core import NotFound, RunnerInfo
from election_sdk import Client

__all__ = [
    "LIMIT",
    "MOST",
    "ListFirst",
    "RunnerReference",
    "choice",
    "group_and",
    "key_values",
    "names_of",
    "read_json",
    "runner_reference",
]

LIMIT = click.IntRange(min=1)
MOST = 500
"""The largest page that the control API answers."""


def choice(kinds: type[StrEnum]) -> click.Choice[str]:
    """One of an enum's values, as they are on the wire."""
    return click.Choice([kind.value for kind in kinds])


class ListFirst(click.Group):
    """Subcommands, of which ``list`` is meant when none is named."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if first not in self.commands and first not in ctx.help_option_names:
            args = ["list", *args]
        return super().parse_args(ctx, args)


def group_and(
    connection: Connection, words: Sequence[str], name: str, group: str | None = None
) -> tuple[str, str]:
    """The group and the other word of ``[GROUP] WORD``.

    Args:
        connection: Knows the group when it is left out.
        words: What stands on the command line.
        name: What the other word is called.
        group: What ``--group`` says.

    Raises:
        click.UsageError: There are too many words, or too few.
    """
    match words:
        case [first, second] if group is None:
            return first, second
        case [only]:
            return connection.group(group), only
        case _:
            raise click.UsageError(f"GROUP and {name} are wanted; {name} alone if a group is set.")


@frozen
class RunnerReference:
    """A runner as a person names it: an id, a name in a group, or ``GROUP/NAME``."""

    text: str
    group: str | None
    """Where to look for a name."""

    async def find(self, client: Client) -> RunnerInfo:
        """The runner.

        Raises:
            NotFound: There is none of that id or name.
        """
        if self.group is not None:
            found = [runner async for runner in _runners(client, self.group)]
            for runner in found:
                if runner.id == self.text:
                    return runner
            for runner in found:
                if runner.name == self.text:
                    return runner
        try:
            return await client.runner(self.text)
        except NotFound:
            if self.group is not None:
                raise NotFound(
                    f"no runner {self.text!r} in group {self.group!r}; "
                    f"`election runners {self.group}` lists them"
                ) from None
            raise NotFound(
                f"no runner has the id {self.text!r}; to name one, say GROUP/NAME or --group GROUP"
            ) from None


def runner_reference(connection: Connection, text: str, group: str | None) -> RunnerReference:
    """What a person means by a runner.

    Args:
        connection: Knows the group when none is named.
        text: An id, a name, or ``GROUP/NAME``.
        group: What ``--group`` says; the text is not split then.

    Raises:
        click.UsageError: It is empty.
    """
    before, slash, after = text.partition("/")
    if group is None and slash:
        group, text = before, after
    if not text or group == "":
        raise click.UsageError("A runner is wanted: its id, or GROUP/NAME.")
    return RunnerReference(text, group or connection.settings.get("group"))


async def names_of(client: Client, group: str) -> dict[str, str]:
    """The names of a group's runners by id."""
    return {runner.id: runner.name async for runner in _runners(client, group)}


def _runners(client: Client, group: str) -> AsyncIterator[RunnerInfo]:
    return pages(lambda cursor: client.runners(group, cursor=cursor, limit=MOST))


def key_values(values: Sequence[str], option: str) -> dict[str, str]:
    """Labels, from ``KEY=VALUE`` each.

    Raises:
        click.UsageError: One of them has no ``=``, or no key.
    """
    found = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.UsageError(f"{option}: KEY=VALUE is wanted, not {text!r}.")
        found[key] = value
    return found


def read_json(text: str, option: str) -> object:
    """A JSON value: as it stands, from ``@FILE``, or from standard input for ``-``.

    Raises:
        click.UsageError: It cannot be read, or is no JSON.
    """
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).expanduser().read_text(encoding="utf-8")
        return json.loads(text, parse_constant=_no_constant)
    except OSError as error:
        raise click.UsageError(f"{option}: {error.filename}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{option}: this is no JSON: {error}.") from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON value")
