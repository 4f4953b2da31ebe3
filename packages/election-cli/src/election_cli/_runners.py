"""``election runners``."""

from __future__ import annotations

import click

from election_cli._arguments import (
    MOST,
    ListFirst,
    group_and,
    key_values,
    runner_reference,
)
from election_cli._connection import Connection, all_of, connected
from election_cli._output import labels, print_facts, print_json, print_table, say, when
from election_core import RunnerInfo, Taint
from election_sdk import Client

__all__ = ["runners", "show_runner", "taint_text"]

GROUP_OF_NAMES = click.option("-g", "--group", metavar="GROUP", help="Where to look for a name.")


@click.group(cls=ListFirst, subcommand_metavar="[[list] GROUP | register | show | delete] ...")
def runners() -> None:
    """The runners of a group. `election runners GROUP` lists them, the oldest first."""


@runners.command("list")
@click.argument("group", required=False)
@connected
def list_runners(connection: Connection, group: str | None) -> None:
    """List the runners of a group, the oldest first."""
    group_id = connection.group(group)
    found = connection.run(
        lambda client: all_of(lambda cursor: client.runners(group_id, cursor=cursor, limit=MOST))
    )
    if connection.as_json:
        print_json(found)
        return
    print_table(
        ("RUNNER", "STATUS", "ROLE", "TAINTS", "LABELS", "VERSION", "CREATED", "ID"),
        (
            (
                info.name,
                info.status,
                info.role,
                ",".join(f"{taint.key}:{taint.effect}" for taint in info.taints),
                labels(info.labels),
                info.version,
                when(info.created_at),
                info.id,
            )
            for info in found.items
        ),
        empty=f"There are no runners; `election runners register {group_id} NAME` adds one.",
    )


@runners.command("register")
@click.argument("words", metavar="[GROUP] NAME", nargs=-1, required=True)
@click.option("--platform", help="What it runs on.")
@click.option("--label", metavar="KEY=VALUE", multiple=True, help="What policies may select by.")
@click.option("--runner-version", metavar="VERSION", help="Of its program.")
@connected
def register(
    connection: Connection,
    words: tuple[str, ...],
    platform: str | None,
    label: tuple[str, ...],
    runner_version: str | None,
) -> None:
    """Register a runner, or update the one of that name; prints a fresh token for it."""
    group, name = group_and(connection, words, "NAME")
    bearing = key_values(label, "--label") if label else None
    registration = connection.run(
        lambda client: client.register(
            group, name, platform=platform, labels=bearing, version=runner_version
        )
    )
    if connection.as_json:
        print_json(registration)
        return
    show_runner(registration.runner)
    if registration.token is not None:
        print_facts({"token (shown once)": registration.token})


@runners.command("show")
@click.argument("runner")
@GROUP_OF_NAMES
@connected
def show(connection: Connection, runner: str, group: str | None) -> None:
    """Show a runner, its taints included."""
    reference = runner_reference(connection, runner, group)
    info = connection.run(reference.find)
    if connection.as_json:
        print_json(info)
    else:
        show_runner(info)


@runners.command("delete")
@click.argument("runner")
@GROUP_OF_NAMES
@connected
def delete(connection: Connection, runner: str, group: str | None) -> None:
    """Delete a runner; its session ends, and the next leader waits until its lease is over."""
    reference = runner_reference(connection, runner, group)

    async def work(client: Client) -> RunnerInfo:
        found = await reference.find(client)
        await client.delete_runner(found.id)
        return found

    found = connection.run(work)
    if connection.as_json:
        print_json({"deleted": found.id})
    else:
        say(f"Deleted runner {found.name} ({found.id}) of group {found.group_id}.")


def taint_text(taint: Taint) -> str:
    """A taint in words."""
    value = f"={taint.value}" if taint.value else ""
    owner = f" by {taint.owner}" if taint.owner else ""
    until = "" if taint.expires_at is None else f" until {when(taint.expires_at)}"
    reason = f": {taint.reason}" if taint.reason else ""
    return f"{taint.key}{value} ({taint.effect}){owner}{until}{reason}"


def show_runner(info: RunnerInfo) -> None:
    """Print a runner for people."""
    drain = info.drain
    taints = {
        f"taint {number}" if len(info.taints) > 1 else "taint": taint_text(taint)
        for number, taint in enumerate(info.taints, 1)
    }
    print_facts(
        {
            "runner": info.name,
            "id": info.id,
            "group": info.group_id,
            "status": info.status,
            "role": info.role,
            **taints,
            "draining": None
            if drain is None
            else f"since {when(drain.at)}" + (f": {drain.reason}" if drain.reason else ""),
            "lease until": when(info.lease_expires_at),
            "session": info.session_id,
            "platform": info.platform,
            "labels": labels(info.labels),
            "version": info.version,
            "created": when(info.created_at),
        }
    )
