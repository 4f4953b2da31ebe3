"""``election backup`` and ``election restore``: on the file itself, without the control API."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from election_cli._config import Settings
from election_cli._exits import failure
from election_cli._output import print_json, say
from election_cli._stores import make_state_dir, sqlite_file
from election_core import ElectionError
from election_sqlite import backup as copy
from election_sqlite import restore as put_back

__all__ = ["backup", "restore"]

_STORE = click.option("--store", metavar="URL", help="sqlite:///PATH.  [default: DIR/election.db]")
_BACKUP = "back it up with pg_basebackup, pg_dump or what your provider offers"
_RESTORE = (
    "restore it with the tools that made its backup; servers notice, end all terms and let epochs "
    "jump"
)
_STATE_DIR = click.option("--state-dir", metavar="DIR", help="The server's state directory.")
_CONFIG = click.option(
    "--config", metavar="FILE", type=click.Path(path_type=Path), help="The configuration file."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@_FILE
@_STORE
@_STATE_DIR
@_CONFIG
@_JSON
def backup(
    file: Path, store: str | None, state_dir: str | None, config: Path | None, as_json: bool
) -> None:
    """Copy an SQLite database, as of now, to a new FILE; the server may run meanwhile.

    FILE appears complete or not at all, and replaces nothing. It holds the digests of tokens, not
    the tokens; the file operator-token of the state directory is not in it.
    """
    settings = Settings({"store": store, "state_dir": state_dir}, config=config)
    database = sqlite_file(settings, _BACKUP)
    try:
        asyncio.run(copy(database, file))
    except ElectionError as error:
        raise failure(error) from error
    if as_json:
        print_json({"backup": str(file.absolute()), "database": str(database)})
    else:
        say(f"Copied {database} to {file}.")


@click.command()
@_FILE
@_STORE
@_STATE_DIR
@_CONFIG
@_JSON
def restore(
    file: Path, store: str | None, state_dir: str | None, config: Path | None, as_json: bool
) -> None:
    """Put the backup FILE in place of an SQLite database. The server must be stopped.

    What was committed since the backup is gone. So that nothing granted in the lost time is
    granted again, all terms end, nobody is elected for the longest lease, and every epoch jumps by
    2^20. The database that is replaced is kept beside it.
    """
    settings = Settings({"store": store, "state_dir": state_dir}, config=config)
    database = sqlite_file(settings, _RESTORE)
    if settings.find("store") is None:
        make_state_dir(settings.state_dir)  # on a new machine there is none yet
    try:
        kept = asyncio.run(put_back(file, database))
    except ElectionError as error:
        raise failure(error) from error
    if as_json:
        print_json({"database": str(database), "replaced": None if kept is None else str(kept)})
        return
    say(f"Restored {database} from {file}; start the server with `election serve`.")
    if kept is not None:
        say(f"What was there before is kept as {kept}.")
