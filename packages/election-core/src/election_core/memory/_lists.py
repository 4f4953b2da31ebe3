"""Lookups, pages, counts, and what is not kept any more."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from election_core._cursors import page_of, read_cursor
from election_core._errors import CursorExpired, NotFound
from election_core._events import Event
from election_core._jobs import JobState
from election_core._state import Runner
from election_core._states import SessionState, session_state
from election_core._views import GroupInfo, Page, RunnerInfo, Token, group_info, runner_info
from election_core.memory._kept import Given, Kept
from election_core.ports import Census

__all__ = ["Lists"]

_TOKENS_KEPT = timedelta(days=1)
Key = TypeVar("Key")
Value = TypeVar("Value")


class Lists(Kept):
    """What is read for people, and pruned."""

    async def find_runner(self, runner_id: str) -> RunnerInfo:
        """See [`find_runner`][election_core.ports.Store.find_runner]."""
        runner = self._runners.get(runner_id)
        if runner is None:
            raise NotFound(f"no runner {runner_id!r}")
        return runner_info(runner, self._at())

    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        """See [`groups`][election_core.ports.Store.groups]."""
        at = self._at()
        (after,) = ("",) if cursor is None else read_cursor(cursor, str)
        rows = [
            self._groups[key].group
            for key in sorted(self._groups)
            if self._groups[key].group.deleted_at is None and key > str(after)
        ]
        return page_of(
            rows,
            limit,
            lambda group: group_info(group, self._term_expires_at(group), at),
            lambda group: (group.id,),
        )

    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        """See [`runners`][election_core.ports.Store.runners]."""
        at = self._at()
        self._living(group_id)
        after = ["", ""] if cursor is None else read_cursor(cursor, str, str)
        rows = [runner for runner in self._members(group_id) if _age(runner) > tuple(after)]
        return page_of(rows, limit, lambda runner: runner_info(runner, at), _age)

    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        """See [`events`][election_core.ports.Store.events]."""
        pruned = (
            max(self._pruned_to.values(), default=0)
            if group_id is None
            else self._pruned_to.get(group_id, 0)
        )
        if after is not None and after < pruned:
            raise CursorExpired("events behind this one have been pruned; start again without it")
        return [
            event
            for event in self._events
            if (after is None or event.id > after) and group_id in (None, event.group_id)
        ][:limit]

    async def census(self) -> Census:
        """See [`census`][election_core.ports.Store.census]."""
        at = self._at()
        groups = [row.group for row in self._groups.values() if row.group.deleted_at is None]
        ends = [self._term_expires_at(group) for group in groups]
        return Census(
            groups=len(groups),
            led=sum(end is not None and end > at for end in ends),
            runners=len(self._runners),
            live_sessions=sum(
                runner.session is not None
                and session_state(runner.session, at) is SessionState.LIVE
                for runner in self._runners.values()
            ),
        )

    async def prune(self, limit: int = 1000) -> int:
        """See [`prune`][election_core.ports.Store.prune]."""
        at = self._at()

        def over(group_id: str, since: datetime | None) -> bool:
            kept = self._groups[group_id].group.settings.retention
            return since is not None and since + kept <= at

        def unclaimed(given: Given) -> bool:
            return not any(self._runs_under(item.claim_token, item.job.id) for item in given.items)

        events = [event for event in self._events if over(event.group_id, event.at)][:limit]
        gone = {event.id for event in events}
        self._pruned_to |= {event.group_id: event.id for event in events}
        self._events = [event for event in self._events if event.id not in gone]
        jobs = [k for k, r in self._jobs.items() if over(r.job.group_id, r.job.finished_at)]
        ended = [k for k, e in self._ended.items() if over(e.group_id, e.session.at)]
        given = [k for k, g in self._given.items() if over(g.group_id, g.at) and unclaimed(g)]
        tokens = [k for k, t in self._tokens.items() if _outlived(t.token, at)]
        return (
            len(events)
            + _remove(self._jobs, jobs[:limit])
            + _remove(self._ended, ended[:limit])
            + _remove(self._given, given[:limit])
            + _remove(self._tokens, tokens[:limit])
        )

    def _runs_under(self, token: str, job_id: str) -> bool:
        """Whether the job still runs under the claim of that token."""
        record = self._jobs.get(job_id)
        return (
            record is not None
            and record.job.state is JobState.RUNNING
            and record.claim is not None
            and record.claim.token == token
        )

    async def ready(self) -> None:
        """See [`ready`][election_core.ports.Store.ready]."""


def _age(runner: Runner) -> tuple[str, str]:
    """What runners are ordered by, oldest first."""
    return runner.created_at.isoformat(timespec="microseconds"), runner.id


def _outlived(token: Token, at: datetime) -> bool:
    """Whether a token expired so long ago that nobody asks for it."""
    return token.expires_at is not None and token.expires_at + _TOKENS_KEPT <= at


def _remove(rows: dict[Key, Value], keys: Iterable[Key]) -> int:
    """Remove these rows, and count them."""
    return sum(rows.pop(key, None) is not None for key in keys)
