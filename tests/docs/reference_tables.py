"""The parts of the reference pages that are made from the code, so that they cannot drift from it.

    python -m tests.docs.reference_tables

writes them anew, each between the comments `<!-- made: NAME -->` and `<!-- end of NAME -->` of its
page. The tests only compare.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import cleandoc, getdoc
from pathlib import Path

import click

from election_cli._config import KEYS
from election_cli._exits import ExitCode
from election_cli._main import cli
from election_core import CODES, LEADERSHIP, SESSION, Leadership, Outcome, SessionCall, SessionState
from election_ctl_api._access import GRANTS, Access, Reach
from election_ctl_api._routes import OPERATIONS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"

_COMMON = ("--url", "--token", "--token-file", "--state-dir", "--config", "--json", "--help")
"""Options that nearly every command has; the page tells of them once."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _first_sentence(text: str | None) -> str:
    """The first paragraph of a docstring, on one line, as Markdown."""
    paragraph = cleandoc(text or "").split("\n\n", 1)[0].replace("\n", " ")
    return paragraph.replace("``", "`")


# --------------------------------------------------------------------------- HTTP


def _who(access: Access) -> str:
    if access is Access.PUBLIC:
        return "anybody"
    told = {Reach.ALL: "", Reach.OWN_GROUP: " (own group)", Reach.OWN_RUNNER: " (itself)"}
    return ", ".join(f"{kind.value}{told[reach]}" for kind, reach in GRANTS[access].items())


def routes() -> str:
    """What may be called, by whom, and with what it is answered."""
    rows = []
    for each in OPERATIONS:
        codes = ", ".join(f"`{error.code}`" for error in each.errors)
        statuses = ", ".join(str(status) for status in each.answers)
        told = _first_sentence(getdoc(each.function))
        rows.append((f"`{each.method} {each.path}`", told, _who(each.access), statuses, codes))
    return table(("call", "what it does", "token", "answers", "own errors"), rows)


def codes() -> str:
    """The codes of errors."""
    found = sorted(CODES.items(), key=lambda item: (item[1].status, item[0]))
    rows = (
        (f"`{code}`", str(error.status), f"`{error.__name__}`", _first_sentence(getdoc(error)))
        for code, error in found
    )
    return table(("code", "status", "Python", "meaning"), rows)


# --------------------------------------------------------------------------- states


def sessions() -> str:
    """What each call does to a session in each state."""
    rows = []
    for state in SessionState:
        cells = [f"**{state.value}**"]
        for call in SessionCall:
            found = SESSION[state, call]
            cells.append(f"`{found.code}`" if isinstance(found, type) else found.value)
        rows.append(cells)
    return table(("state", *(call.value for call in SessionCall)), rows)


def leaderships() -> str:
    """What each decision does to a group's leadership in each state."""
    rows = []
    for state in Leadership:
        cells = [f"**{state.value}**"]
        for outcome in Outcome:
            after, event = LEADERSHIP.get((state, outcome), (None, None))
            if after is None:
                cells.append("cannot come out")
            else:
                cells.append(after.value + (f", event `{event}`" if event else ""))
        rows.append(cells)
    return table(("state", *(f"`{outcome.value}`" for outcome in Outcome)), rows)


# --------------------------------------------------------------------------- command


def exit_codes() -> str:
    """What the exit code of a command means."""
    return table(("exit code", "meaning"), ((str(int(code)), code.meaning) for code in ExitCode))


def keys() -> str:
    """What may be configured."""
    return table(
        ("key", "variable", "what"),
        ((f"`{key}`", f"`ELECTION_{key.upper()}`", what) for key, what in KEYS.items()),
    )


def _leaves(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _leaves(found, click.Context(found, info_name=name, parent=context))
    else:
        yield context.command_path, command, context


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and not set(parameter.opts) & set(_COMMON):
            record = parameter.get_help_record(context)
            if record is not None:
                yield f"`{record[0]}`", " ".join(record[1].split()).replace("[", r"\[")


def commands() -> str:
    """Each command with its own options."""
    parts = []
    for path, command, context in _leaves(cli, click.Context(cli, info_name="election")):
        usage = " ".join(command.collect_usage_pieces(context))
        told = cleandoc(command.help or "").replace("``", "`")
        parts.append(f"### {path}\n\n```text\n{path} {usage}\n```\n\n{told}")
        if rows := list(_options(command, context)):
            parts.append(table(("option", "what"), rows))
    return "\n\n".join(parts)


MADE: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "http-api.md": {"routes": routes, "codes": codes},
    "states.md": {"sessions": sessions, "leadership": leaderships},
    "cli.md": {"exit codes": exit_codes, "keys": keys, "commands": commands},
}
"""For each page what is made, by name."""


def rewritten(page: str, text: str) -> str:
    """The text of a page with what is made from the code as it is now.

    Raises:
        ValueError: A part has no place in the page.
    """
    for name, make in MADE[page].items():
        start, end = f"<!-- made: {name} -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(start)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise ValueError(f"{page}: {start} … {end} is wanted")
        text = f"{before}{start}\n\n{make()}\n\n{end}{after}"
    return text


def main() -> int:
    """Write the parts anew."""
    for name in MADE:
        page = REFERENCE / name
        page.write_text(rewritten(name, page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
