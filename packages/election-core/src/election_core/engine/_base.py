"""What all calls of the engine share: its parts, and its life."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from types import TracebackType
from typing import Self

import anyio

from election_core._commands import Command
from election_core._errors import ElectionError, Invalid, NotFound, Unavailable
from election_core._jobs import Job
from election_core._plan import Plan
from election_core._policy import Policies
from election_core._settings import default_policies
from election_core._state import Runner, Snapshot
from election_core._states import SessionCall, refuse_former
from election_core._views import Pulse
from election_core.engine._batches import Batches, Queue
from election_core.engine._beats import Beats
from election_core.engine._commits import Commits
from election_core.engine._elector import Elector
from election_core.engine._news import News
from election_core.engine._observer import Observer, Unobserved
from election_core.engine._wakeups import Wakeups
from election_core.ports import Beaten, JobStore, Settle, Store

__all__ = ["EngineBase", "new_id", "session_id_of"]

_MOST_REMEMBERED = 100_000


def new_id(kind: str) -> str:
    """A fresh opaque id of a group, runner, session or job."""
    return f"{kind}-{secrets.token_hex(10)}"


class EngineBase:
    """The parts of an engine. While its block is open the elector runs."""

    def __init__(
        self,
        store: Store,
        *,
        policies: Policies | None = None,
        tick: timedelta = timedelta(seconds=1),
        observer: Observer | None = None,
    ) -> None:
        self.store = store
        self._job_store = store if isinstance(store, JobStore) else None
        self.policies = policies or default_policies()
        self._tick = tick
        self._observer = observer or Unobserved()
        self._wakeups = Wakeups()
        self._news = News(store, self._wakeups, tick)
        self._commits = Commits(store, self.policies, self._observer, self._news)
        self._beats = Beats(store, self._observer, self._kick)
        self._settling: Queue[Settle, Job | ElectionError] = Queue(
            self._settle_all, key=lambda settle: settle.job_id, most=500
        )
        self._settles = Batches(self._settling)
        self._elector = Elector(store, self._commits, self._beats, tick)
        self._groups_of: dict[str, str] = {}
        self._exit: AsyncExitStack | None = None

    def _kick(self) -> None:
        self._elector.kick()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._running())
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._exit is not None  # noqa: S101 - it was entered
        return await self._exit.__aexit__(exc_type, exc, traceback)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            self._beats.open()
            self._settles.open()
            tasks.start_soon(self._beats.run)
            tasks.start_soon(self._settles.run)
            tasks.start_soon(self._news.run)
            tasks.start_soon(self._elector.mark)
            tasks.start_soon(self._elector.run)
            tasks.start_soon(self._elector.prune)
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised below, out of any group
                failure = error
            finally:
                self._wakeups.stop()
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def stop_waiting(self) -> None:
        """Answer every waiting call now, end every stream of events; nobody waits from then on."""
        self._wakeups.stop()

    @property
    def waiting(self) -> int:
        """How many calls wait for news."""
        return len(self._wakeups)

    @property
    def token_news(self) -> int:
        """Rises whenever a token may have been revoked, through whichever replica."""
        return self._wakeups.token_news

    def tokens_revoked(self) -> None:
        """Tokens were revoked: whoever remembers any, here or in another replica, asks again."""
        self._news.tell([("tokens", "*")])

    @property
    def _jobs(self) -> JobStore:
        """The store as one of jobs.

        Raises:
            Invalid: It keeps none.
        """
        if self._job_store is None:
            raise Invalid("this store keeps no jobs")
        return self._job_store

    async def _settle_all(self, settles: Sequence[Settle]) -> Sequence[Job | ElectionError]:
        return await self._jobs.settle(settles)

    async def _group_of(self, runner_id: str) -> str:
        """The group of a runner, which never changes; the runner may be gone by now.

        Raises:
            NotFound: There is no such runner.
        """
        group_id = self._groups_of.get(runner_id)
        if group_id is None:
            group_id = (await self.store.find_runner(runner_id)).group_id
            if len(self._groups_of) >= _MOST_REMEMBERED:
                self._groups_of.clear()
            self._groups_of[runner_id] = group_id
        return group_id

    async def _on_runner(self, runner_id: str, command: Command, actor: str) -> tuple[Plan, Runner]:
        """Carry a command out on the group of a runner, and return the runner as it is then."""
        group_id = await self._group_of(runner_id)
        planned = await self._commits.carry_out(group_id, command, actor=actor)
        runner = planned.after.runner(runner_id)
        if runner is None:
            raise NotFound(f"no runner {runner_id!r}")
        return planned, runner

    async def _current(self, answer: Beaten, runner_id: str, call: SessionCall) -> Pulse:
        """The pulse, if the session is current.

        Raises:
            SessionSuperseded, SessionEnded: It is not.
            NotFound: Neither is the runner known.
            Unavailable: The store could not tell.
        """
        if isinstance(answer, Unavailable):
            raise answer
        if answer is None:
            await self.store.find_runner(runner_id)
            refuse_former(runner_id, call, known=True, how=None)
        if not isinstance(answer, Pulse):
            refuse_former(runner_id, call, known=True, how=answer.how)
        return answer


def session_id_of(snapshot: Snapshot, runner_id: str) -> str | None:
    """The id of a runner's current session."""
    runner = snapshot.runner(runner_id)
    return None if runner is None or runner.session is None else runner.session.id
