"""``election taint``, ``untaint``, ``drain``, ``undrain``: what people say of one runner."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import click

from election_cli._arguments import choice, runner_reference
from election_cli._connection import Connection, connected
from election_cli._durations import DURATION
from election_cli._output import print_json
from election_cli._runners import GROUP_OF_NAMES, show_runner
from election_core import Effect, RunnerInfo
from election_sdk import Client

__all__ = ["drain", "taint", "undrain", "untaint"]


def _mark(
    connection: Connection,
    runner: str,
    group: str | None,
    call: Callable[[Client, str], Awaitable[RunnerInfo]],
) -> None:
    """Find a runner, make a call about it, and print how it is then."""
    reference = runner_reference(connection, runner, group)

    async def work(client: Client) -> RunnerInfo:
        return await call(client, (await reference.find(client)).id)

    info = connection.run(work)
    if connection.as_json:
        print_json(info)
    else:
        show_runner(info)


@click.command()
@click.argument("runner")
@GROUP_OF_NAMES
@click.option("--key", help="What it is called.  [default: manual]")
@click.option("--value", help="More about it, for tolerations.")
@click.option(
    "--effect",
    type=choice(Effect),
    help="no-lead: it steps down now and is not elected; no-elect: it is not elected anew; "
    "prefer-no-elect: it is a last resort.  [default: no-lead]",
)
@click.option("--owner", help="Who taints it; also ELECTION_OWNER.")
@click.option("--reason", help="Why; others will read it in `election explain`.")
@click.option("--ttl", type=DURATION, help="How long, as 8h; until it is untainted otherwise.")
@connected
def taint(
    connection: Connection,
    runner: str,
    group: str | None,
    key: str | None,
    value: str | None,
    effect: str | None,
    owner: str | None,
    reason: str | None,
    ttl: timedelta | None,
) -> None:
    """Keep a runner from leading: RUNNER is an id, GROUP/NAME, or a name with --group.

    A taint of the same key and owner is replaced.
    """
    _mark(
        connection,
        runner,
        group,
        lambda client, runner_id: client.taint(
            runner_id,
            key=key,
            value=value,
            effect=effect,
            owner=connection.owner(owner) or None,
            reason=reason,
            ttl=ttl,
        ),
    )


@click.command()
@click.argument("runner")
@GROUP_OF_NAMES
@click.option("--key", help="Only of this key; of every key otherwise.")
@click.option("--owner", help="Whose, beside those without an owner; also ELECTION_OWNER.")
@click.option("--force", is_flag=True, help="Whoever owns them.")
@connected
def untaint(
    connection: Connection,
    runner: str,
    group: str | None,
    key: str | None,
    owner: str | None,
    force: bool,
) -> None:
    """Remove the taints of a runner that are yours or nobody's."""
    _mark(
        connection,
        runner,
        group,
        lambda client, runner_id: client.untaint(
            runner_id, key=key, owner=connection.owner(owner) or None, force=force
        ),
    )


@click.command()
@click.argument("runner")
@GROUP_OF_NAMES
@click.option("--reason", default="", help="Why.")
@click.option("--timeout", type=DURATION, help="How long it may take to hand leadership over.")
@connected
def drain(
    connection: Connection,
    runner: str,
    group: str | None,
    reason: str,
    timeout: timedelta | None,
) -> None:
    """Let a runner finish what it has and take no new work, until it is undrained."""
    _mark(
        connection,
        runner,
        group,
        lambda client, runner_id: client.drain(runner_id, reason=reason, timeout=timeout),
    )


@click.command()
@click.argument("runner")
@GROUP_OF_NAMES
@connected
def undrain(connection: Connection, runner: str, group: str | None) -> None:
    """End a drain: the runner may lead again."""
    _mark(connection, runner, group, lambda client, runner_id: client.undrain(runner_id))
