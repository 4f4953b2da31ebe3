"""Runner processes, thirty of which cost little more than one.

They are forked from a process that has imported what a runner needs. Each is a process of its own
all the same, with an event loop, connections, a state file and a fate of its own: a signal to one
reaches no other. Starting an interpreter for each would take longer than all that is tested.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from datetime import datetime
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import psutil

from election_cli.demo._journal import now
from election_cli.demo._worker import work

__all__ = ["RunnerProcess", "RunnerProcesses"]

_DEADLINE = 60.0
_POLL = 0.001
_fork = multiprocessing.get_context("forkserver")
_fork.set_forkserver_preload(["__main__", "election_cli.demo._worker"])


class RunnerProcess:
    """A registered runner, with the process that it is at the moment: that of the demo.

    Args:
        url: Where the control API listens.
        group: The runner's group.
        name: Its name.
        runner_id: Its id.
        token: Its own.
        folder: Where its processes keep the state file and their journals.
    """

    def __init__(
        self, url: str, *, group: str, name: str, runner_id: str, token: str, folder: Path
    ) -> None:
        self.name = name
        self.runner_id = runner_id
        self.cuts: list[datetime] = []
        """When it was killed or frozen, by the clock of the journals."""
        self._given = {
            "url": url,
            "group": group,
            "name": name,
            "runner_id": runner_id,
            "token": token,
            "folder": folder,
        }
        self._log = folder / f"{name}.log"
        self._process: BaseProcess | None = None

    @property
    def process(self) -> BaseProcess:
        """Its process."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    def start(self) -> None:
        """Start a process for it, which has the state file of the one before."""
        self._process = _fork.Process(
            target=_be, args=(self._log,), kwargs=self._given, daemon=True, name=self.name
        )
        self._process.start()

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)
        self.process.join(_DEADLINE)
        assert not self.process.is_alive()
        self.cuts.append(now())

    def freeze(self) -> None:
        """SIGSTOP; it stands still when this returns."""
        self._signal(signal.SIGSTOP)
        seen = psutil.Process(self.process.pid)
        give_up = time.monotonic() + _DEADLINE
        while seen.status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < give_up, f"{self.name} is not stopped"
            time.sleep(_POLL)
        self.cuts.append(now())

    def wake(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process.is_alive(), f"{self.name} has ended:\n{self._log.read_text()}"
        assert self.process.pid is not None
        os.kill(self.process.pid, number)


class RunnerProcesses(list[RunnerProcess]):
    """Those that a context manager ends, whatever happens in its block; frozen ones as well."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        for each in self:
            if each.process.is_alive():
                each.kill()


def _be(
    log: Path, *, url: str, group: str, name: str, runner_id: str, token: str, folder: Path
) -> None:
    """What such a process does, with what it says kept in a file; it ends with the tests."""
    written = log.open("a", encoding="utf-8", buffering=1)
    os.dup2(written.fileno(), sys.stdout.fileno())
    os.dup2(written.fileno(), sys.stderr.fileno())
    os.setsid()
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    given = {"group": group, "name": name, "runner_id": runner_id, "token": token}
    anyio.run(partial(work, url, **given, folder=folder))


def _end_with_the_tests() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
