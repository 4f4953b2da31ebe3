"""What a runner remembers across restarts, and the lock that says nobody else acts for it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import evolve, field, frozen

from election_core import Invalid, decode, encode

__all__ = ["Memory", "StateFile", "StateFileError", "StateFileLocked"]


class StateFileError(Exception):
    """The state file cannot be used; the text says why and what to do."""


class StateFileLocked(StateFileError):
    """Another process, or a child that it left behind, acts for the same runner."""


@frozen(kw_only=True)
class Memory:
    """What is remembered."""

    group: str
    name: str
    instance_key: str = field(factory=lambda: secrets.token_hex(32), repr=False)
    """By which a registration with a ``join`` token is recognised."""
    runner_id: str | None = None
    token: str | None = field(default=None, repr=False)
    session_id: str | None = None
    registered: str = ""
    """What was told at the last registration, to see whether it must be told again."""


class StateFile:
    """A file that one process at a time may use, for as long as it is entered.

    The lock is an exclusive ``flock`` on a file beside it, so that the state itself can be replaced
    as a whole. Its descriptor is inheritable: a child that keeps it keeps the lock when its parent
    is killed, and the next process waits for the child's end before it may say that everything of
    the earlier session is gone (hashicorp/consul#1843).

    Args:
        path: Where it is, or will be.
        group: The runner's group.
        name: The runner's name.

    Raises:
        StateFileLocked: Another process uses it.
        StateFileError: It is another runner's, or not readable.
    """

    def __init__(self, path: str | os.PathLike[str], *, group: str, name: str) -> None:
        self._path = Path(path)
        self._fresh = Memory(group=group, name=name)
        self._lock: int | None = None
        self.memory = self._fresh

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(self._path)
            self.memory = self._read()
        except OSError as error:
            self._unlock()
            raise StateFileError(f"{self._path}: {error.strerror or error}") from error
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._unlock()

    @property
    def lock_fd(self) -> int:
        """The descriptor that holds the lock, for ``pass_fds`` of a child."""
        if self._lock is None:
            raise RuntimeError("the state file is not open")
        return self._lock

    def keep_lock(self) -> None:
        """Hold the lock for as long as this process lives: something in it still acts."""
        self._lock = None

    def remember(self, **changes: str | None) -> None:
        """Change what is remembered; on the disk when it returns."""
        self.memory = evolve(self.memory, **changes)  # type: ignore[arg-type]
        try:
            self._write()
        except OSError as error:
            raise StateFileError(f"{self._path}: {error.strerror or error}") from error

    def _read(self) -> Memory:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return self._fresh
        try:
            memory = decode(Memory, json.loads(text), lenient=True)
        except (ValueError, Invalid):
            # Without its cause, which would show what is in it.
            raise StateFileError(
                f"{self._path} is no state file of a runner; move it away to start as a new one"
            ) from None
        if (memory.group, memory.name) != (self._fresh.group, self._fresh.name):
            raise StateFileError(
                f"{self._path} belongs to runner {memory.name!r} of group {memory.group!r}, not to "
                f"{self._fresh.name!r} of {self._fresh.group!r}; give each runner a file of its own"
            )
        return memory

    def _write(self) -> None:
        beside = self._path.with_name(f"{self._path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(encode(self.memory), file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            # Not LOCK_UN, which would take the lock from a child that still holds it.
            os.close(lock)


def _lock(path: Path) -> int:
    where = path.with_name(f"{path.name}.lock")
    descriptor = os.open(where, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            raise StateFileLocked(
                f"{path} is in use by another process, or by a child that one left behind; "
                f"`fuser {where}` tells which"
            ) from None
        raise
    os.set_inheritable(descriptor, True)
    return descriptor
