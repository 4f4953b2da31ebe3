"""Processes that are started, frozen, woken and killed for real, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread

__all__ = ["Child", "Processes", "StartError", "first_line"]

_POLL = 0.02
_TAIL_LINES = 15


class StartError(Exception):
    """A process ended or stayed silent instead of coming up; the text says what it wrote."""


class Child:
    """One process in a process group of its own, with what it writes kept in two files.

    Signals go to the whole group, so what the process started shares its fate. The group is its own
    also so that Ctrl-C reaches the demo alone, which then ends its children in order.
    """

    def __init__(
        self, name: str, popen: subprocess.Popen[bytes], stdout: Path, stderr: Path
    ) -> None:
        self.name = name
        self._popen = popen
        self._stdout = stdout
        self._stderr = stderr
        self._frozen = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended; a frozen process has not."""
        return self._popen.poll() is None

    @property
    def frozen(self) -> bool:
        """Whether it was frozen and not woken since."""
        return self._frozen

    def output(self) -> str:
        """What it has written so far: standard output, then standard error."""
        return _text(self._stdout) + _text(self._stderr)

    def last_words(self) -> str:
        """The end of its standard error, for a person who asks why it ended.

        Not of its standard output, where a server tells the operator's token.
        """
        lines = _text(self._stderr).strip().splitlines()[-_TAIL_LINES:]
        return "\n".join(f"  {self.name} | {line}" for line in lines) or "  (no error was written)"

    def kill(self) -> None:
        """SIGKILL: no clean-up, no farewell."""
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def freeze(self) -> None:
        """SIGSTOP: it stands still and does not know it."""
        self._signal(signal.SIGSTOP)
        self._frozen = True

    def wake(self) -> None:
        """SIGCONT: it goes on where it was."""
        self._signal(signal.SIGCONT)
        self._frozen = False

    async def stop(self, *, within: float) -> bool:
        """SIGTERM, and SIGKILL for a process that is still there after `within` seconds.

        Returns:
            Whether it ended by itself.
        """
        self._signal(signal.SIGTERM)
        try:
            await anyio.to_thread.run_sync(self._popen.wait, within, abandon_on_cancel=True)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            os.killpg(self.pid, number)


class Processes:
    """All children of the demo; a context manager that leaves none behind, whatever happens.

    It is synchronous on purpose: neither a cancelled event loop nor Ctrl-C at a bad moment keeps it
    from ending what it started.

    Args:
        folder: Where what they write is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill_all()

    def kill_all(self) -> None:
        """End every child that is still there; a frozen one dies of SIGKILL as well."""
        for child in self._children:
            child.kill()

    def start(
        self, name: str, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start ``python -m …`` with the interpreter of the demo.

        Args:
            name: What people call it; the file with its output is named after it.
            arguments: What follows ``-m``.
            environment: Variables beyond those of the demo; secrets go here, where `ps` does not
                show them.
        """
        place = self._folder / f"{len(self._children):02}-{name}"
        stdout, stderr = place.with_suffix(".out"), place.with_suffix(".err")
        with stdout.open("wb") as output, stderr.open("wb") as errors:
            popen = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={**_environment(), **(environment or {})},
                start_new_session=True,
            )
        child = Child(name, popen, stdout, stderr)
        self._children.append(child)
        return child


def _environment() -> dict[str, str]:
    """The demo's own variables without those that configure another control plane."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ELECTION_")}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


async def first_line(child: Child, marker: str, *, within: float) -> str:
    """The first line with `marker` that a process writes.

    Raises:
        StartError: It ended before, or wrote none in time.
    """
    give_up = time.monotonic() + within
    while True:
        ended = not child.running
        for line in child.output().splitlines(keepends=True):
            if marker in line and line.endswith("\n"):
                return line.strip()
        if ended:
            raise StartError(f"{child.name} ended as it came up:\n{child.last_words()}")
        if time.monotonic() > give_up:
            raise StartError(
                f"{child.name} did not come up within {within:g} s:\n{child.last_words()}"
            )
        await anyio.sleep(_POLL)
