"""``election leader``, ``pin`` and ``unpin``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import click

from election_cli._arguments import group_and, names_of, runner_reference
from election_cli._connection import Connection, connected
from election_cli._durations import DURATION
from election_cli._output import print_facts, print_json, say, when
from election_cli._sentences import verdict
from election_core import DecisionInfo
from election_sdk import Client

__all__ = ["leader", "pin", "unpin"]


@click.command()
@click.argument("group", required=False)
@connected
def leader(connection: Connection, group: str | None) -> None:
    """Say who leads a group. Nobody: exit code 3."""
    group_id = connection.group(group)
    found = connection.run(lambda client: client.leader(group_id))
    if connection.as_json:
        print_json(found)
        return
    print_facts(
        {
            "leader": found.runner.name,
            "id": found.runner.id,
            "group": group_id,
            "epoch": str(found.epoch),
            "role": found.runner.role,
            "elected": when(found.elected_at),
            "lease until": when(found.lease_expires_at),
            "reason": found.reason,
            "kind": found.kind,
            "session": found.session_id,
        }
    )


@click.command()
@click.argument("words", metavar="[GROUP] RUNNER", nargs=-1, required=True)
@click.option("--ttl", type=DURATION, help="How long, as 8h; until it is unpinned otherwise.")
@click.option("--owner", help="Who chooses; also ELECTION_OWNER.")
@click.option("--reason", default="", help="Why.")
@click.option("--immediate", is_flag=True, help="Give the leader of now no time to finish.")
@click.option("--when-eligible", is_flag=True, help="Also a runner that cannot lead now.")
@connected
def pin(
    connection: Connection,
    words: tuple[str, ...],
    ttl: timedelta | None,
    owner: str | None,
    reason: str,
    immediate: bool,
    when_eligible: bool,
) -> None:
    """Choose the leader of a group: RUNNER is a name in the group, or an id.

    While the chosen one cannot lead, the policy decides.
    """
    if len(words) == 1 and "/" in words[0]:
        words = tuple(words[0].split("/", 1))
    group, name = group_and(connection, words, "RUNNER")
    reference = runner_reference(connection, name, group)

    async def work(client: Client) -> tuple[DecisionInfo, Mapping[str, str]]:
        runner = await reference.find(client)
        decision = await client.pin(
            group,
            runner.id,
            owner=connection.owner(owner),
            reason=reason,
            ttl=ttl,
            immediate=immediate,
            when_eligible=when_eligible,
        )
        return decision, await names_of(client, group)

    _print(connection, *connection.run(work))


@click.command()
@click.argument("group", required=False)
@connected
def unpin(connection: Connection, group: str | None) -> None:
    """Leave the choice of a group's leader to the policy again."""
    group_id = connection.group(group)

    async def work(client: Client) -> tuple[DecisionInfo, Mapping[str, str]]:
        return await client.unpin(group_id), await names_of(client, group_id)

    _print(connection, *connection.run(work))


def _print(connection: Connection, decision: DecisionInfo, names: Mapping[str, str]) -> None:
    if connection.as_json:
        print_json(decision)
    else:
        say(verdict(decision, names))
