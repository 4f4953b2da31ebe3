"""Ten thousand groups: nothing of one group costs by how many others there are."""

from __future__ import annotations

import anyio

from election_core import Settings, create_group
from election_core.ports import Beat
from election_testkit._fleet import Fleet, fresh
from election_testkit._subject import Subject
from election_testkit._suite import Suite

__all__ = ["ManyGroups"]

_WRITERS = 16
_LED = 20
"""How many of the groups have a leader."""


class ManyGroups(Suite):
    """What the port promises, among many groups."""

    async def test_many_groups(self, subject: Subject) -> None:
        """Among all of them what is due is found, each is listed once, and each is led alone."""
        store, prefix = subject.store, fresh("many")
        await Fleet(store).create()
        at = (await store.due(0)).at
        ids = [f"{prefix}-{number:06}" for number in range(self.many_groups)]
        left = iter(ids)

        async def create() -> None:
            for group_id in left:
                changes = create_group(group_id, Settings(), at=at)
                await store.commit(changes, expected_revision=0, commit_id=group_id)

        async with anyio.create_task_group() as tasks:
            for _ in range(_WRITERS):
                tasks.start_soon(create)
        chosen = ids[:: self.many_groups // _LED][:_LED]
        led = [Fleet(store, group_id=group_id) for group_id in chosen]
        async with anyio.create_task_group() as tasks:
            for each in led:
                tasks.start_soon(each.join, "a", "b")

        # All are there, once each, in pages and in the history.
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await store.groups(cursor=cursor, limit=1000)
            found += [group.id for group in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert [group_id for group_id in found if group_id.startswith(prefix)] == ids
        assert (await store.census()).groups >= len(ids)
        assert not await self._due(subject, prefix)

        # Renewals together, of which one leader in two takes no part: it is what is due.
        await subject.advance(10)
        beats = [
            Beat(runner_id=each.runner(name), session_id=each.session(name))
            for number, each in enumerate(led)
            for name in ("a", "b")
            if name == "b" or number % 2
        ]
        answers = await store.beat(beats)
        assert [type(answer).__name__ for answer in answers] == ["Pulse"] * len(beats)
        await subject.advance(5)
        silent = [each.group_id for each in led[::2]]
        assert sorted(await self._due(subject, prefix)) == silent
        async with anyio.create_task_group() as tasks:
            for each in led[::2]:
                tasks.start_soon(each.decide)
        assert not await self._due(subject, prefix)
        leaders = [(await each.leader(), await each.epoch()) for each in led]
        assert leaders == [("b", 2), ("a", 1)] * (_LED // 2)

    async def _due(self, subject: Subject, prefix: str) -> list[str]:
        """Which of the many are due."""
        due = await subject.store.due(1_000_000)
        return [group_id for group_id in due.group_ids if group_id.startswith(prefix)]
