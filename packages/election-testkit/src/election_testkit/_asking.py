"""Two stores that are asked the same: what the rules of the agreement machine are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine
from typing_extensions import override

from election_core import (
    Changes,
    Command,
    Configure,
    ElectionError,
    Snapshot,
    default_policies,
    plan,
)
from election_core.memory import MemoryStore
from election_core.ports import Settle
from election_testkit._clock import ManualClock
from election_testkit._subject import FullStore

T = TypeVar("T")
_POLICIES = default_policies()


class Asking(RuleBasedStateMachine):
    """An adapter and `MemoryStore` under one clock; both are asked, and must answer alike."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.loop = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.memory = MemoryStore(clock=self.clock)
        self.store: FullStore = self.loop.run(
            self.stack.enter_async_context(self.open_store(self.clock))
        )
        self.count = 0
        self.sessions: list[tuple[str, str]] = []
        self.jobs: list[str] = []
        self.held: list[tuple[str, str]] = []
        self.planned: list[tuple[Changes, int]] = []

    def open_store(self, clock: ManualClock) -> AbstractAsyncContextManager[FullStore]:
        """The adapter on an empty store, for one example.

        Args:
            clock: The time that the store must tell, which stands until the machine moves it.
        """
        raise NotImplementedError("open the adapter under test here")

    async def moved(self, clock: ManualClock) -> None:
        """The clock was moved; for an adapter whose time has to be told so. Nothing otherwise."""

    @override
    def teardown(self) -> None:
        """Close the store."""
        self.loop.run(self.stack.aclose())
        self.loop.close()

    def advance(self, seconds: float) -> None:
        """Let time pass in both."""
        self.clock.advance(seconds)
        self.loop.run(self.moved(self.clock))

    def number(self) -> int:
        """A number that was not given out before."""
        self.count += 1
        return self.count

    def ask(self, call: Callable[[Any], Awaitable[T]]) -> T | None:
        """Ask both; the answer, or `None` for the same refusal."""
        answers = [self.loop.run(_outcome(call(store))) for store in (self.memory, self.store)]
        assert answers[1] == answers[0]
        answer = answers[0]
        return None if isinstance(answer, tuple) and answer[:1] == ("refused",) else answer  # type: ignore[return-value]

    def load(self, group_id: str) -> Snapshot | None:
        """A group, as both know it."""
        return self.ask(lambda store: store.load(group_id))

    def commit(self, changes: Changes, revision: int) -> bool:
        """Commit the same to both; whether it was accepted."""
        commit_id = f"commit-{self.number()}"
        committed = self.ask(
            lambda store: store.commit(changes, expected_revision=revision, commit_id=commit_id)
        )
        if committed is not None:  # and once more, as if the answer had been lost
            again = self.ask(
                lambda store: store.commit(changes, expected_revision=revision, commit_id=commit_id)
            )
            assert again == committed
        self.load(changes.group.id)
        return committed is not None

    def command(self, group_id: str, command: Command, *, later: bool = False) -> bool:
        """Plan a command, and carry it out at once or leave it lying."""
        snapshot = self.load(group_id)
        if snapshot is None or snapshot.group.deleted_at is not None:
            return False
        wanted = command.settings if isinstance(command, Configure) else snapshot.group.settings
        try:
            planned = plan(snapshot, command, _POLICIES.of(wanted), actor="test")
        except ElectionError:
            return False
        if later:
            self.planned.append((planned.changes, snapshot.revision))
            return False
        return self.commit(planned.changes, snapshot.revision)


async def _outcome(call: Awaitable[T]) -> T | tuple[str, type[ElectionError], dict[str, object]]:
    """An answer, or the refusal."""
    try:
        return await call
    except ElectionError as error:
        return _refusal(error)


def _refusal(error: ElectionError) -> tuple[str, type[ElectionError], dict[str, object]]:
    """A refusal as what can be compared."""
    return "refused", type(error), dict(error.facts)


async def settled(store: FullStore, settles: Sequence[Settle]) -> list[object]:
    """The answers to settlements that are made together."""
    answers = await store.settle(settles)
    return [_refusal(each) if isinstance(each, ElectionError) else each for each in answers]


async def pages_of(read: Callable[[str | None], Awaitable[Any]]) -> list[Any]:
    """The items of all pages, page by page."""
    pages = []
    cursor: str | None = None
    while True:
        page = await read(cursor)
        pages.append(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return pages
