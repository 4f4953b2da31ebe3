"""Where a server keeps its data: a store's URL, and the state directory."""

from __future__ import annotations

import os
import stat
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qs, quote, unquote, urlsplit

import click
from attrs import field, frozen

from election_cli._config import Found, Settings
from election_cli._exits import CommandError, ExitCode

if TYPE_CHECKING:
    from election_ctl_api import ControlStore

__all__ = [
    "DATABASE",
    "DIRECT_HELP",
    "STORE_HELP",
    "PostgresDatabase",
    "SqliteFile",
    "StoreLocation",
    "find_store",
    "make_state_dir",
    "open_store",
    "sqlite_file",
]

DATABASE: Final = "election.db"
"""The database's file in the state directory."""

STORE_HELP: Final = "sqlite:///PATH or postgresql://USER@HOST/DATABASE.  [default: DIR/election.db]"
DIRECT_HELP: Final = "For Postgres behind a pooler: a URL that leads around it, for LISTEN."

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql", "postgres")


@frozen
class SqliteFile:
    """A store in a file."""

    path: Path

    @property
    def url(self) -> str:
        """It as a server is told, and as people may see it."""
        return f"{_SQLITE}{quote(os.fspath(self.path))}"

    @property
    def shown(self) -> str:
        """It as people call it."""
        return str(self.path)


@frozen
class PostgresDatabase:
    """A store in a database that others may use at the same time."""

    dsn: str = field(repr=False)
    listen_dsn: str | None = field(default=None, repr=False)
    """For LISTEN, where the other one leads through a pooler."""

    @property
    def url(self) -> str:
        """It as people may see it: without a password."""
        from election_postgres import redacted

        return redacted(self.dsn)

    @property
    def shown(self) -> str:
        """It as people call it."""
        return self.url


StoreLocation: TypeAlias = SqliteFile | PostgresDatabase


def open_store(location: StoreLocation) -> AbstractAsyncContextManager[ControlStore]:
    """The store, for the time of an `async with` block. What is not used is not imported."""
    match location:
        case SqliteFile(path=path):
            from election_sqlite import SqliteStore

            return SqliteStore.open(path)
        case PostgresDatabase(dsn=dsn, listen_dsn=listen_dsn):
            from election_postgres import PostgresStore

            return PostgresStore.open(dsn, listen_dsn=listen_dsn)


def find_store(settings: Settings) -> StoreLocation:
    """The store that the settings name, else the file in the state directory.

    ``sqlite:///file.db`` is relative, ``sqlite:////srv/file.db`` absolute. Warns of a password that
    others can see.

    Raises:
        CommandError: A URL is of no kind that is known.
    """
    found = settings.find("store")
    direct = settings.find("direct_store")
    if found is None:
        return SqliteFile((settings.state_dir / DATABASE).absolute())
    if _scheme(found) in _POSTGRES:
        for each in (found, direct):
            if each is not None:
                _warn_of_password(each, settings)
        if direct is not None and _scheme(direct) not in _POSTGRES:
            raise _unknown(direct, "write postgresql://USER@HOST/DATABASE")
        return PostgresDatabase(found.value, None if direct is None else direct.value)
    return SqliteFile(_path(found))


def sqlite_file(settings: Settings, instead: str) -> Path:
    """The store that the settings name, which has to be a file.

    Args:
        settings: The settings.
        instead: What to do where it is a database of Postgres.

    Raises:
        CommandError: It is none.
    """
    location = find_store(settings)
    if isinstance(location, SqliteFile):
        return location.path
    raise CommandError(f"{location.shown} is a database of Postgres; {instead}", ExitCode.USAGE)


def _scheme(found: Found) -> str:
    try:
        return urlsplit(found.value).scheme.lower()
    except ValueError:
        raise _unknown(found, "the URL is malformed") from None


def _path(found: Found) -> Path:
    path = unquote(found.value.removeprefix(_SQLITE).partition("?")[0])
    if not found.value.startswith(_SQLITE) or not path or "?" in found.value:
        raise _unknown(
            found,
            "write sqlite:///PATH, with four slashes for an absolute path, or "
            "postgresql://USER@HOST/DATABASE",
        )
    return Path(path).expanduser().absolute()


def _unknown(found: Found, write: str) -> CommandError:
    return CommandError(f"{found.source} is no store that is known; {write}", ExitCode.USAGE)


def _warn_of_password(found: Found, settings: Settings) -> None:
    """Say so if a URL has a password in it where others can read it."""
    parts = urlsplit(found.value)
    if not (parts.password or parse_qs(parts.query).get("password")):
        return
    if found.source.startswith("--"):
        click.echo(
            f"Warning: every user of this machine can see the password in {found.source}; put the "
            "URL into the environment or the configuration file, or the password into PGPASSWORD",
            err=True,
        )
    elif found.source == str(settings.file) and _others_may_read(settings.file):
        click.echo(
            f"Warning: others may read the password in {settings.file}; chmod 600 it", err=True
        )


def _others_may_read(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def make_state_dir(path: Path) -> Path:
    """The state directory; one that is made here is its owner's alone.

    Raises:
        CommandError: It cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"the state directory {path} cannot be made: {error.strerror}; choose another with "
            "--state-dir",
            ExitCode.UNAVAILABLE,
        ) from error
    return path.absolute()
