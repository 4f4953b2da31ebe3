"""``election jobs``."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from election_cli._arguments import (
    LIMIT,
    MOST,
    ListFirst,
    choice,
    group_and,
    names_of,
    read_json,
    runner_reference,
)
from election_cli._connection import Connection, connected
from election_cli._output import print_facts, print_json, print_table, say, when
from election_cli._sentences import named
from election_core import Job, JobState, Page
from election_sdk import Client

__all__ = ["jobs"]

_SHOWN = 100


@click.group(cls=ListFirst, subcommand_metavar="[[list] GROUP | add | show | cancel] ...")
def jobs() -> None:
    """The jobs of a group. `election jobs GROUP` lists them in order of enqueueing."""


@jobs.command("list")
@click.argument("group", required=False)
@click.option("--state", type=choice(JobState), help="Only those in this state.")
@click.option("--limit", type=LIMIT, default=_SHOWN, show_default=True, help="How many at most.")
@click.option("--cursor", help="Go on where an earlier list ended.")
@connected
def list_jobs(
    connection: Connection, group: str | None, state: str | None, limit: int, cursor: str | None
) -> None:
    """List jobs in order of enqueueing."""
    group_id = connection.group(group)

    async def work(client: Client) -> tuple[Page[Job], Mapping[str, str]]:
        found: list[Job] = []
        page: Page[Job] = Page(items=(), next_cursor=cursor)
        while True:
            page = await client.jobs(
                group_id,
                state=state,
                cursor=page.next_cursor,
                limit=min(MOST, limit - len(found)),
            )
            found += page.items
            if page.next_cursor is None or len(found) >= limit:
                break
        names = {} if connection.as_json else await names_of(client, group_id)
        return Page(items=tuple(found), next_cursor=page.next_cursor), names

    page, names = connection.run(work)
    if connection.as_json:
        print_json(page)
        return
    print_table(
        ("JOB", "KIND", "STATE", "TRIES", "PRIORITY", "RUNNER", "EPOCH", "CREATED", "ERROR"),
        (
            (
                job.id,
                job.kind,
                job.state,
                f"{job.attempts}/{job.max_attempts}",
                job.priority,
                _runner(job, names),
                job.epoch,
                when(job.created_at),
                job.error,
            )
            for job in page.items
        ),
    )
    if page.next_cursor is not None:
        click.echo(f"There are more: --cursor {page.next_cursor}", err=True)


def _runner(job: Job, names: Mapping[str, str]) -> str | None:
    if job.runner_id is not None:
        return f"for {named(job.runner_id, names)}"
    return None if job.claimed_by is None else named(job.claimed_by, names)


@jobs.command("add")
@click.argument("words", metavar="[GROUP] KIND", nargs=-1, required=True)
@click.option("--payload", metavar="JSON", help="As JSON, @FILE, or - for standard input.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher first.")
@click.option("--max-attempts", type=click.IntRange(min=1), help="3, or 1 with --runner.")
@click.option("--runner", help="Address it to this runner, whoever leads.")
@click.option("--key", help="Repeating it with the same key adds no second job.")
@connected
def add(
    connection: Connection,
    words: tuple[str, ...],
    payload: str | None,
    priority: int,
    max_attempts: int | None,
    runner: str | None,
    key: str | None,
) -> None:
    """Add a job to a group's queue."""
    group, kind = group_and(connection, words, "KIND")
    value = None if payload is None else read_json(payload, "--payload")
    reference = None if runner is None else runner_reference(connection, runner, group)

    async def work(client: Client) -> Job:
        return await client.enqueue(
            group,
            kind,
            value,
            priority=priority,
            max_attempts=max_attempts,
            runner_id=None if reference is None else (await reference.find(client)).id,
            idempotency_key=key,
        )

    _show(connection, connection.run(work))


@jobs.command("show")
@click.argument("job", metavar="ID")
@connected
def show(connection: Connection, job: str) -> None:
    """Show a job with its payload and result."""
    _show(connection, connection.run(lambda client: client.job(job)))


@jobs.command("cancel")
@click.argument("job", metavar="ID")
@connected
def cancel(connection: Connection, job: str) -> None:
    """Cancel a job: at once if it is queued; a running one's runner is asked to stop."""
    found = connection.run(lambda client: client.cancel(job))
    if connection.as_json:
        print_json(found)
    elif found.state == JobState.RUNNING:
        say(f"Job {found.id} is running; its runner is asked to stop.")
    else:
        say(f"Job {found.id} is {found.state}.")


def _show(connection: Connection, job: Job) -> None:
    if connection.as_json:
        print_json(job)
        return
    print_facts(
        {
            "job": job.id,
            "group": job.group_id,
            "kind": job.kind,
            "state": job.state + (", to be cancelled" if job.cancel_requested else ""),
            "attempts": f"{job.attempts} of {job.max_attempts}",
            "priority": str(job.priority),
            "for runner": job.runner_id,
            "claimed by": job.claimed_by,
            "epoch": None if job.epoch is None else str(job.epoch),
            "created": when(job.created_at),
            "available": when(job.available_at),
            "started": when(job.started_at),
            "finished": when(job.finished_at),
            "payload": _json(job.payload),
            "result": _json(job.result),
            "error": job.error,
        }
    )


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)
