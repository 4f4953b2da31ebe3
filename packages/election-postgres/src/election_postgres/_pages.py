"""Lookups, pages in the order of an immutable key, and counts."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

from datetime import datetime

from election_core import (
    Event,
    GroupInfo,
    Invalid,
    Job,
    JobState,
    NotFound,
    Page,
    RunnerInfo,
    group_info,
    page_of,
    read_cursor,
    runner_info,
)
from election_core.ports import Census
from election_postgres._base import Base
from election_postgres._job_rows import JOB, job_of
from election_postgres._rows import GROUP, RUNNER, columns, event_of, group_of, runner_of
from election_postgres._values import micros, moment

__all__ = ["Pages"]

_FIRST = datetime.fromisoformat("0001-01-02T00:00:00+00:00")

_RUNNER = f"""
SELECT (SELECT election.now($1)) AS at, {columns(RUNNER, "r")}
FROM election.meta AS m LEFT JOIN election.runner AS r ON r.id = $2
"""
_GROUPS = f"""
SELECT (SELECT election.now($1)) AS at, {columns(GROUP, "g")}, s.due_since,
    l.term_expires_at AS leader_expires_at
FROM election.runner_group AS g
LEFT JOIN election.runner AS l ON l.id = g.term_runner_id
CROSS JOIN LATERAL election.stirred(g.id) AS s
WHERE g.id > $2 AND g.deleted_at IS NULL ORDER BY g.id LIMIT $3
"""
_RUNNERS = f"""
SELECT (SELECT election.now($1)) AS at, {columns(RUNNER, "r")}
FROM election.runner AS r
WHERE r.group_id = $2 AND (r.created_at, r.id) > ($3, $4)
ORDER BY r.created_at, r.id LIMIT $5
"""
_JOBS = f"""
SELECT {columns(JOB, "j")} FROM election.job AS j
WHERE j.group_id = $1 AND j.seq > $2 AND ($3::text IS NULL OR j.state = $3)
ORDER BY j.seq LIMIT $4
"""
_EVENTS = "SELECT * FROM election.events($1, $2, $3, $4)"
_LIVING = "SELECT 1 FROM election.runner_group WHERE id = $1 AND deleted_at IS NULL"
_CENSUS = """
WITH now AS MATERIALIZED (SELECT election.now($1) AS at)
SELECT
    now.at,
    (SELECT count(*) FROM election.runner_group WHERE deleted_at IS NULL) AS groups,
    count(*) FILTER (WHERE r.held_epoch IS NOT NULL AND r.term_expires_at > now.at) AS led,
    count(r.id) AS runners,
    count(*) FILTER (WHERE r.lease_expires_at > now.at) AS live
FROM now LEFT JOIN election.runner AS r ON true GROUP BY now.at
"""
_COUNTS = "SELECT state, count(*) AS jobs FROM election.job GROUP BY state"


class Pages(Base):
    """Everything that is only looked at."""

    async def _check_living(self, group_id: str) -> None:
        if not await self._read(_LIVING, group_id):
            raise NotFound(f"no group {group_id!r}")

    async def find_runner(self, runner_id: str) -> RunnerInfo:
        """See [`find_runner`][election_core.ports.Store.find_runner]."""
        row = (await self._read(_RUNNER, self._floor.at, runner_id))[0]
        if row["id"] is None:
            raise NotFound(f"no runner {runner_id!r}")
        return runner_info(runner_of(row), self._seen(row["at"]))

    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        """See [`groups`][election_core.ports.Store.groups]."""
        (after,) = ("",) if cursor is None else read_cursor(cursor, str)
        rows = await self._read(_GROUPS, self._floor.at, after, limit + 1)
        return page_of(
            rows,
            limit,
            lambda row: group_info(group_of(row), row["leader_expires_at"], self._seen(row["at"])),
            lambda row: (row["id"],),
        )

    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        """See [`runners`][election_core.ports.Store.runners]."""
        since, after = _FIRST, ""
        if cursor is not None:
            number, key = read_cursor(cursor, int, str)
            try:
                since, after = moment(int(number)), str(key)
            except OverflowError:
                raise Invalid("cursor: not one that was given out", field="cursor") from None
        await self._check_living(group_id)
        rows = await self._read(_RUNNERS, self._floor.at, group_id, since, after, limit + 1)
        return page_of(
            rows,
            limit,
            lambda row: runner_info(runner_of(row), self._seen(row["at"])),
            lambda row: (micros(row["created_at"]), row["id"]),
        )

    async def _job_page(
        self, group_id: str, state: JobState | None, cursor: str | None, limit: int
    ) -> Page[Job]:
        (after,) = (0,) if cursor is None else read_cursor(cursor, int)
        await self._check_living(group_id)
        wanted = None if state is None else state.value
        rows = await self._read(_JOBS, group_id, after, wanted, limit + 1)
        return page_of(rows, limit, job_of, lambda row: (row["seq"],))

    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        """See [`events`][election_core.ports.Store.events]."""
        rows = await self._read(_EVENTS, self._floor.at, group_id, after, limit)
        return [event_of(row) for row in rows]

    async def census(self) -> Census:
        """See [`census`][election_core.ports.Store.census]."""
        row = (await self._read(_CENSUS, self._floor.at))[0]
        self._seen(row["at"])
        return Census(
            groups=row["groups"],
            led=row["led"],
            runners=row["runners"],
            live_sessions=row["live"],
        )

    async def job_counts(self) -> dict[str, int]:
        """See [`job_counts`][election_core.ports.JobStore.job_counts]."""
        return {row["state"]: row["jobs"] for row in await self._read(_COUNTS)}
