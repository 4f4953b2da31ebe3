"""The command as a whole: help, exit codes, what is imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from command_world import Run, environment
from election_cli._config import KEYS
from election_cli._exits import ExitCode
from election_cli._main import _COMMANDS, cli

NAMES = [
    "serve",
    "migrate",
    "groups",
    "runners",
    "leader",
    "taint",
    "untaint",
    "pin",
    "unpin",
    "drain",
    "undrain",
    "explain",
    "what-if",
    "events",
    "jobs",
    "tokens",
    "backup",
    "restore",
    "demo",
    "version",
]


def test_help_names_every_command_and_every_exit_code(run: Run) -> None:
    """What there is, and what an exit code means, stands in the first help people see."""
    found = run("--help")

    assert found.code == 0
    assert set(_COMMANDS) == set(NAMES)
    for name in NAMES:
        assert f"  {name} " in found.out
    for code in ExitCode:
        assert f"{int(code)}" in found.out
        assert code.meaning in found.out


def _leaves(command: click.Command, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    context = click.Context(command)
    return [
        leaf
        for name in command.list_commands(context)
        if (found := command.get_command(context, name)) is not None
        for leaf in _leaves(found, (*path, name))
    ]


@pytest.mark.parametrize("path", _leaves(cli, ()), ids=" ".join)
def test_every_command_has_help_and_json(path: tuple[str, ...], run: Run) -> None:
    """Each command explains itself, and has a form for programs."""
    found = run(*path, "--help")

    assert found.code == 0
    assert f"Usage: election {' '.join(path)}" in found.out
    assert "--json" in found.out


def test_help_is_quick() -> None:
    """Help imports no server, no client and no terminal library."""
    code = """
import sys
from election_cli import main
try:
    main(["--help"])
except SystemExit:
    pass
heavy = {"attrs", "election_core", "election_ctl_api", "election_sdk", "election_sqlite",
         "httpx2", "litestar", "platformdirs", "rich", "uvicorn", "asyncio"}
print("HEAVY", *(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1].split() == ["HEAVY"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("groups", "list", "--nonsense"), "No such option"),
        (("leader",), "Which group?"),
        (("taint",), "Missing argument 'RUNNER'"),
        (("taint", "r", "--ttl", "soon"), "is no duration"),
        (("taint", "r", "--effect", "none"), "'no-elect', 'prefer-no-elect', 'no-lead'"),
        (("taint", "/x"), "A runner is wanted"),
        (("pin", "a", "b", "c"), "GROUP and RUNNER are wanted"),
        (("jobs", "add", "g", "k", "--payload", "{"), "this is no JSON"),
        (("jobs", "add", "g", "k", "--payload", "NaN"), "NaN is no JSON value"),
        (("jobs", "add", "g", "k", "--payload", "@/missing/x"), "/missing/x: No such file"),
        (("groups", "create", "g", "--prefer-label", "x"), "KEY=VALUE is wanted"),
        (("groups", "create", "g", "--tolerate", "k:never"), "one of no-elect"),
        (("groups", "create", "g", "--tolerate", "=v"), "KEY[=VALUE][:EFFECT] is wanted"),
        (("groups", "create", "g", "--settings", "[]"), "a JSON object is wanted"),
        (("groups", "set", "g"), "Nothing is to be set"),
        (("tokens", "create", "--kind", "runner"), "needs --runner"),
        (("tokens", "create", "--kind", "viewer", "--runner", "r"), "belongs to --kind runner"),
        (("tokens", "create", "--kind", "viewer", "--group", "g"), "belongs to --kind join"),
        (("groups", "--url", "ftp://x"), "not a URL"),
        (("groups", "--token", "a b"), "characters that no token has"),
    ],
)
def test_a_wrong_command_line_is_2(arguments: tuple[str, ...], said: str, run: Run) -> None:
    """What is wrong with a command line is told on standard error, without asking any server."""
    found = run(*arguments)

    assert (found.code, found.out) == (ExitCode.USAGE, "")
    assert said in found.err
    assert "Traceback" not in found.err


def test_a_token_that_cannot_be_one_is_not_shown(run: Run) -> None:
    """The sentence about a malformed token does not hold it."""
    assert "sesame" not in run("groups", "--token", "open sesame").err


def test_the_version_is_told(run: Run) -> None:
    """`--version` says the program's, `version` those of its packages as well."""
    assert run("--version").out.startswith("election, version 0.")
    assert "election-core" in run("version").out
    assert set(run("version", "--json").json) >= {"election-cli", "election-sqlite", "python"}


def test_a_defect_is_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong inside, people see no stack trace unless they ask for one."""

    def broken() -> None:
        raise LookupError("elt_secret")

    monkeypatch.setattr("election_cli._version.version", click.Command("version", callback=broken))

    found = run("version")
    assert found.code == ExitCode.FAULT
    assert "a defect of this program (LookupError)" in found.err
    assert "elt_secret" not in found.err
    assert "Traceback" in run("version", ELECTION_DEBUG="1").err


def test_shells_can_complete_commands(tmp_path: Path) -> None:
    """The completion of the shell offers commands and options."""
    done = subprocess.run(
        [sys.executable, "-m", "election_cli"],
        env=environment(
            tmp_path, _ELECTION_COMPLETE="bash_complete", COMP_WORDS="election unt", COMP_CWORD="1"
        ),
        capture_output=True,
        text=True,
        check=True,
    )

    assert "untaint" in done.stdout


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """Output into a pipe that is closed ends the command quietly."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "election_cli", "version"],
        stdout=write,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
        check=False,
    )
    os.close(write)

    assert b"Traceback" not in done.stderr
    assert done.returncode in (0, 1, -signal.SIGPIPE)


def test_the_readme_tells_the_exit_codes_and_keys() -> None:
    """What the package's page says of exit codes and settings is what there is."""
    page = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")

    for code in ExitCode:
        assert f"| {int(code)} | {code.meaning} |" in page
    for key in KEYS:
        assert f"`{key}`" in page
        assert f"`ELECTION_{key.upper()}`" in page
