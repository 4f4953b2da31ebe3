"""``election groups``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import click

from election_cli._arguments import MOST, ListFirst, names_of
from election_cli._connection import Connection, all_of, connected
from election_cli._durations import write_duration
from election_cli._group_settings import Wanted, settings_options
from election_cli._output import NOTHING, print_facts, print_json, print_table, say, when
from election_core import GroupInfo, NotFound, Page, encode
from election_sdk import Client

__all__ = ["groups"]


@click.group(cls=ListFirst, subcommand_metavar="[list | create | show | set | delete] ...")
def groups() -> None:
    """Runner groups, each with one leader. Without a subcommand they are listed."""


@groups.command("list")
@connected
def list_groups(connection: Connection) -> None:
    """List the groups, with who leads them."""

    async def work(client: Client) -> tuple[Page[GroupInfo], Mapping[str, str]]:
        found = await all_of(lambda cursor: client.groups(cursor=cursor, limit=MOST))
        wanted = {info.leader_runner_id for info in found.items} - {None}
        named = {} if connection.as_json else {each: await _name(client, each) for each in wanted}
        return found, {each: name for each, name in named.items() if each is not None}

    found, names = connection.run(work)
    if connection.as_json:
        print_json(found)
        return
    print_table(
        ("GROUP", "LEADER", "EPOCH", "LEASE", "PINNED", "HANDOVER", "CREATED"),
        (
            (
                info.id,
                names.get(info.leader_runner_id or ""),
                info.epoch,
                write_duration(info.settings.lease),
                None if info.pin is None else "yes",
                None if info.handover is None else info.handover.cause,
                when(info.created_at),
            )
            for info in found.items
        ),
        empty="There are no groups; `election groups create ID` makes one.",
    )


async def _name(client: Client, runner_id: str | None) -> str:
    try:
        return (await client.runner(runner_id or "")).name
    except NotFound:  # it was deleted meanwhile
        return runner_id or NOTHING


@groups.command("create")
@click.argument("group", metavar="ID")
@settings_options
@connected
def create(connection: Connection, group: str, wanted: Wanted) -> None:
    """Create a group; repeating it with the same settings changes nothing."""
    settings = wanted.document()
    info = connection.run(lambda client: client.create_group(group, settings=settings))
    _show(connection, info, {})


@groups.command("show")
@click.argument("group", required=False)
@connected
def show(connection: Connection, group: str | None) -> None:
    """Show a group and its settings."""
    group_id = connection.group(group)

    async def work(client: Client) -> tuple[GroupInfo, Mapping[str, str]]:
        return await client.group(group_id), await names_of(client, group_id)

    info, names = connection.run(work)
    _show(connection, info, names)


@groups.command("set")
@click.argument("group", required=False)
@settings_options
@connected
def set_(connection: Connection, group: str | None, wanted: Wanted) -> None:
    """Change settings of a group; what is not named stays."""
    group_id = connection.group(group)
    if wanted.nothing:
        raise click.UsageError("Nothing is to be set; name a setting, as --lease 30s.")

    async def work(client: Client) -> GroupInfo:
        now = None if not wanted.of_policy else (await client.group(group_id)).settings.policy
        return await client.update_group(group_id, wanted.document(now))

    _show(connection, connection.run(work), {})


@groups.command("delete")
@click.argument("group")
@click.option("--force", is_flag=True, help="Also while runners are alive in it.")
@connected
def delete(connection: Connection, group: str, force: bool) -> None:
    """Delete a group with its runners, jobs and tokens.

    Its last epoch is kept: the same id, created again, goes on from there.
    """
    connection.run(lambda client: client.delete_group(group, force=force))
    if connection.as_json:
        print_json({"deleted": group})
    else:
        say(f"Deleted group {group}.")


def _show(connection: Connection, info: GroupInfo, names: Mapping[str, str]) -> None:
    if connection.as_json:
        print_json(info)
        return
    print_facts(
        {
            "group": info.id,
            "leader": _named(info.leader_runner_id, names) or "nobody",
            "epoch": str(info.epoch),
            "pin": _pin(info, names),
            "handover": _handover(info, names),
            "no grant before": when(info.grant_not_before),
            "created": when(info.created_at),
            **_settings(info),
        }
    )


def _named(runner_id: str | None, names: Mapping[str, str]) -> str | None:
    if runner_id is None or runner_id not in names:
        return runner_id
    return f"{names[runner_id]} ({runner_id})"


def _pin(info: GroupInfo, names: Mapping[str, str]) -> str | None:
    pin = info.pin
    if pin is None:
        return None
    owner = f" by {pin.owner}" if pin.owner else ""
    until = "" if pin.expires_at is None else f" until {when(pin.expires_at)}"
    reason = f": {pin.reason}" if pin.reason else ""
    return f"{_named(pin.runner_id, names)}{owner}{until}{reason}"


def _handover(info: GroupInfo, names: Mapping[str, str]) -> str | None:
    handover = info.handover
    if handover is None:
        return None
    successor = _named(handover.successor_runner_id, names) or "nobody"
    return f"{handover.cause}, to {successor}, until {when(handover.deadline)}"


def _settings(info: GroupInfo) -> dict[str, str | None]:
    settings = info.settings
    policy = " ".join(
        _option(name, value)
        for name, value in sorted(settings.policy.options.items())
        if value not in ({}, [])
    )
    tolerations = "; ".join(
        " ".join(f"{key}={value}" for key, value in _given(toleration).items()) or "everything"
        for toleration in settings.tolerations
    )
    return {
        "lease": write_duration(settings.lease),
        "heartbeat": write_duration(settings.heartbeat_interval),
        "handover timeout": write_duration(settings.handover_timeout),
        "policy": f"{settings.policy.name} {policy}".strip(),
        "tolerations": tolerations,
        "retry backoff": write_duration(settings.retry_backoff),
        "retention": write_duration(settings.retention),
    }


def _option(name: str, value: object) -> str:
    """An option of a policy in short."""
    value = encode(value)
    if isinstance(value, Mapping):
        value = ",".join(f"{key}={inner}" for key, inner in sorted(value.items()))
    elif isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, int | float) and name.endswith("_seconds"):
        name = name.removesuffix("_seconds")
        value = write_duration(timedelta(seconds=value))
    return f"{name}={value}"


def _given(toleration: object) -> dict[str, object]:
    document = encode(toleration)
    assert isinstance(document, dict)  # noqa: S101 - a toleration is an object
    return {key: value for key, value in document.items() if value is not None}
