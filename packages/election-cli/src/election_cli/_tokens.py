"""``election tokens``."""

from __future__ import annotations

from datetime import timedelta

import click

from election_cli._arguments import MOST, ListFirst, choice, runner_reference
from election_cli._connection import Connection, all_of, connected
from election_cli._durations import DURATION
from election_cli._output import print_facts, print_json, print_table, say, when
from election_core import TokenKind, encode
from election_sdk import Client, NewToken

__all__ = ["tokens"]


@click.group(cls=ListFirst, subcommand_metavar="[list | create | revoke] ...")
def tokens() -> None:
    """Tokens, by which callers are let in. Without a subcommand they are listed."""


@tokens.command("list")
@connected
def list_tokens(connection: Connection) -> None:
    """List the tokens, never their secrets."""
    found = connection.run(
        lambda client: all_of(lambda cursor: client.tokens(cursor=cursor, limit=MOST))
    )
    if connection.as_json:
        print_json(found)
        return
    print_table(
        ("TOKEN", "KIND", "GROUP", "RUNNER", "CREATED", "EXPIRES"),
        (
            (
                token.id,
                token.kind,
                token.group_id,
                token.runner_id,
                when(token.created_at),
                "never" if token.expires_at is None else when(token.expires_at),
            )
            for token in found.items
        ),
    )


@tokens.command("create")
@click.option(
    "--kind",
    type=choice(TokenKind),
    required=True,
    help="operator: everything; viewer: reads; join: registers runners in one group; "
    "runner: acts as one runner.",
)
@click.option("-g", "--group", metavar="GROUP", help="The group of a join token.")
@click.option("--runner", help="The runner of a runner token: an id, or GROUP/NAME.")
@click.option("--ttl", type=DURATION, help="How long it is valid; until it is revoked otherwise.")
@connected
def create(
    connection: Connection,
    kind: str,
    group: str | None,
    runner: str | None,
    ttl: timedelta | None,
) -> None:
    """Make a token; its secret is shown this once."""
    joins, acts = kind == TokenKind.JOIN, kind == TokenKind.RUNNER
    if runner is not None and not acts:
        raise click.UsageError("--runner belongs to --kind runner.")
    if runner is None and acts:
        raise click.UsageError("--kind runner needs --runner.")
    if group is not None and not (joins or acts):
        raise click.UsageError("--group belongs to --kind join.")
    group_id = connection.group(group) if joins else None
    reference = None if runner is None else runner_reference(connection, runner, group)

    async def work(client: Client) -> NewToken:
        runner_id = None if reference is None else (await reference.find(client)).id
        return await client.create_token(kind, group_id=group_id, runner_id=runner_id, ttl=ttl)

    made = connection.run(work)
    if connection.as_json:
        document = encode(made.token)
        assert isinstance(document, dict)  # noqa: S101 - a token is an object
        print_json({**document, "token": made.secret})
        return
    print_facts(
        {
            "id": made.token.id,
            "kind": made.token.kind,
            "group": made.token.group_id,
            "runner": made.token.runner_id,
            "expires": "never" if made.token.expires_at is None else when(made.token.expires_at),
            "token (shown once)": made.secret,
        }
    )


@tokens.command("revoke")
@click.argument("token_id", metavar="ID")
@connected
def revoke(connection: Connection, token_id: str) -> None:
    """Revoke a token: whoever holds it is not let in any more."""
    connection.run(lambda client: client.revoke_token(token_id))
    if connection.as_json:
        print_json({"revoked": token_id})
    else:
        say(f"Revoked token {token_id}.")
