"""What is kept: one kind of row per table, and the indexes that the queries of a store need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, ValuesView
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

import attrs
from attrs import frozen

from election_core import (
    ClaimedJob,
    EndedSession,
    Event,
    Group,
    JobRecord,
    Mark,
    NotFound,
    Runner,
    Token,
    decode,
    encode,
)
from election_core.ports import Committed

__all__ = ["ClaimRow", "EndedRow", "GroupRow", "HoldRow", "MetaRow", "Table", "Tables"]

T = TypeVar("T")
BEGINNING = datetime.min.replace(tzinfo=UTC)


@frozen(kw_only=True)
class GroupRow:
    """A group with what compare-and-set needs."""

    group: Group
    revision: int
    commit_id: str
    committed: Committed
    """What the commit of that id was answered, for when it comes again."""
    pruned_to: int = 0
    """The newest of its events that were deleted."""


@frozen
class EndedRow:
    """How a session ended, and whose retention says how long that is kept."""

    group_id: str
    session: EndedSession


@frozen
class ClaimRow:
    """What a claim was answered, for when it comes again."""

    group_id: str
    at: datetime
    items: tuple[ClaimedJob, ...]


@frozen
class HoldRow:
    """An elector has this group in hand: until then, or until its revision is another."""

    until: datetime
    revision: int


@frozen(kw_only=True)
class MetaRow:
    """The one row about the store itself."""

    identity: str
    began: datetime
    """The store's time when it was opened last,"""
    began_elapsed: timedelta
    """and the clock that only counts at that moment."""
    mark: Mark | None = None
    last_event: int = 0
    last_job: int = 0
    pruned_to: int = 0
    lost_epoch: int = 0
    lost_until: datetime | None = None


class Table(Generic[T]):
    """Rows by their keys, in the order in which they came, and what a transaction did to them."""

    def __init__(self, kind: type[T], by: Callable[[T], str] = lambda row: "") -> None:
        self._kind = kind
        self._by = by
        self._rows: dict[str, T] = {}
        self._index: dict[str, dict[str, T]] = {}
        self._touched: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: str) -> T | None:
        """The row of a key, if there is one."""
        return self._rows.get(key)

    def items(self, value: str | None = None) -> list[tuple[str, T]]:
        """All keys with their rows, or those with that value in the index.

        It is a copy, so the table may be changed meanwhile.
        """
        rows = self._rows if value is None else self._index.get(value, {})
        return list(rows.items())

    def all(self) -> ValuesView[T]:
        """All rows."""
        return self._rows.values()

    def of(self, value: str) -> ValuesView[T]:
        """The rows with that value in the index."""
        return self._index.get(value, {}).values()

    def newest_first(self, value: str | None = None) -> Iterator[T]:
        """All rows, or those with that value in the index, the one that came last first."""
        rows = self._rows if value is None else self._index.get(value, {})
        return reversed(rows.values())

    def put(self, key: str, row: T) -> None:
        """Write a row."""
        self._touched[key] = None
        self._set(key, row)

    def drop(self, key: str) -> bool:
        """Delete a row; whether there was one."""
        if key not in self._rows:
            return False
        self._touched[key] = None
        self._set(key, None)
        return True

    def _set(self, key: str, row: T | None) -> None:
        old = self._rows.get(key)
        if old is not None and (row is None or self._by(old) != self._by(row)):
            del self._index[self._by(old)][key]
            if not self._index[self._by(old)]:
                del self._index[self._by(old)]
        if row is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = row
            self._index.setdefault(self._by(row), {})[key] = row

    def changed(self) -> dict[str, object]:
        """What the transaction did, as JSON values; `None` is a row that was deleted."""
        return {key: encode(self._rows.get(key)) for key in self._touched}

    def whole(self) -> dict[str, object]:
        """All rows as JSON values."""
        return {key: encode(row) for key, row in self._rows.items()}

    @property
    def touched(self) -> bool:
        """Whether the transaction did anything."""
        return bool(self._touched)

    def read(self, document: Mapping[str, object]) -> dict[str, T | None]:
        """Rows from their JSON values."""
        return {
            key: None if row is None else decode(self._kind, row) for key, row in document.items()
        }

    def apply(self, rows: Mapping[str, T | None]) -> None:
        """Take rows over that a transaction has written, this one or another."""
        self._touched.clear()
        for key, row in rows.items():
            self._set(key, row)

    def clear(self) -> None:
        """Forget everything."""
        self._rows, self._index, self._touched = {}, {}, {}


@attrs.define(kw_only=True)
class Tables:
    """All that a store keeps, and the time of the transaction that looks at it."""

    at: datetime = BEGINNING
    meta: Table[MetaRow] = attrs.Factory(lambda: Table(MetaRow))
    groups: Table[GroupRow] = attrs.Factory(lambda: Table(GroupRow))
    runners: Table[Runner] = attrs.Factory(lambda: Table(Runner, lambda row: row.group_id))
    ended: Table[EndedRow] = attrs.Factory(
        lambda: Table(EndedRow, lambda row: row.session.runner_id)
    )
    holds: Table[HoldRow] = attrs.Factory(lambda: Table(HoldRow))
    events: Table[Event] = attrs.Factory(lambda: Table(Event, lambda row: row.group_id))
    jobs: Table[JobRecord] = attrs.Factory(lambda: Table(JobRecord, lambda row: row.job.group_id))
    claims: Table[ClaimRow] = attrs.Factory(lambda: Table(ClaimRow, lambda row: row.group_id))
    tokens: Table[Token] = attrs.Factory(lambda: Table(Token, lambda row: row.group_id or ""))

    def by_name(self) -> dict[str, Table[object]]:
        """The tables by their names."""
        return {
            field.name: getattr(self, field.name)
            for field in attrs.fields(Tables)
            if field.name != "at"
        }

    @property
    def store(self) -> MetaRow:
        """The row about the store itself, which is written when it is opened."""
        row = self.meta.get("")
        assert row is not None
        return row

    def update_store(self, **fields: object) -> None:
        """Change fields of that row."""
        self.meta.put("", attrs.evolve(self.store, **fields))  # type: ignore[arg-type]

    def row(self, group_id: str) -> GroupRow:
        """A group or its remains.

        Raises:
            NotFound: There was never one.
        """
        row = self.groups.get(group_id)
        if row is None:
            raise NotFound(f"no group {group_id!r}")
        return row

    def living(self, group_id: str) -> Group:
        """A group that is not deleted.

        Raises:
            NotFound: There is none.
        """
        group = self.row(group_id).group
        if group.deleted_at is not None:
            raise NotFound(f"no group {group_id!r}")
        return group

    def term_expires_at(self, group: Group) -> datetime | None:
        """The end of the lease of a group's term, which is on the row of its runner."""
        holder = None if group.term is None else self.runners.get(group.term.runner_id)
        return None if holder is None or holder.session is None else holder.session.term_expires_at
