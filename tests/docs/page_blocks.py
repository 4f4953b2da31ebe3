"""The blocks of a Markdown page that are marked to be run.

A fenced block is marked by an HTML comment on the line before it:

    <!-- run -->
    ```console
    $ uv run election --version
    ```

In a `console` block the lines after a `$ ` prompt are commands (a backslash at a line's end or a
`> ` prompt continues one) and the other lines are what they print; in a `sh` or `bash` block the
whole block is one command. Options in the comment, after `run`:

    check         the printed lines must be those shown; `...` stands for anything, also for lines
    exit=N        the block's last command ends with status N instead of 0
    background    the block goes on running until the page is done
    ready=URL     with `background`: go on as soon as this address answers
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass


class PageError(Exception):
    """The page cannot be read, or a command did not do what the page says."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command, the line it starts at, and what the page shows below it."""

    line: int
    text: str
    shown: str = ""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One marked block, with its options."""

    commands: tuple[Command, ...]
    check: bool = False
    exit_status: int = 0
    background: bool = False
    ready: str | None = None


_MARK = re.compile(r"^\s*<!--\s*run\b(?P<options>.*?)-->\s*$")
_FENCE = re.compile(r"^\s*(?P<fence>`{3,}|~{3,})\s*(?P<language>[\w-]*)")


def read_blocks(text: str) -> list[Block]:
    """The marked blocks of a page, in order.

    Raises:
        PageError: If a mark has no block below it, an unknown option or an unknown language.
    """
    lines = text.splitlines()
    return [
        _read_block(lines, number, mark["options"])
        for number, line in enumerate(lines)
        if (mark := _MARK.match(line))
    ]


def agrees(shown: str, printed: str) -> bool:
    """Whether the printed lines are those shown, where `...` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("..."))
    return re.fullmatch(pattern, printed.strip(), flags=re.DOTALL) is not None


def _read_block(lines: Sequence[str], mark: int, options: str) -> Block:
    opening = _FENCE.match(lines[mark + 1]) if mark + 1 < len(lines) else None
    if opening is None:
        raise PageError(f"line {mark + 1}: no fenced block follows the mark")
    rest = lines[mark + 2 :]
    ends = [number for number, line in enumerate(rest) if line.strip() == opening["fence"]]
    if not ends:
        raise PageError(f"line {mark + 2}: the block does not end")

    body, first = rest[: ends[0]], mark + 3
    match opening["language"]:
        case "console":
            commands = _read_console(body, first)
        case "sh" | "bash":
            commands = (Command(line=first, text="\n".join(body)),)
        case other:
            raise PageError(f"line {mark + 2}: cannot run a block of {other or 'no language'}")
    return _with_options(commands, options, mark + 1)


def _read_console(body: Sequence[str], first: int) -> tuple[Command, ...]:
    commands: list[tuple[int, list[str], list[str]]] = []
    continued = False
    for number, line in enumerate(body, first):
        if line.startswith("$ ") and not continued:
            commands.append((number, [line[2:]], []))
        elif not commands:
            raise PageError(f"line {number}: a console block starts with a `$ ` prompt")
        elif continued or (line.startswith("> ") and not commands[-1][2]):
            commands[-1][1].append(line.removeprefix("> "))
        else:
            commands[-1][2].append(line)
        continued = line.endswith("\\") and not commands[-1][2]
    return tuple(
        Command(line=number, text="\n".join(text), shown="\n".join(shown))
        for number, text, shown in commands
    )


def _with_options(commands: tuple[Command, ...], options: str, line: int) -> Block:
    check, background, exit_status, ready = False, False, 0, None
    for option in shlex.split(options):
        match option.partition("="):
            case "check", "", "":
                check = True
            case "background", "", "":
                background = True
            case "exit", "=", status if status.isdigit():
                exit_status = int(status)
            case "ready", "=", url if url:
                ready = url
            case _:
                raise PageError(f"line {line}: unknown option {option}")
    if background and (len(commands) != 1 or check or exit_status):
        raise PageError(f"line {line}: a background block is one command, and how it ends is open")
    if ready and not background:
        raise PageError(f"line {line}: ready goes with background")
    return Block(
        commands=commands,
        check=check,
        exit_status=exit_status,
        background=background,
        ready=ready,
    )
