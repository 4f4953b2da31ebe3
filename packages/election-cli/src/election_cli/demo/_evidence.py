"""What the audit looks at: jobs and terms, as the store kept them, and what the runners did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from attrs import evolve, frozen

from election_cli.demo._journal import Execution, now
from election_core import Event, EventKind, Job, JobState, Page, RunnerInfo
from election_core.ports import Store

__all__ = ["Evidence", "Source", "TermRecord", "collect", "in_store_time", "terms_of"]

_JOBS_A_PAGE = 500
_LOOKS_AT_THE_CLOCK = 5


class Source(Protocol):
    """What is read of a store; every store of the port has it."""

    async def jobs(
        self,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        """Jobs in order of enqueueing."""
        ...

    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        """The history from behind `after`."""
        ...

    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        """Runners, oldest first."""
        ...


@frozen(kw_only=True)
class TermRecord:
    """One grant of leadership as the history tells it."""

    epoch: int
    runner_id: str
    runner: str
    """The runner's name."""
    reason: str
    kind: str
    leaderless_seconds: float | None
    """How long nobody was leader before it; ``None`` for the first."""
    began: datetime
    ended: datetime | None
    """When its leader gave it up or its lease ran out; ``None``: not before the last event."""

    def covers(self, at: datetime, slack: timedelta = timedelta()) -> bool:
        """Whether it was current at `at`, give or take."""
        return self.began - slack <= at and (self.ended is None or at <= self.ended + slack)


@frozen(kw_only=True)
class Evidence:
    """Everything that the audit looks at."""

    enqueued: Sequence[str]
    """The jobs that the control plane said it took."""
    jobs: Sequence[Job]
    terms: Sequence[TermRecord]
    executions: Sequence[Execution]
    complete: bool = True
    """Whether the script came to its end, so that no job should be left to do."""


async def collect(
    source: Source, group_id: str, *, enqueued: Sequence[str], executions: Sequence[Execution]
) -> Evidence:
    """Read jobs, runners and history of a group."""
    jobs: list[Job] = []
    cursor: str | None = None
    while True:
        page = await source.jobs(group_id, cursor=cursor, limit=_JOBS_A_PAGE)
        jobs += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    events: list[Event] = []
    while more := await source.events(group_id, after=events[-1].id if events else None):
        events += more
    names = {runner.id: runner.name for runner in (await source.runners(group_id)).items}
    return Evidence(
        enqueued=enqueued, jobs=jobs, terms=terms_of(events, names), executions=executions
    )


async def in_store_time(
    store: Store, group_id: str, executions: Iterable[Execution]
) -> list[Execution]:
    """Executions with the times that a store on another machine had then.

    The quickest of a few looks at its clock says how far it is ahead, to half of what that took.
    """
    looks = []
    for _ in range(_LOOKS_AT_THE_CLOCK):
        before = now()
        at = (await store.load(group_id)).at
        took = now() - before
        looks.append((took, at - (before + took / 2)))
    _, ahead = min(looks)
    return [
        evolve(
            each,
            started_at=each.started_at + ahead,
            ended_at=None if each.ended_at is None else each.ended_at + ahead,
        )
        for each in executions
    ]


def terms_of(events: Iterable[Event], names: Mapping[str, str]) -> list[TermRecord]:
    """The terms that a history tells of.

    A term ended when its leader was last to be believed, which the election after it says in the
    seconds that the group was without a leader.
    """
    elected = [event for event in events if event.kind == EventKind.ELECTED]
    ends: list[datetime | None] = [
        after.at - timedelta(seconds=_leaderless(after) or 0.0) for after in elected[1:]
    ]
    return [
        TermRecord(
            epoch=event.epoch,
            runner_id=event.runner_id or "",
            runner=names.get(event.runner_id or "", event.runner_id or ""),
            reason=event.reason,
            kind=str(event.data.get("kind", "")),
            leaderless_seconds=_leaderless(event),
            began=event.at,
            ended=ended,
        )
        for event, ended in zip(elected, [*ends, None], strict=False)
    ]


def _leaderless(event: Event) -> float | None:
    seconds = event.data.get("leaderless_seconds")
    return float(seconds) if isinstance(seconds, int | float) else None
