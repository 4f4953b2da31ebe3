"""A process that ends what another one started, however that other one ended.

It is told on its standard input what to look after, one line each: ``process PID CREATED``,
``ended PID``, ``folder PATH``, ``removed PATH``. When that input ends, because the process at its
other end is gone, it kills all processes that are left, removes the folders and ends itself.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterable

import psutil

__all__ = ["family", "kill_all", "living"]


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that descend from it, as far as they still live."""
    try:
        return [found for found in (process, *process.children(recursive=True)) if living(found)]
    except psutil.NoSuchProcess:
        return []


def living(process: psutil.Process) -> bool:
    """Whether it has not ended; one that nobody has collected yet has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_all(process: psutil.Process) -> list[psutil.Process]:
    """SIGKILL a process and all that descend from it; those that it was sent to."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.suspend()  # so that it starts no more of them meanwhile
    found = family(process)
    for each in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    return found


def _guard(lines: Iterable[str]) -> None:
    processes: dict[int, float] = {}
    folders: set[str] = set()
    for line in lines:
        match line.rstrip("\n").split(" ", 1):
            case "process", rest:
                pid, created = rest.split()
                processes[int(pid)] = float(created)
            case "ended", pid:
                processes.pop(int(pid), None)
            case "folder", path:
                folders.add(path)
            case "removed", path:
                folders.discard(path)
            case _:
                raise ValueError(line)
    for number, since in processes.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(number)
            if process.create_time() == since:  # and not a later one of the same number
                kill_all(process)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _guard(sys.stdin)
