"""A store whose calls fail, wait or are cancelled as a test says."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import anyio
import anyio.lowlevel
from attrs import define, field, frozen
from typing_extensions import override

from election_core import (
    Changes,
    Claimed,
    ElectionError,
    EndedSession,
    Event,
    GroupInfo,
    Job,
    JobSpec,
    JobState,
    Mark,
    OutcomeUnknown,
    Page,
    RunnerInfo,
    Snapshot,
    Token,
    Unavailable,
)
from election_core.ports import (
    AccessStore,
    Beat,
    Beaten,
    Census,
    Committed,
    Due,
    Enqueued,
    JobStore,
    Settle,
    Store,
    StoredToken,
)
from election_testkit._cancellation import cancel_at
from election_testkit._subject import FullStore

__all__ = ["After", "Before", "CancelAt", "Delay", "Fault", "FaultyStore"]

T = TypeVar("T")


@frozen
class Before:
    """The call fails before it writes: nothing took effect."""

    error: ElectionError = field(factory=lambda: Unavailable("the store is away"))


@frozen
class After:
    """The call takes effect, and its answer is lost."""

    error: ElectionError = field(factory=lambda: OutcomeUnknown("the answer was lost"))


@frozen
class Delay:
    """The call takes so many seconds longer, before it writes."""

    seconds: float


@frozen
class CancelAt:
    """A scope of the caller's is cancelled when the call awaits for the n-th time, from 0."""

    scope: anyio.CancelScope
    awaits: int


Fault = Before | After | Delay | CancelAt


@define(repr=False)
class FaultyStore(Store, JobStore, AccessStore):
    """A store over another one, which fails as it is told to and counts what it is asked.

    It is a store for engines and for tests: what is not told to fail is passed on as it is. It is
    no [`SharedStore`][election_core.ports.SharedStore], whatever the store beneath it is.
    """

    store: FullStore
    away: bool = False
    """Whether every call fails with `Unavailable`, and nothing takes effect."""
    calls: Counter[str] = field(factory=Counter, init=False)
    """How often each method was called, by name."""
    _planned: dict[str, deque[Fault]] = field(factory=lambda: defaultdict(deque), init=False)

    def plan(self, call: str, *faults: Fault) -> None:
        """Let the next calls of a method meet these faults, one each.

        Args:
            call: The method's name, such as `"commit"`.
            faults: What they meet.
        """
        self._planned[call].extend(faults)

    async def _pass(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        self.calls[name] += 1
        await anyio.lowlevel.checkpoint()
        if self.away:
            raise Unavailable("the store is away")
        planned = self._planned[name]
        match planned.popleft() if planned else None:
            case Before(error):
                raise error
            case After(error):
                await call()
                raise error
            case Delay(seconds):
                await anyio.sleep(seconds)
            case CancelAt(scope, awaits):
                return await cancel_at(call(), scope, awaits)
            case None:
                pass
        return await call()

    @override
    async def load(self, group_id: str) -> Snapshot:
        return await self._pass("load", lambda: self.store.load(group_id))

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        return await self._pass(
            "commit",
            lambda: self.store.commit(
                changes, expected_revision=expected_revision, commit_id=commit_id
            ),
        )

    @override
    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        return await self._pass("beat", lambda: self.store.beat(beats))

    @override
    async def pulse(self, runner_id: str, session_id: str) -> Beaten:
        return await self._pass("pulse", lambda: self.store.pulse(runner_id, session_id))

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        return await self._pass("due", lambda: self.store.due(limit, hold=hold))

    @override
    async def mark(self, tick: timedelta) -> Mark:
        return await self._pass("mark", lambda: self.store.mark(tick))

    @override
    async def find_runner(self, runner_id: str) -> RunnerInfo:
        return await self._pass("find_runner", lambda: self.store.find_runner(runner_id))

    @override
    async def ended_session(
        self, runner_id: str, *, session_id: str | None = None, key: str | None = None
    ) -> EndedSession | None:
        return await self._pass(
            "ended_session",
            lambda: self.store.ended_session(runner_id, session_id=session_id, key=key),
        )

    @override
    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        return await self._pass("groups", lambda: self.store.groups(cursor=cursor, limit=limit))

    @override
    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        return await self._pass(
            "runners", lambda: self.store.runners(group_id, cursor=cursor, limit=limit)
        )

    @override
    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        return await self._pass(
            "events", lambda: self.store.events(group_id, after=after, limit=limit)
        )

    @override
    async def census(self) -> Census:
        return await self._pass("census", self.store.census)

    @override
    async def prune(self, limit: int = 1000) -> int:
        return await self._pass("prune", lambda: self.store.prune(limit))

    @override
    async def ready(self) -> None:
        await self._pass("ready", self.store.ready)

    @override
    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        return await self._pass(
            "enqueue",
            lambda: self.store.enqueue(
                group_id, spec, job_id=job_id, idempotency_key=idempotency_key
            ),
        )

    @override
    async def claim(
        self,
        runner_id: str,
        session_id: str,
        *,
        claim_id: str,
        epoch: int | None,
        limit: int,
        tokens: Sequence[str],
    ) -> Claimed:
        return await self._pass(
            "claim",
            lambda: self.store.claim(
                runner_id, session_id, claim_id=claim_id, epoch=epoch, limit=limit, tokens=tokens
            ),
        )

    @override
    async def settle(self, settles: Sequence[Settle]) -> list[Job | ElectionError]:
        return await self._pass("settle", lambda: self.store.settle(settles))

    @override
    async def cancel(self, job_id: str) -> Job:
        return await self._pass("cancel", lambda: self.store.cancel(job_id))

    @override
    async def job(self, job_id: str) -> Job:
        return await self._pass("job", lambda: self.store.job(job_id))

    @override
    async def jobs(
        self,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        return await self._pass(
            "jobs", lambda: self.store.jobs(group_id, state=state, cursor=cursor, limit=limit)
        )

    @override
    async def job_counts(self) -> dict[str, int]:
        return await self._pass("job_counts", self.store.job_counts)

    @override
    async def add_token(self, token: StoredToken, *, ttl: timedelta | None) -> Token:
        return await self._pass("add_token", lambda: self.store.add_token(token, ttl=ttl))

    @override
    async def find_token(self, digest: bytes) -> Token | None:
        return await self._pass("find_token", lambda: self.store.find_token(digest))

    @override
    async def tokens(self, *, cursor: str | None = None, limit: int = 100) -> Page[Token]:
        return await self._pass("tokens", lambda: self.store.tokens(cursor=cursor, limit=limit))

    @override
    async def revoke_token(self, token_id: str) -> None:
        await self._pass("revoke_token", lambda: self.store.revoke_token(token_id))
