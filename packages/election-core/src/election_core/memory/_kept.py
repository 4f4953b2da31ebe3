"""What the store keeps, and its time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs
from attrs import field, frozen

from election_core._changes import EndedSession
from election_core._errors import NotFound
from election_core._events import Event
from election_core._jobs import ClaimedJob, JobRecord
from election_core._state import Group, Mark, Runner, Snapshot
from election_core.ports import Committed, StoredToken

__all__ = ["Ended", "Given", "Kept", "Row"]


@frozen
class Row:
    """A group as it is kept."""

    group: Group
    revision: int
    commit_id: str
    committed: Committed
    """What the latest commit was answered."""


@frozen
class Ended:
    """How a session ended, and whose retention says how long that is remembered."""

    session: EndedSession
    group_id: str


@frozen
class Given:
    """What a claim was answered."""

    group_id: str
    at: datetime
    items: tuple[ClaimedJob, ...]


def _wall_clock() -> Callable[[], datetime]:
    """The wall clock at the time of the call, counting on with elapsed time."""
    began, start = datetime.now(UTC), time.monotonic()
    return lambda: began + timedelta(seconds=time.monotonic() - start)


@attrs.define(kw_only=True, slots=False, repr=False)
class Kept:
    """The rows of a store, and what reads of them are made of."""

    clock: Callable[[], datetime] = field(factory=_wall_clock)
    """What tells the time; the store never lets it go back."""
    _now: datetime = field(default=datetime.min.replace(tzinfo=UTC), init=False)
    _mark: Mark | None = field(default=None, init=False)
    _lost: bool = field(default=False, init=False)
    _lost_epoch: int = field(default=0, init=False)
    _lost_until: datetime | None = field(default=None, init=False)
    _groups: dict[str, Row] = field(factory=dict, init=False)
    _held: dict[str, tuple[datetime, int]] = field(factory=dict, init=False)
    """Groups that an elector has in hand: until when, and at which revision."""
    _runners: dict[str, Runner] = field(factory=dict, init=False)
    _ended: dict[str, Ended] = field(factory=dict, init=False)
    _events: list[Event] = field(factory=list, init=False)
    _last_event: int = field(default=0, init=False)
    _pruned_to: dict[str, int] = field(factory=dict, init=False)
    _jobs: dict[str, JobRecord] = field(factory=dict, init=False)
    _last_job: int = field(default=0, init=False)
    _given: dict[tuple[str, str], Given] = field(factory=dict, init=False)
    _tokens: dict[str, StoredToken] = field(factory=dict, init=False)

    def _at(self) -> datetime:
        self._now = max(self._now, self.clock())
        return self._now

    def _snapshot(self, group_id: str, at: datetime) -> Snapshot:
        row = self._row(group_id)
        return Snapshot(
            at=at,
            revision=row.revision,
            group=row.group,
            runners=tuple(self._members(group_id)),
            mark=self._mark or Mark(at=at),
        )

    def _row(self, group_id: str) -> Row:
        row = self._groups.get(group_id)
        if row is None:
            raise NotFound(f"no group {group_id!r}")
        return row

    def _living(self, group_id: str) -> Group:
        group = self._row(group_id).group
        if group.deleted_at is not None:
            raise NotFound(f"no group {group_id!r}")
        return group

    def _members(self, group_id: str) -> list[Runner]:
        return sorted(
            (runner for runner in self._runners.values() if runner.group_id == group_id),
            key=lambda runner: (runner.created_at, runner.id),
        )

    def _how_it_ended(self, runner_id: str, session_id: str) -> EndedSession | None:
        ended = self._ended.get(session_id)
        return ended.session if ended is not None and ended.session.runner_id == runner_id else None

    def _term_expires_at(self, group: Group) -> datetime | None:
        holder = None if group.term is None else self._runners.get(group.term.runner_id)
        return None if holder is None or holder.session is None else holder.session.term_expires_at
