"""Lookups, pages, counts, and what is not kept any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import takewhile
from typing import TypeVar

from attrs import evolve

from election_core import (
    CursorExpired,
    Event,
    GroupInfo,
    JobState,
    NotFound,
    Page,
    Runner,
    RunnerInfo,
    SessionState,
    group_info,
    page_of,
    read_cursor,
    runner_info,
    session_state,
)
from election_core.ports import Census
from examples.journal_store._part import Part, transaction
from examples.journal_store._tables import ClaimRow, Table, Tables

__all__ = ["Lists"]

T = TypeVar("T")
_TOKENS_KEPT = timedelta(days=1)


class Lists(Part):
    """What is read for people, and pruned."""

    @transaction
    def find_runner(self, tables: Tables, runner_id: str) -> RunnerInfo:
        """See [`find_runner`][election_core.ports.Store.find_runner]."""
        runner = tables.runners.get(runner_id)
        if runner is None:
            raise NotFound(f"no runner {runner_id!r}")
        return runner_info(runner, tables.at)

    @transaction
    def groups(
        self, tables: Tables, *, cursor: str | None = None, limit: int = 100
    ) -> Page[GroupInfo]:
        """See [`groups`][election_core.ports.Store.groups]."""
        (after,) = ("",) if cursor is None else read_cursor(cursor, str)
        rows = [row.group for row in tables.groups.all() if row.group.id > str(after)]
        rows = sorted((g for g in rows if g.deleted_at is None), key=lambda group: group.id)
        return page_of(
            rows,
            limit,
            lambda group: group_info(group, tables.term_expires_at(group), tables.at),
            lambda group: (group.id,),
        )

    @transaction
    def runners(
        self, tables: Tables, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        """See [`runners`][election_core.ports.Store.runners]."""
        tables.living(group_id)
        after = ["", ""] if cursor is None else read_cursor(cursor, str, str)
        rows = sorted(
            (row for row in tables.runners.of(group_id) if _age(row) > tuple(after)), key=_age
        )
        return page_of(rows, limit, lambda runner: runner_info(runner, tables.at), _age)

    @transaction
    def events(
        self, tables: Tables, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        """See [`events`][election_core.ports.Store.events]."""
        pruned = tables.store.pruned_to
        if group_id is not None:
            row = tables.groups.get(group_id)
            pruned = 0 if row is None else row.pruned_to
        if after is not None and after < pruned:
            raise CursorExpired("events behind this one have been pruned; start again without it")
        newest_first = tables.events.newest_first(group_id)
        found = list(takewhile(lambda event: after is None or event.id > after, newest_first))
        return found[::-1][:limit]

    @transaction
    def census(self, tables: Tables) -> Census:
        """See [`census`][election_core.ports.Store.census]."""
        at = tables.at
        groups = [row.group for row in tables.groups.all() if row.group.deleted_at is None]
        ends = [tables.term_expires_at(group) for group in groups]
        sessions = [runner.session for runner in tables.runners.all()]
        return Census(
            groups=len(groups),
            led=sum(end is not None and end > at for end in ends),
            runners=len(tables.runners),
            live_sessions=sum(
                session is not None and session_state(session, at) is SessionState.LIVE
                for session in sessions
            ),
        )

    @transaction
    def prune(self, tables: Tables, limit: int = 1000) -> int:
        """See [`prune`][election_core.ports.Store.prune]."""
        at = tables.at

        def over(group_id: str, since: datetime | None) -> bool:
            kept = tables.row(group_id).group.settings.retention
            return since is not None and since + kept <= at

        def unclaimed(claim: ClaimRow) -> bool:
            return not any(_runs(tables, i.job.id, i.claim_token) for i in claim.items)

        events = [event for event in tables.events.all() if over(event.group_id, event.at)][:limit]
        for event in events:
            row = tables.row(event.group_id)
            tables.groups.put(event.group_id, evolve(row, pruned_to=event.id))
            tables.update_store(pruned_to=max(event.id, tables.store.pruned_to))
            tables.events.drop(f"{event.id:020}")
        return (
            len(events)
            + _drop(tables.jobs, limit, lambda row: over(row.job.group_id, row.job.finished_at))
            + _drop(tables.ended, limit, lambda row: over(row.group_id, row.session.at))
            + _drop(tables.claims, limit, lambda row: over(row.group_id, row.at) and unclaimed(row))
            + _drop(
                tables.tokens,
                limit,
                lambda row: row.expires_at is not None and row.expires_at + _TOKENS_KEPT <= at,
            )
        )

    @transaction
    def ready(self, tables: Tables) -> None:
        """See [`ready`][election_core.ports.Store.ready]; each transaction finds out by itself."""


def _age(runner: Runner) -> tuple[str, str]:
    """What runners are ordered by, oldest first."""
    return runner.created_at.isoformat(timespec="microseconds"), runner.id


def _runs(tables: Tables, job_id: str, token: str) -> bool:
    """Whether the job still runs under the claim of that token."""
    record = tables.jobs.get(job_id)
    claim = None if record is None else record.claim
    return (
        record is not None
        and record.job.state is JobState.RUNNING
        and claim is not None
        and claim.token == token
    )


def _drop(table: Table[T], limit: int, over: Callable[[T], bool]) -> int:
    """Delete rows that are over, and count them."""
    keys = [key for key, row in table.items() if over(row)][:limit]
    return sum(table.drop(key) for key in keys)
