"""``election migrate``: the schema of a store, on the store itself, without the control API."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from attrs import frozen

from election_cli._config import Settings
from election_cli._exits import failure
from election_cli._output import print_json, say
from election_cli._stores import (
    STORE_HELP,
    PostgresDatabase,
    SqliteFile,
    StoreLocation,
    find_store,
)
from election_core import ElectionError

__all__ = ["migrate"]


@frozen(kw_only=True)
class _Outcome:
    """What was done, or would be."""

    store: str
    dry_run: bool
    before: int
    """The version that the schema had; 0: there was none."""
    after: int
    """The version that it has now, or would have."""
    needed: int
    """The version that this program works with."""
    steps: tuple[str, ...]
    """The migrations that were applied, or would be."""


@click.command()
@click.option("--store", metavar="URL", help=STORE_HELP)
@click.option("--state-dir", metavar="DIR", help="The server's state directory.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--config", metavar="FILE", type=click.Path(path_type=Path), help="The configuration file."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def migrate(
    *, store: str | None, state_dir: str | None, dry_run: bool, config: Path | None, as_json: bool
) -> None:
    """Bring the schema of a Postgres database to the version that this program needs.

    In one transaction, and safe to be run by several at once. Servers of the version before go on
    meanwhile. An SQLite file is migrated by the server that opens it; of it, this only says which
    version it has.
    """
    location = find_store(Settings({"store": store, "state_dir": state_dir}, config=config))
    try:
        outcome = asyncio.run(_migrate(location, dry_run=dry_run))
    except ElectionError as error:
        raise failure(error) from error
    if as_json:
        print_json(outcome)
        return
    for sentence in _sentences(outcome, sqlite=isinstance(location, SqliteFile)):
        say(sentence)


async def _migrate(location: StoreLocation, *, dry_run: bool) -> _Outcome:
    match location:
        case PostgresDatabase(dsn=dsn):
            import election_postgres

            done = await election_postgres.migrate(dsn, dry_run=dry_run)
            return _Outcome(
                store=location.url,
                dry_run=dry_run,
                before=done.before,
                after=done.after,
                needed=election_postgres.SCHEMA_VERSION,
                steps=done.steps,
            )
        case SqliteFile(path=path):
            import election_sqlite

            version = await asyncio.to_thread(election_sqlite.schema_version, path)
            return _Outcome(
                store=location.url,
                dry_run=dry_run,
                before=version,
                after=version,
                needed=election_sqlite.SCHEMA_VERSION,
                steps=(),
            )


def _sentences(outcome: _Outcome, *, sqlite: bool) -> list[str]:
    where, needed = outcome.store, outcome.needed
    has = f"has schema version {outcome.before}" if outcome.before else "has no schema yet"
    if sqlite and outcome.before < needed:
        opening = f"`election serve` brings it to version {needed} as it opens it"
        return [f"{where} {has}; {opening}, and nothing else is to be done."]
    if outcome.before > needed:
        return [f"{where} {has}, newer than the {needed} of this program; it was left as it is."]
    if not outcome.steps:
        return [f"{where} {has}, the one that this program needs; nothing is to be done."]
    verb = "would apply" if outcome.dry_run else "applied"
    told = [f"{verb} {step}" for step in outcome.steps]
    then = "would then have" if outcome.dry_run else "has"
    return [*told, f"{where} {then} schema version {outcome.after}."]
