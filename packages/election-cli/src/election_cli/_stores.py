"""Where a server keeps its data: a store's URL, and the state directory."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from election_cli._config import Settings
from election_cli._exits import CommandError, ExitCode

__all__ = ["DATABASE", "database_path", "make_state_dir"]

DATABASE = "election.db"
"""The database's file in the state directory."""

_PREFIX = "sqlite:///"


def database_path(settings: Settings) -> Path:
    """The SQLite file of a server: of its ``store``, or in its state directory.

    ``sqlite:///file.db`` is relative, ``sqlite:////srv/file.db`` absolute.

    Raises:
        CommandError: The store's URL is of another kind.
    """
    found = settings.find("store")
    if found is None:
        return (settings.state_dir / DATABASE).absolute()
    url = found.value
    scheme = urlsplit(url).scheme.partition("+")[0].lower()
    if scheme in ("postgres", "postgresql"):
        raise CommandError(
            f"this version ships no Postgres adapter, which {found.source} asks for; the adapter "
            "comes as a package of its own, until then use sqlite:///PATH",
            ExitCode.USAGE,
        )
    path = unquote(url.removeprefix(_PREFIX).partition("?")[0])
    if not url.startswith(_PREFIX) or not path or "?" in url:
        raise CommandError(
            f"{found.source} is no store that is known; write sqlite:///PATH, with four slashes "
            "for an absolute path",
            ExitCode.USAGE,
        )
    return Path(path).expanduser().absolute()


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
