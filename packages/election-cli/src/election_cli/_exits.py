"""What the exit code of a command means, and the one sentence that goes with a failure."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from election_core import ElectionError

__all__ = ["CommandError", "ExitCode", "describe", "exit_code_of", "failure"]


class ExitCode(IntEnum):
    """How a command ended."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        """A code with what it means."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "done"
    REFUSED = 1, "refused: what exists contradicts it"
    USAGE = 2, "the command line, the configuration or a value is wrong"
    NOT_FOUND = 3, "not found, or the group has no leader"
    DENIED = 4, "not authenticated, or not allowed"
    UNAVAILABLE = 5, "the server or its store does not answer"
    FAULT = 70, "a defect of this program"
    INTERRUPTED = 130, "interrupted"


class CommandError(click.ClickException):
    """A command that failed: one sentence for standard error, and an exit code."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


_BY_CODE = {
    "invalid": ExitCode.USAGE,
    "payload-too-large": ExitCode.USAGE,
    "not-found": ExitCode.NOT_FOUND,
    "no-leader": ExitCode.NOT_FOUND,
    "unauthenticated": ExitCode.DENIED,
    "forbidden": ExitCode.DENIED,
}

_FIXES = {
    "forbidden": "use an operator's token, or ask who has one",
    "no-leader": "`election explain GROUP` says why",
    "not-eligible": "`election explain GROUP` says why; --when-eligible pins it for later",
    "owned-by-other": "give --owner its owner's name, or --force",
    "cursor-expired": "leave --after or --cursor out",
    "method-not-allowed": "the server is of another version; compare `election version`",
}
"""What to do, where the server's own sentence does not say it."""


def problem_code(error: ElectionError) -> str:
    """The code of the HTTP contract, one of a later version included."""
    return str(error.facts.get("code", error.code))


def exit_code_of(error: ElectionError) -> ExitCode:
    """The exit code for an error of the system."""
    code = _BY_CODE.get(problem_code(error))
    if code is not None:
        return code
    return ExitCode.UNAVAILABLE if error.status >= 500 else ExitCode.REFUSED


def describe(error: ElectionError, fix: str | None = None) -> str:
    """One sentence: what is wrong, the problem's code, and what to do about it.

    Args:
        error: What was raised.
        fix: What to do about it; otherwise what is known for its code.
    """
    code = problem_code(error)
    fix = fix if fix is not None else _FIXES.get(code)
    said = error.detail.rstrip(". ")
    return f"{said} ({code})" + (f"; {fix}" if fix else "")


def failure(error: ElectionError, fix: str | None = None) -> CommandError:
    """The failure of a command for an error of the system."""
    return CommandError(describe(error, fix), exit_code_of(error))
