"""Where settings come from: flag, then environment, then the configuration file, then a default."""

from __future__ import annotations

import difflib
import ipaddress
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import platformdirs
from attrs import field, frozen

from election_cli._exits import CommandError, ExitCode

__all__ = [
    "DEFAULT_LISTEN",
    "DEFAULT_URL",
    "KEYS",
    "OPERATOR_TOKEN",
    "Found",
    "Settings",
    "default_config_file",
    "default_state_dir",
    "is_loopback",
]

DEFAULT_LISTEN: Final = "127.0.0.1:7700"
DEFAULT_URL: Final = f"http://{DEFAULT_LISTEN}"
OPERATOR_TOKEN: Final = "operator-token"  # noqa: S105 - a file's name
"""The file of the state directory in which `election serve` keeps the operator's token."""

KEYS: Final = {
    "url": "where the control API listens",
    "token": "the bearer token",
    "token_file": "a file that holds the bearer token",
    "group": "the group that is meant when none is named",
    "owner": "who taints and pins",
    "state_dir": "where the server keeps the operator's token, and an SQLite database",
    "store": "the server's store, as sqlite:///PATH or postgresql://USER@HOST/DATABASE",
    "direct_store": "a URL of the same Postgres database that leads around a pooler, for LISTEN",
    "listen": "where the server listens, as HOST:PORT",
}
"""What may be set in the environment, as ``ELECTION_`` and the name, and in the file."""

_PATHS = {"token_file", "state_dir"}


def default_config_file() -> Path:
    """The file in the user's configuration directory."""
    return platformdirs.user_config_path("election") / "config.toml"


def default_state_dir() -> Path:
    """The user's directory for state."""
    return platformdirs.user_state_path("election")


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine and no other can listen in."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@frozen
class Found:
    """A setting and where it was found."""

    value: str = field(repr=False)
    source: str
    """A flag, a variable's name, or a file's path."""


class Settings:
    """The settings of one command.

    Args:
        flags: What the command line gave; ``None`` where it gave nothing.
        environ: The environment's variables.
        config: The configuration file that the command line names. Otherwise the one of the user is
            read, if there is one.

    Raises:
        CommandError: The file cannot be read, or holds a key that is not known.
    """

    def __init__(
        self,
        flags: Mapping[str, str | None] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        config: Path | None = None,
    ) -> None:
        self._flags = flags or {}
        self._environ = os.environ if environ is None else environ
        self.file = default_config_file() if config is None else config
        self._kept = _read(self.file, must_exist=config is not None)

    def find(self, name: str) -> Found | None:
        """The setting of that name, from the first place that gives it."""
        flag = self._flags.get(name)
        if flag is not None:
            return Found(flag, "--" + name.replace("_", "-"))
        return self._variable(name) or self._of_file(name)

    def _variable(self, name: str) -> Found | None:
        variable = f"ELECTION_{name.upper()}"
        given = self._environ.get(variable)
        return Found(given, variable) if given else None

    def _of_file(self, name: str) -> Found | None:
        kept = self._kept.get(name)
        return Found(kept, str(self.file)) if kept else None

    def get(self, name: str) -> str | None:
        """The value of that name, if it is set anywhere."""
        found = self.find(name)
        return None if found is None else found.value

    @property
    def url(self) -> str:
        """Where the control API listens."""
        return self.get("url") or DEFAULT_URL

    @property
    def state_dir(self) -> Path:
        """Where the server of this machine keeps its state."""
        found = self.get("state_dir")
        return default_state_dir() if found is None else Path(found).expanduser()

    @property
    def token(self) -> Found | None:
        """The bearer token.

        Where none is set and the server is on this machine, the operator's token that
        `election serve` keeps in its state directory, if it may be read.

        Raises:
            CommandError: A file that is named for it cannot be read.
        """
        for place in (self._flag, self._variable, self._of_file):
            if found := place("token"):
                return found
            if found := place("token_file"):
                return _token_in(Path(found.value).expanduser(), found.source)
        if is_loopback(urlsplit(self.url).hostname):
            path = self.state_dir / OPERATOR_TOKEN
            try:
                kept = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                return None
            return Found(kept, str(path)) if kept else None
        return None

    def _flag(self, name: str) -> Found | None:
        return self.find(name) if self._flags.get(name) is not None else None

    @property
    def exposed(self) -> Path | None:
        """The configuration file, if it holds a token and others than its owner may read it."""
        if not self._kept.get("token"):
            return None
        return self.file if self.file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH) else None


def _token_in(path: Path, source: str) -> Found:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CommandError(
            f"the token cannot be read from {path}, which {source} names: {why}", ExitCode.USAGE
        ) from error
    if not text:
        raise CommandError(f"{path}, which {source} names, holds no token", ExitCode.USAGE)
    return Found(text, str(path))


def _read(path: Path, *, must_exist: bool) -> Mapping[str, str]:
    """The keys of a configuration file.

    Raises:
        CommandError: It is missing though it must exist, or something in it is wrong.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise _wrong(path, "there is no such file") from None
        return {}
    except OSError as error:
        raise _wrong(path, f"it cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(path, f"it is no TOML: {error}") from error
    for key, value in document.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(KEYS)}"
            raise _wrong(path, f"unknown key {key!r}; {meant}")
        if not isinstance(value, str):
            raise _wrong(path, f"{key}: a string is wanted")
    return {
        key: str(path.parent / Path(value).expanduser()) if key in _PATHS and value else value
        for key, value in document.items()
    }


def _wrong(path: Path, why: str) -> CommandError:
    return CommandError(f"configuration file {path}: {why}", ExitCode.USAGE)
