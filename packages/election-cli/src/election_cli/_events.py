"""``election events``."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import click

from election_cli._arguments import LIMIT, MOST, names_of
from election_cli._connection import Connection, connected, pages
from election_cli._output import NOTHING, print_json, print_line, print_table, say, when
from election_cli._sentences import named
from election_core import Event, Page
from election_sdk import Client

__all__ = ["events"]

_SHOWN = 100


@click.command()
@click.argument("group", required=False)
@click.option("--after", type=click.IntRange(min=0), metavar="ID", help="Only what came after it.")
@click.option(
    "--limit",
    type=LIMIT,
    help=f"How many: the newest, or with --after the next.  [default: {_SHOWN}]",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@connected
def events(
    connection: Connection, group: str | None, after: int | None, limit: int | None, follow: bool
) -> None:
    """Tell what happened in a group, oldest first.

    With --follow and --json each event is one line of JSON.
    """
    group_id = connection.group(group)
    if follow:
        connection.run(lambda client: _follow(connection, client, group_id, after, limit))
        return

    async def work(client: Client) -> tuple[Page[Event], Mapping[str, str]]:
        page = await _kept(client, group_id, after, limit or _SHOWN)
        return page, {} if connection.as_json else await names_of(client, group_id)

    page, names = connection.run(work)
    if connection.as_json:
        print_json(page)
        return
    print_table(
        ("ID", "AT", "EVENT", "EPOCH", "RUNNER", "REASON", "BY"),
        (
            (
                event.id,
                when(event.at),
                event.kind,
                event.epoch,
                None if event.runner_id is None else named(event.runner_id, names),
                event.reason,
                event.actor,
            )
            for event in page.items
        ),
    )


async def _kept(client: Client, group: str, after: int | None, limit: int) -> Page[Event]:
    """The events behind one, or the newest of all that are kept."""
    if after is not None and limit <= MOST:
        return await client.events(group, after=after, limit=limit)
    start: str | None = None if after is None else str(after)
    found: deque[Event] | list[Event] = deque(maxlen=limit) if after is None else []
    async for event in pages(
        lambda cursor: client.events(group, after=cursor or start, limit=MOST)
    ):
        if after is not None and len(found) == limit:
            return Page(items=tuple(found), next_cursor=str(found[-1].id))
        found.append(event)
    return Page(items=tuple(found))


async def _follow(
    connection: Connection, client: Client, group: str, after: int | None, limit: int | None
) -> None:
    names = {} if connection.as_json else await names_of(client, group)
    if after is None:
        for event in (await _kept(client, group, None, limit or _SHOWN)).items:
            _print(connection, event, names)
            after = event.id
        after = after or 0
        limit = None
    count = 0
    async for event in client.follow(group, after=after):
        if event.runner_id not in (None, *names) and not connection.as_json:
            names = await names_of(client, group)
        _print(connection, event, names)
        count += 1
        if count == limit:
            return


def _print(connection: Connection, event: Event, names: Mapping[str, str]) -> None:
    if connection.as_json:
        print_line(event)
        return
    words: Sequence[str] = (
        str(event.id),
        when(event.at),
        event.kind,
        f"epoch {event.epoch}",
        NOTHING if event.runner_id is None else named(event.runner_id, names),
        event.reason,
    )
    say("  ".join(word for word in words if word))
