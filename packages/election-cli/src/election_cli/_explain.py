"""``election explain`` and ``election what-if``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import click
from attrs import frozen
from typing_extensions import override

from election_cli._arguments import names_of, runner_reference
from election_cli._connection import Connection, connected
from election_cli._output import print_json, print_table, say
from election_cli._sentences import BALLOT, ballot_rows, explanation, supposition
from election_core import DecisionInfo, GroupInfo, Leader, NoLeader
from election_sdk import Client

__all__ = ["explain", "what_if"]


@click.command()
@click.argument("group", required=False)
@connected
def explain(connection: Connection, group: str | None) -> None:
    """Say who leads a group and why, who cannot and why, and when that may change."""
    group_id = connection.group(group)
    if connection.as_json:
        print_json(connection.run(lambda client: client.explain(group_id)))
        return
    found = connection.run(lambda client: _facts(client, group_id))
    for sentence in explanation(found.group, found.leader, found.decision, found.names):
        say(sentence)
    _print_ballot(found.decision, found.names)


@frozen
class _Facts:
    group: GroupInfo
    leader: Leader | None
    decision: DecisionInfo
    names: Mapping[str, str]


async def _facts(client: Client, group_id: str) -> _Facts:
    decision = await client.explain(group_id)
    try:
        leader = await client.leader(group_id)
    except NoLeader:
        leader = None
    return _Facts(await client.group(group_id), leader, decision, await names_of(client, group_id))


def _print_ballot(decision: DecisionInfo, names: Mapping[str, str]) -> None:
    click.echo()
    print_table(BALLOT, ballot_rows(decision, names), empty="The group has no runners.")


_CHANGES: Final = {
    "taint": "It is tainted, so that it must not lead.",
    "untaint": "All its taints are removed, whoever owns them.",
    "lose": "It falls silent and its lease is over; no grace spares it.",
    "pin": "It is pinned.",
    "drain": "It is drained.",
    "undrain": "Its drain is ended.",
}
_MORE: Final[Mapping[str, Mapping[str, object]]] = {"untaint": {"force": True}}


class _InOrder(click.Command):
    """A command that knows in which order its options were given."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        values = {name: list(given[name]) for name in _CHANGES if name in given}
        ctx.meta[__name__] = [
            (parameter.name, values[parameter.name].pop(0))
            for parameter in order
            if parameter.name in values
        ]
        return super().parse_args(ctx, args)


def _suppositions(function: click.decorators.FC) -> click.decorators.FC:
    for name, said in reversed(_CHANGES.items()):
        option = click.option(
            f"--{name}", metavar="RUNNER", multiple=True, expose_value=False, help=said
        )
        function = option(function)
    return function


@click.command("what-if", cls=_InOrder)
@click.argument("group", required=False)
@_suppositions
@click.option("--unpin", is_flag=True, help="The pin is removed, before all else.")
@connected
@click.pass_context
def what_if(ctx: click.Context, /, connection: Connection, group: str | None, unpin: bool) -> None:
    """Say who would lead if something were different; nothing is changed.

    The options may be repeated, and count in the order in which they are given.
    """
    group_id = connection.group(group)
    wanted: Sequence[tuple[str, str]] = ctx.meta[__name__]
    references = [
        (what, runner_reference(connection, runner, None if "/" in runner else group_id))
        for what, runner in wanted
    ]

    async def work(client: Client) -> tuple[DecisionInfo, Mapping[str, str]]:
        changes: list[Mapping[str, object]] = [{"unpin": {}}] if unpin else []
        for what, reference in references:
            runner = await reference.find(client)
            changes.append({what: {"runner_id": runner.id, **_MORE.get(what, {})}})
        decision = await client.what_if(group_id, changes)
        return decision, {} if connection.as_json else await names_of(client, group_id)

    decision, names = connection.run(work)
    if connection.as_json:
        print_json(decision)
        return
    for sentence in supposition(decision, names):
        say(sentence)
    _print_ballot(decision, names)
