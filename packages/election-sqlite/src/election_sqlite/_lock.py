"""One process at a time: an exclusive lock beside the database, which says whose it is."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from election_core import Unavailable
from election_sqlite._errors import mapped

__all__ = ["locked"]


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold `<database>.lock`; the system frees it with the process, however that ends.

    The file stays behind: to delete it would let two processes lock two files of one name.

    Raises:
        Unavailable: Another process holds it, or the folder cannot be written.
    """
    path = database.with_name(f"{database.name}.lock")
    with mapped(path):
        if not path.parent.is_dir():
            raise Unavailable(f"{database}: its folder does not exist; create {path.parent}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with mapped(path):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _owner(descriptor)
                raise Unavailable(
                    f"{database}: {owner} has it open, and one process at a time may;"
                    f" stop that one, or choose another file (the lock is {path})"
                ) from None
            with suppress(OSError):  # who holds it is a courtesy; a full disk must not stop a start
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _owner(descriptor: int) -> str:
    """Who wrote the lock file."""
    pid, _, host = os.pread(descriptor, 512, 0).decode(errors="replace").strip().partition(" ")
    if not pid.isdecimal():
        return "another process"
    return f"process {pid} on {host}" if host else f"process {pid}"
