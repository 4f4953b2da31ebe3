"""A real server process to measure, and what the system says of it and its database."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from attrs import frozen

__all__ = ["Server", "cpu_seconds", "memory_mib", "server"]


@frozen
class Server:
    """An `election serve` process."""

    url: str
    token: str
    process: psutil.Process


def memory_mib(process: psutil.Process) -> float:
    """What a process and its children hold of the machine's memory now, shared pages once."""
    return sum(each.memory_full_info().pss for each in _family(process)) / 2**20


def cpu_seconds(process: psutil.Process) -> float:
    """The processor time that a process and its children have used, also those that have ended."""
    times = process.cpu_times()
    used = times.children_user + times.children_system
    for each in _family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            own = each.cpu_times()
            used += own.user + own.system
    return used


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


@contextmanager
def server(store: str | None = None) -> Iterator[Server]:
    """A server on a free port, on this store or a fresh SQLite file; ended with the block."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "election_cli", "serve", "--json"]
        options = ["--state-dir", folder, "--listen", "127.0.0.1:0", "--log-level", "warning"]
        started = subprocess.Popen(
            [*command, *options, *(() if store is None else ("--store", store))],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert started.stdout is not None
            told = json.loads(started.stdout.readline())
            token = Path(told["token_file"]).read_text().strip()
            yield Server(url=told["url"], token=token, process=psutil.Process(started.pid))
        finally:
            started.send_signal(signal.SIGTERM)
            started.wait(timeout=20)
