"""A pooler in front of Postgres, as many run one: pgbouncer in transaction mode."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
from typing import Self
from urllib.parse import urlsplit

from guarded_process import GuardedProcess, folder_of_user, free_port, remove
from postgres_server import Databases

__all__ = ["PgBouncer"]

_SETTINGS = """\
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 500
"""


def _program() -> str:
    """Where pgbouncer is.

    Raises:
        RuntimeError: Nowhere. Nothing is skipped for that.
    """
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise RuntimeError("there is no pgbouncer on this machine; install it to run these tests")
    return found


class PgBouncer:
    """A pooler; a context manager that starts it, and leaves nothing of it behind.

    Args:
        server: What it is in front of; the role of its DSN is the one that everybody becomes.
        mode: When a connection to the server goes to another client.
        size: How many connections to the server each database has at most.
    """

    def __init__(self, server: Databases, *, mode: str = "transaction", size: int = 20) -> None:
        self._server = server
        self._mode = mode
        self._size = size
        self.port = free_port()
        self._folder = folder_of_user("election-pgbouncer-")
        self._process: GuardedProcess | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def dsn(self, database: str) -> str:
        """How to connect through it to a database, which is named or given by its DSN."""
        name = urlsplit(database).path.removeprefix("/") if "://" in database else database
        return f"postgresql://pooled@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        server = urlsplit(self._server.dsn())
        settings = self._folder / "pgbouncer.ini"
        settings.write_text(
            _SETTINGS.format(
                host=server.hostname,
                port=server.port,
                user=server.username,
                listen=self.port,
                mode=self._mode,
                size=self._size,
            )
        )
        self._process = GuardedProcess([_program(), settings], self._folder)
        self._process.wait_until(self._listens)

    def restart(self) -> None:
        """End it at once, with all connections through it, and start it on the same port."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.thaw()

    def close(self) -> None:
        """End it and remove its folder; a second time does nothing."""
        if self._process is not None:
            self._process.end(signal.SIGTERM)
        if self._folder.exists():
            remove(self._folder)

    @property
    def process(self) -> GuardedProcess:
        """Its process.

        Raises:
            RuntimeError: It was never started.
        """
        if self._process is None:
            raise RuntimeError("this pooler was not started")
        return self._process

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False
