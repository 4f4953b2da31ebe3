"""Servers that tests start: killed, frozen and woken for real, and never left behind.

Postgres and its poolers refuse to run as root. Where root runs the tests, as in most containers,
they run as another user of the machine, in folders that belong to that one.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import psutil

from process_guard import family, kill_all, living

__all__ = ["DEADLINE", "GuardedProcess", "as_user", "folder_of_user", "free_port", "remove", "run"]

DEADLINE = 60.0
"""How long a server may take for what it does in a second, on a machine that does much else."""
_POLL = 0.01
_USERS = ("postgres", "nobody")


class UserArguments(TypedDict, total=False):
    """Arguments of `subprocess` that make a process run as another user."""

    user: int
    group: int
    extra_groups: list[int]


@functools.cache
def as_user() -> UserArguments:
    """How servers are started: as who runs the tests, and as somebody else than root."""
    if os.geteuid() != 0:
        return {}
    for name in _USERS:
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise RuntimeError(
        f"Postgres refuses to run as root, and none of the users {', '.join(_USERS)} exists here; "
        "run the tests as another user"
    )


def folder_of_user(prefix: str) -> Path:
    """A new folder that servers may use, which is gone when this process is."""
    for place in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        who = as_user()
        if who:
            os.chown(folder, who["user"], who["group"])
        if subprocess.run(["test", "-w", folder], check=False, **who).returncode == 0:
            _tell(f"folder {folder}")
            return folder
        folder.rmdir()
    raise RuntimeError("no folder for temporary files can be reached by the user of the servers")


def remove(folder: Path) -> None:
    """Remove what `folder_of_user` made."""
    shutil.rmtree(folder)
    _tell(f"removed {folder}")


def run(arguments: Sequence[str | Path], *, cwd: Path) -> str:
    """Run a program as the user of the servers; what it prints.

    Raises:
        RuntimeError: It failed; the text says what it printed.
    """
    done = subprocess.run(
        arguments,
        cwd=cwd,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=DEADLINE,
        **as_user(),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{arguments[0]} failed:\n{done.stdout}")
    return done.stdout


def free_port() -> int:
    """A TCP port of this machine that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class GuardedProcess:
    """A server process with all that descend from it.

    Args:
        arguments: Its command line.
        folder: Where it runs, and where ``log`` holds what it writes.
    """

    def __init__(self, arguments: Sequence[str | Path], folder: Path) -> None:
        self._log = folder / "log"
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                arguments,
                cwd=folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **as_user(),
            )
        self._process = psutil.Process(self._popen.pid)
        _tell(f"process {self._popen.pid} {self._process.create_time()!r}")

    @property
    def pid(self) -> int:
        """The id of the first process."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended; a frozen one has not."""
        return self._popen.poll() is None

    def log(self) -> str:
        """What it has written, in earlier lives too."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until it is ready.

        Raises:
            RuntimeError: It ended, or was not ready in time; the text has the end of its log.
        """
        give_up = time.monotonic() + DEADLINE
        while self.running:
            if ready():
                return
            if time.monotonic() > give_up:
                break
            time.sleep(_POLL)
        raise RuntimeError(f"the server did not come up:\n{self.log()[-3000:]}")

    def end(self, number: signal.Signals) -> None:
        """Send a signal that ends it, and wait until it has ended.

        Raises:
            RuntimeError: It is still there after the deadline; it is killed then.
        """
        if self.running:
            self.thaw()
            self._popen.send_signal(number)
            try:
                self._popen.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise RuntimeError(
                    f"it did not end by {number.name}:\n{self.log()[-3000:]}"
                ) from None
        _tell(f"ended {self.pid}")

    def kill(self) -> None:
        """SIGKILL for all its processes at once, and wait until they are gone."""
        if not self.running:
            return
        killed = kill_all(self._process)
        self._popen.wait(DEADLINE)
        give_up = time.monotonic() + DEADLINE
        while any(map(living, killed)):
            if time.monotonic() > give_up:
                raise RuntimeError(f"killed and still there: {killed}")
            time.sleep(_POLL)
        _tell(f"ended {self.pid}")

    def freeze(self) -> None:
        """SIGSTOP for all its processes; they stand still and do not know it."""
        frozen: set[int] = set()
        while new := [each for each in family(self._process) if each.pid not in frozen]:
            for each in new:  # the first process first, so that it starts no more of them
                frozen.add(each.pid)
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.suspend()

    def thaw(self) -> None:
        """SIGCONT for all its processes, the first one last."""
        for each in reversed(family(self._process)):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.resume()


def _environment() -> Mapping[str, str]:
    """This process's variables without those that tell clients of Postgres where to connect."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


@functools.cache
def _guard(pid: int) -> int:
    """Where the guard of this process listens; a fork has one of its own."""
    guard = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("process_guard.py")],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    assert guard.stdin is not None

    def end() -> None:
        if os.getpid() == pid:
            guard.communicate(timeout=DEADLINE)

    atexit.register(end)
    return guard.stdin.fileno()


def _tell(line: str) -> None:
    os.write(_guard(os.getpid()), f"{line}\n".encode())
