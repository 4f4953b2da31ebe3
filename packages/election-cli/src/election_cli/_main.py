"""The command and its subcommands, each imported when it is used, so that help is quick."""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NoReturn

import click
from typing_extensions import override

from election_cli._exits import CommandError, ExitCode

__all__ = ["cli", "main"]

_SECTIONS: Final = {
    "Server": {
        "serve": ("election_cli._serve:serve", "Run a control plane."),
        "migrate": ("election_cli._migrate:migrate", "Prepare a Postgres database, or update it."),
        "backup": ("election_cli._backup:backup", "Copy an SQLite database, also of a server."),
        "restore": ("election_cli._backup:restore", "Put a backup in place of the database."),
        "demo": ("election_cli.demo:command", "Show it work: real processes, killed and frozen."),
    },
    "See": {
        "groups": (
            "election_cli._groups:groups",
            "Runner groups: list, create, show, set, delete.",
        ),
        "runners": ("election_cli._runners:runners", "Runners: list, register, show, delete."),
        "leader": ("election_cli._leadership:leader", "Who leads a group."),
        "explain": ("election_cli._explain:explain", "Why a runner leads, and why others do not."),
        "what-if": ("election_cli._explain:what_if", "Who would lead if something were different."),
        "events": ("election_cli._events:events", "What happened in a group."),
        "jobs": ("election_cli._jobs:jobs", "Jobs: list, add, show, cancel."),
    },
    "Decide": {
        "taint": ("election_cli._marks:taint", "Keep a runner from leading."),
        "untaint": ("election_cli._marks:untaint", "Remove taints of a runner."),
        "pin": ("election_cli._leadership:pin", "Choose the leader of a group."),
        "unpin": ("election_cli._leadership:unpin", "Leave the choice to the policy again."),
        "drain": ("election_cli._marks:drain", "Let a runner finish and take no new work."),
        "undrain": ("election_cli._marks:undrain", "End a drain."),
    },
    "Look after": {
        "tokens": ("election_cli._tokens:tokens", "Tokens: list, create, revoke."),
        "version": ("election_cli._version:version", "The versions of this program."),
    },
}
"""Where each command is, and what is said of it."""

_COMMANDS: Final = {
    name: found for section in _SECTIONS.values() for name, found in section.items()
}


class _Commands(click.Group):
    """A group that imports a subcommand when it is asked for it, and lists them without."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, said) for name, (_, said) in section.items()])

    @override
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), code.meaning) for code in ExitCode])
        with formatter.section("Configuration"):
            formatter.write_text(
                "A flag, else a variable (ELECTION_URL, ELECTION_TOKEN, ELECTION_TOKEN_FILE, "
                "ELECTION_GROUP, ELECTION_OWNER, ELECTION_STATE_DIR, ELECTION_STORE, "
                "ELECTION_DIRECT_STORE, ELECTION_LISTEN), else the key of that name (url, token, "
                "…) in the file election/config.toml of your configuration directory. Without a "
                "token the one that `election serve` keeps in its state directory is used, for a "
                "server on this machine."
            )
        with formatter.section("Completion"):
            formatter.write_text(
                'In bash: eval "$(_ELECTION_COMPLETE=bash_source election)"; in zsh with '
                "zsh_source, in fish with fish_source."
            )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="election-cli", prog_name="election")
def cli() -> None:
    """Elect one leader per runner group, and ask who leads and why.

    Every command has --help, and --json for programs: standard output then holds JSON alone.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the ``election`` command and end the process with its exit code.

    Args:
        arguments: The command line behind the program's name; the process's own unless given.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(None if arguments is None else list(arguments)))


def _run(arguments: list[str] | None) -> int:
    try:
        ended = cli.main(arguments, prog_name="election", standalone_mode=False)
    except CommandError as error:
        error.show()
        return error.code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone; nothing more may be written to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as error:  # noqa: BLE001 - people get a sentence, whatever happened
        if os.environ.get("ELECTION_DEBUG"):
            traceback.print_exc()
        click.echo(
            f"Error: a defect of this program ({type(error).__name__}); "
            "with ELECTION_DEBUG=1 it tells where",
            err=True,
        )
        return ExitCode.FAULT
    return ended if isinstance(ended, int) else ExitCode.OK
