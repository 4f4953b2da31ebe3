"""Stores that list and count wrongly."""

from __future__ import annotations

import contextlib
from typing import TypeVar

from attrs import evolve
from typing_extensions import override

from election_core import Changes, GroupInfo, Invalid, NotFound, Page, Runner, RunnerInfo
from election_core.memory import SharedMemoryStore
from election_core.ports import Census
from election_testkit import StoreConformance as Cases
from wrong_stores import turns_red

T = TypeVar("T")
_ALL = 1_000_000


@turns_red(Cases.test_groups_are_listed_by_id)
class ListsGroupsBackwards(SharedMemoryStore):
    """Sorts the wrong way."""

    @override
    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        page = await super().groups(cursor=cursor, limit=limit)
        return evolve(page, items=page.items[::-1])


@turns_red(Cases.test_group_is_told_as_it_is)
class TellsLeadersOfThen(SharedMemoryStore):
    """Tells who was elected, live or not."""

    @override
    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        page = await super().groups(cursor=cursor, limit=limit)
        terms = {group.id: self._groups[group.id].group.term for group in page.items}
        leaders = {id_: None if term is None else term.runner_id for id_, term in terms.items()}
        items = (evolve(group, leader_runner_id=leaders[group.id]) for group in page.items)
        return evolve(page, items=tuple(items))


@turns_red(Cases.test_runners_are_listed_oldest_first)
class ListsRunnersById(SharedMemoryStore):
    """Sorts runners by their ids, which nobody chose by age."""

    @override
    def _members(self, group_id: str) -> list[Runner]:
        return sorted(super()._members(group_id), key=lambda runner: runner.id)


@turns_red(Cases.test_restart_makes_no_runner_younger)
class DatesRunnersByTheirSession(SharedMemoryStore):
    """Sets `created_at` with each session that is opened."""

    @override
    def _merged(self, runner: Runner, changes: Changes) -> Runner:
        merged = super()._merged(runner, changes)
        session = merged.session
        return merged if session is None else evolve(merged, created_at=session.opened_at)


@turns_red(Cases.test_group_that_is_not_there_has_no_runners)
class ListsNobodyOfNowhere(SharedMemoryStore):
    """Finds no runners where there is no group, and says no more."""

    @override
    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        try:
            return await super().runners(group_id, cursor=cursor, limit=limit)
        except NotFound:
            return Page(items=())


@turns_red(Cases.test_cursor_that_was_never_given_is_invalid)
class TakesAnyCursor(SharedMemoryStore):
    """Begins anew where it does not understand a cursor."""

    @override
    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        with contextlib.suppress(Invalid):
            return await super().groups(cursor=cursor, limit=limit)
        return await super().groups(limit=limit)


@turns_red(
    Cases.test_pages_of_groups_while_others_come_and_go,
    Cases.test_pages_of_runners_while_others_come_and_go,
)
class PagesByOffset(SharedMemoryStore):
    """Takes how many were told so far for a cursor."""

    @override
    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        return _part(await super().groups(limit=_ALL), cursor, limit)

    @override
    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        return _part(await super().runners(group_id, limit=_ALL), cursor, limit)


def _part(page: Page[T], cursor: str | None, limit: int) -> Page[T]:
    begin = int(cursor or 0)
    end = begin + limit
    more = end < len(page.items)
    return Page(items=page.items[begin:end], next_cursor=str(end) if more else None)


@turns_red(Cases.test_census_counts)
class CountsTerms(SharedMemoryStore):
    """Counts a group as led that has a term, live or not."""

    @override
    async def census(self) -> Census:
        led = sum(row.group.term is not None for row in self._groups.values())
        return evolve(await super().census(), led=led)


@turns_red(Cases.test_many_groups)
class ListsSoManyAtMost(SharedMemoryStore):
    """Cuts a page at its own limit, and takes it for the last."""

    @override
    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        page = await super().groups(cursor=cursor, limit=min(limit, 40))
        return evolve(page, next_cursor=None if limit > 40 else page.next_cursor)
