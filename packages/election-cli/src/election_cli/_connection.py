"""How a command reaches the control API, and the options that all of those commands have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import update_wrapper
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import click

from election_cli._config import DEFAULT_URL, OPERATOR_TOKEN, Found, Settings, is_loopback
from election_cli._exits import CommandError, ExitCode, failure, problem_code
from election_core import ElectionError, Page, Unavailable
from election_sdk import Client

__all__ = ["Connection", "all_of", "connected", "pages"]

P = ParamSpec("P")
T = TypeVar("T")


class Connection:
    """The control API that a command talks to, and how its answers are wanted.

    Args:
        settings: Where the API and the token are.
        as_json: Whether the answer is for a program.
    """

    def __init__(self, settings: Settings, *, as_json: bool) -> None:
        self.settings = settings
        self.as_json = as_json

    def run(self, work: Callable[[Client], Coroutine[object, object, T]]) -> T:
        """Do what needs a client, and return what it returns.

        Raises:
            CommandError: It failed.
        """
        token = self.settings.token
        if (exposed := self.settings.exposed) is not None:
            click.echo(f"Warning: others may read the token in {exposed}; chmod 600 it", err=True)
        try:
            client = Client(self.settings.url, token=None if token is None else token.value)
        except ValueError as error:
            raise CommandError(str(error), ExitCode.USAGE) from error

        async def connect() -> T:
            async with client:
                return await work(client)

        try:
            return asyncio.run(connect())
        except ElectionError as error:
            raise failure(error, self._fix(error, token)) from error

    def group(self, given: str | None) -> str:
        """The group that is meant.

        Raises:
            click.UsageError: None is named anywhere.
        """
        group = given or self.settings.get("group")
        if not group:
            raise click.UsageError(
                "Which group? Name it as GROUP, with ELECTION_GROUP or as `group` in the "
                "configuration file."
            )
        return group

    def owner(self, given: str | None) -> str:
        """Who taints and pins."""
        return (given if given is not None else self.settings.get("owner")) or ""

    def _fix(self, error: ElectionError, token: Found | None) -> str | None:
        url = self.settings.find("url")
        if isinstance(error, Unavailable) and "status" not in error.facts:
            where = f"{DEFAULT_URL} is the default" if url is None else f"it is from {url.source}"
            return (
                "start it with `election serve`, or name another with --url or ELECTION_URL "
                f"({where})"
            )
        if problem_code(error) != "unauthenticated":
            return None
        if token is not None:
            return f"the token from {token.source} is not good there"
        if is_loopback(urlsplit(self.settings.url).hostname):
            path = self.settings.state_dir / OPERATOR_TOKEN
            return (
                f"no token is set and {path} cannot be read; name the server's --state-dir, or set "
                "ELECTION_TOKEN"
            )
        return "no token is set; set ELECTION_TOKEN, or name a file with --token-file"


_OPTIONS = (
    click.option("--url", metavar="URL", help=f"The control API.  [default: {DEFAULT_URL}]"),
    click.option("--token", metavar="TOKEN", help="The bearer token; others may see it in ps."),
    click.option("--token-file", metavar="FILE", help="A file that holds the bearer token."),
    click.option(
        "--state-dir", metavar="DIR", help="Where a server on this machine keeps its token."
    ),
    click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Read this configuration file.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
)


def connected(function: Callable[Concatenate[Connection, P], None]) -> Callable[..., None]:
    """Give a command the options that say where the control API is, and a connection by them."""

    def command(
        url: str | None,
        token: str | None,
        token_file: str | None,
        state_dir: str | None,
        config: Path | None,
        as_json: bool,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        flags = {"url": url, "token": token, "token_file": token_file, "state_dir": state_dir}
        settings = Settings(flags, config=config)
        function(Connection(settings, as_json=as_json), *args, **kwargs)

    own = getattr(function, "__click_params__", [])
    update_wrapper(command, function)
    # Click keeps parameters last first; these come behind those of the command itself.
    command.__click_params__ = []  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        option(command)
    command.__click_params__.extend(own)  # type: ignore[attr-defined]
    return command


async def pages(fetch: Callable[[str | None], Awaitable[Page[T]]]) -> AsyncIterator[T]:
    """The items of a list, page after page.

    Args:
        fetch: The call that answers the page behind a cursor.
    """
    cursor: str | None = None
    while True:
        page = await fetch(cursor)
        for item in page.items:
            yield item
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


async def all_of(fetch: Callable[[str | None], Awaitable[Page[T]]]) -> Page[T]:
    """A list as one page."""
    return Page(items=tuple([item async for item in pages(fetch)]))
