"""One shell for all commands of a page."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docs.page_blocks import PageError

END_SECONDS = 15.0
POLL_SECONDS = 0.1


class PageShell:
    """A bash that runs command after command and keeps its variables, until the `with` block ends.

    Args:
        folder: Where it starts.
        environment: The variables it starts with.
        command_seconds: How long one command may take.
        ready_seconds: How long a background command may take to be ready.
    """

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        *,
        command_seconds: float = 600.0,
        ready_seconds: float = 60.0,
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._command_seconds = command_seconds
        self._ready_seconds = ready_seconds
        self._logs: list[Path] = []
        self._stuck = False

    def __enter__(self) -> Self:
        """Start bash, in a process group of its own."""
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ask what runs in the background to end, and end what is left."""
        self._command_seconds = END_SECONDS
        with contextlib.suppress(PageError, OSError):
            if not self._stuck:
                self._execute(
                    'background=$(jobs -p); [ -z "$background" ] || kill $background; wait'
                )
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def run(self, command: str) -> tuple[int, str]:
        """Run a command, showing what it prints as it comes; its status and what it printed.

        Raises:
            PageError: If it takes longer than it may, or ends the shell.
        """
        return self._execute(command, show=True)

    def start(self, command: str, ready: str | None = None) -> None:
        """Start a command that goes on, and wait until the address answers.

        Raises:
            PageError: If the command ends before that, or takes longer than it may.
        """
        log = self._folder / f".background-{len(self._logs)}.log"
        self._logs.append(log)
        self._execute(f"{{ {command}\n}} >{shlex.quote(str(log))} 2>&1 & started=$!")
        deadline = time.monotonic() + self._ready_seconds
        while ready is not None and not _answers(ready):
            if self._execute('kill -0 "$started"')[0] != 0:
                raise PageError(f"ended before it was ready: {command}\n{log.read_text()}")
            if time.monotonic() > deadline:
                raise PageError(f"not ready in time: {command}\n{log.read_text()}")
            time.sleep(POLL_SECONDS)

    def background_output(self) -> str:
        """What the background commands have printed so far."""
        return "".join(log.read_text() for log in self._logs)

    def _execute(self, command: str, *, show: bool = False) -> tuple[int, str]:
        assert self._process.stdin is not None
        end = f"end-of-command-{time.monotonic_ns()}"
        script = f"{{ {command}\n}} </dev/null\nprintf '\\n%s %d\\n' {end} $?\n"
        self._process.stdin.write(script.encode())
        self._process.stdin.flush()

        deadline = time.monotonic() + self._command_seconds
        unread, lines = "", list[str]()
        while True:
            *complete, unread = (unread + self._read(command, deadline)).split("\n")
            for line in complete:
                if status := re.fullmatch(rf"{end} (\d+)", line):
                    return int(status[1]), "\n".join(lines)
                lines.append(line)
                if show:
                    print(line, flush=True)

    def _read(self, command: str, deadline: float) -> str:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        left = max(0.0, deadline - time.monotonic())
        if not select.select([descriptor], [], [], left)[0]:
            self._stuck = True
            raise PageError(f"took longer than {self._command_seconds:g} s: {command}")
        if not (printed := os.read(descriptor, 65_536)):
            raise PageError(f"ended the shell: {command}")
        return printed.decode(errors="replace")


def _answers(url: str) -> bool:
    """Whether the address answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=5.0):
            return True
    except (urllib.error.URLError, OSError):
        return False
