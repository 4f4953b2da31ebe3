"""``election serve``: a control plane in the foreground."""

from __future__ import annotations

import asyncio
import errno
import gc
import hashlib
import signal
import socket
from pathlib import Path

import anyio
import click
from attrs import frozen

from election_cli._config import DEFAULT_LISTEN, OPERATOR_TOKEN, Settings
from election_cli._exits import CommandError, ExitCode, failure
from election_cli._output import print_line
from election_cli._stores import (
    DIRECT_HELP,
    STORE_HELP,
    StoreLocation,
    find_store,
    make_state_dir,
    open_store,
)
from election_core import ElectionError
from election_ctl_api import (
    ControlStore,
    bootstrap_operator_token,
    configure_logging,
    plain_listening_warning,
)
from election_ctl_api import serve as serve_api

__all__ = ["Address", "read_address", "serve"]

_HIGHEST_PORT = 65535
_COLLECT_AFTER = 50_000


@frozen
class Address:
    """Where a server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """What clients call it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def read_address(text: str) -> Address:
    """An address from ``HOST:PORT``; an IPv6 address stands in brackets.

    Raises:
        click.UsageError: It is none.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (host and colon and port.isascii() and port.isdigit() and int(port) <= _HIGHEST_PORT):
        raise click.UsageError(
            f"HOST:PORT is wanted to listen on, as {DEFAULT_LISTEN} or [::1]:7700, not {text!r}."
        )
    return Address(host, int(port))


@click.command()
@click.option("--state-dir", metavar="DIR", help="Where the token and an SQLite database are.")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help=f"Where to listen; port 0 takes a free one.  [default: {DEFAULT_LISTEN}]",
)
@click.option("--store", metavar="URL", help=STORE_HELP)
@click.option("--direct-store", metavar="URL", help=DIRECT_HELP)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
    help="What is logged, on standard error.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Logs for people or for programs.",
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read this configuration file.",
)
@click.option("--json", "as_json", is_flag=True, help="Tell where it listens as a line of JSON.")
def serve(
    state_dir: str | None,
    listen: str | None,
    store: str | None,
    direct_store: str | None,
    log_level: str,
    log_format: str,
    config: Path | None,
    as_json: bool,
) -> None:
    """Run a control plane until SIGTERM or Ctrl-C.

    With a Postgres database as its store, which `election migrate` prepares, any number of them may
    run at once. An SQLite file has one server at a time.

    Once it accepts connections it prints where, on standard output. A start whose state directory
    holds no operator-token makes one, prints it this once and keeps it there, readable by its
    owner only. The directory is that of --state-dir, else ELECTION_STATE_DIR, else the key
    state_dir, else election in your directory for state.
    """
    flags = {
        "state_dir": state_dir,
        "listen": listen,
        "store": store,
        "direct_store": direct_store,
    }
    settings = Settings(flags, config=config)
    address = read_address(settings.get("listen") or DEFAULT_LISTEN)
    location = find_store(settings)
    folder = make_state_dir(settings.state_dir)
    configure_logging(as_json=log_format == "json", level=log_level)
    if (warning := plain_listening_warning(address.host)) is not None:
        click.echo(f"Warning: {warning}", err=True)
    _collect_less_garbage()
    try:
        asyncio.run(_serve(address, location, folder, as_json=as_json))
    except ElectionError as error:
        raise failure(error) from error
    except OSError as error:
        raise _cannot_listen(address, error) from error


def _collect_less_garbage() -> None:
    """Look for cycles among what calls leave behind, not among modules, and less often.

    A call leaves few; with the defaults the looking took a fifth of a heartbeat's time.
    """
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 100)


async def _serve(address: Address, location: StoreLocation, folder: Path, *, as_json: bool) -> None:
    stop = anyio.Event()
    loop = asyncio.get_running_loop()
    # From here on, not only once it listens: a start that is told to end ends well, too.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_store(location) as store:
        secret = await _operator_token(store, folder)

        def announce(host: str, port: int) -> None:
            _announce(Address(host, port).url, location, folder, secret, as_json=as_json)

        await serve_api(
            store,
            host=address.host,
            port=address.port,
            on_listening=announce,
            stop=stop,
            handle_signals=False,
        )


async def _operator_token(store: ControlStore, folder: Path) -> str | None:
    """The token that this start made; ``None`` if there was one."""
    path = folder / OPERATOR_TOKEN
    try:
        secret = await bootstrap_operator_token(store, folder)
        if secret is None:
            kept = hashlib.sha256(path.read_bytes().strip()).digest()
            if await store.find_token(kept) is None:
                click.echo(
                    f"Warning: the token in {path} is not good for this database; delete the file "
                    "and start again to have a new one",
                    err=True,
                )
        return secret
    except OSError as error:
        raise CommandError(
            f"the operator's token cannot be kept in {path}: {error.strerror}; make it "
            "readable and the folder writable, or choose another with --state-dir",
            ExitCode.UNAVAILABLE,
        ) from error


def _announce(
    url: str, location: StoreLocation, folder: Path, secret: str | None, *, as_json: bool
) -> None:
    path = folder / OPERATOR_TOKEN
    if as_json:
        print_line(
            {
                "url": url,
                "store": location.url,
                "token_file": str(path),
                "operator_token": secret,
            }
        )
        return
    if secret is not None:
        click.echo(f"operator token, shown this once and kept in {path}:\n{secret}")
    click.echo(f"election listens on {url}, with its data in {location.shown}")


def _cannot_listen(address: Address, error: OSError) -> CommandError:
    where = f"{address.host}:{address.port}"
    if isinstance(error, socket.gaierror):
        return CommandError(f"{address.host!r} is no address of this machine", ExitCode.USAGE)
    if error.errno == errno.EADDRINUSE:
        return CommandError(
            f"another program listens on {where}; end it, or choose another with --listen",
            ExitCode.REFUSED,
        )
    return CommandError(
        f"it cannot listen on {where}: {error.strerror or error}; choose another with --listen",
        ExitCode.REFUSED,
    )
