"""What a runner does with its session: claim jobs, and run a handler for each."""

from __future__ import annotations

import secrets
from datetime import timedelta
from functools import partial

import anyio
from anyio.abc import TaskGroup
from attrs import define

from election_core import (
    ClaimedJob,
    ElectionError,
    JobOutcome,
    JobState,
    LeaseExpired,
    NotLeader,
    SessionEnded,
    SessionSuperseded,
    Settlement,
    StaleEpoch,
    SteppingDown,
)
from election_sdk._backoff import Backoff
from election_sdk._client import Client
from election_sdk._handling import Handler, handle
from election_sdk._log import log
from election_sdk._outbox import Outbox
from election_sdk._problems import again
from election_sdk._progress import Progress
from election_sdk._session import Session
from election_sdk._term import Term, Terms

__all__ = ["Work"]

_BUSY = 1.0
"""After that many seconds with all hands full, addressed jobs are asked for on their own."""
_RELEASED = Settlement(outcome=JobOutcome.RELEASED)
_CANCELLED = Settlement(outcome=JobOutcome.FAILED, error="cancelled", retry=False)


@define
class _Running:
    scope: anyio.CancelScope
    cancelled: bool = False
    """Whether somebody asked for the job's end."""


class Work:
    """Jobs of one session.

    A runner claims the group's jobs while it leads, and jobs addressed to itself always. A claim's
    key stays the same until a claim under it has answered jobs, so that what was claimed by a call
    whose answer was lost is found by the next.

    Args:
        client: Connections for jobs; it must not repeat calls by itself.
        session: The session.
        handler: Works on a job.
        concurrency: How many of the group's jobs at once.
        progress: Is told what handlers do.
        outbox: Takes what came of them.
    """

    def __init__(
        self,
        client: Client,
        session: Session,
        handler: Handler,
        *,
        concurrency: int,
        progress: Progress,
        outbox: Outbox,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency: at least 1")
        self._client = client
        self._session = session
        self._handler = handler
        self._concurrency = concurrency
        self._progress = progress
        self._outbox = outbox
        self._running: dict[str, _Running] = {}
        self._busy = 0
        self._busy_since = 0.0
        self._addressed = 0
        self._term: Term | None = None
        self._hands: TaskGroup | None = None
        self._draining = False
        self._claim_id = secrets.token_hex(16)
        self._claiming: tuple[anyio.CancelScope, int | None] | None = None
        self._abandoned = False

    def drain(self) -> None:
        """Take no new work; :meth:`run` returns when what is in hand is done."""
        self._draining = True
        self._session.news.tell()

    def cut(self) -> None:
        """Hand back what is in hand."""
        for running in self._running.values():
            running.scope.cancel()

    def abandon(self) -> None:
        """Wait no longer for answers; what is not settled then, the server takes back."""
        self._abandoned = True
        self._session.news.tell()

    async def run(self) -> None:
        """Work until drained.

        Raises:
            ElectionError: The session is over for good; everything has stopped.
        """
        session = self._session
        session.news.listen(self._on_news)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._lead)
                tasks.start_soon(self._claim, tasks)
                tasks.start_soon(self._watch_progress)
                await session.news.until(lambda: session.failure is not None or self._is_done())
                tasks.cancel_scope.cancel()
        finally:
            session.news.ignore(self._on_news)
        if session.failure is not None:
            raise session.failure

    def _is_done(self) -> bool:
        if self._abandoned:
            return True
        return self._draining and not self._busy and not self._addressed and self._term is None

    # ------------------------------------------------------------------ leading

    async def _lead(self) -> None:
        session = self._session
        try:
            async for term in Terms(session, finish=True, over=lambda: self._draining):
                async with term:
                    try:
                        async with anyio.create_task_group() as hands:
                            self._term, self._hands = term, hands
                            session.news.tell()
                            await session.news.until(partial(self._is_to_end, term))
                            self._hands = None
                    finally:
                        self._hands = None
                        await self._flush(term)
                        self._term = None
        except ElectionError as error:
            session.fail(error)

    def _is_to_end(self, term: Term) -> bool:
        return not self._busy and (self._draining or term.stepping_down)

    async def _flush(self, term: Term) -> None:
        """Tell what handlers came to before the epoch is given up, while it is trusted."""
        limit = 0.8 * term.trusted_for().total_seconds()
        with anyio.move_on_after(limit, shield=True):
            await self._outbox.flush()

    # ----------------------------------------------------------------- claiming

    def _mode(self) -> tuple[int | None, int] | None:
        """Under which epoch to claim, and how many jobs; ``None``: nothing now."""
        session = self._session
        if self._draining or session.failure is not None or session.session_id is None:
            return None
        term = self._term
        if term is not None and self._hands is not None and not term.stepping_down:
            free = self._concurrency - self._busy
            if free > 0 and term.trusted:
                return term.epoch, free
            if free <= 0 and anyio.current_time() < self._busy_since + _BUSY:
                return None
        return (None, 1) if self._addressed == 0 else None

    def _on_news(self) -> None:
        """Break off what no longer fits the standing, before anybody else can run."""
        session = self._session
        if self._claiming is not None:
            scope, epoch = self._claiming
            mode = self._mode()
            if mode is None or mode[0] != epoch:
                scope.cancel()
        standing = session.standing
        if standing is None:
            self.cut()
            return
        for job_id in standing.cancel:
            running = self._running.get(job_id)
            if running is not None and not running.cancelled:
                log.info("job %s is cancelled", job_id)
                running.cancelled = True
                running.scope.cancel()

    async def _claim(self, tasks: TaskGroup) -> None:
        session = self._session
        backoff = Backoff(timedelta(seconds=0.05), timedelta(seconds=5))
        while True:
            mode = self._mode()
            if mode is None:
                await session.news.wait(_BUSY)
                continue
            try:
                claimed = await self._claim_once(*mode)
            except (LeaseExpired, NotLeader, StaleEpoch, SteppingDown) as error:
                log.debug("claim refused: %s", error)
                session.kick()
                await session.news.wait(backoff.next().total_seconds())
            except (SessionSuperseded, SessionEnded) as error:
                session.refused(error)
                await session.news.wait(backoff.next().total_seconds())
            except ElectionError as error:
                if not again(error):
                    session.fail(error)
                    return
                log.debug("claim not answered: %s", error)
                await anyio.sleep(backoff.next().total_seconds())
            else:
                backoff.reset()
                for item in claimed:
                    self._begin(item, tasks)

    async def _claim_once(self, epoch: int | None, limit: int) -> tuple[ClaimedJob, ...]:
        """One claim; nothing when it was broken off because the standing changed."""
        session = self._session
        standing = session.standing
        assert standing is not None  # noqa: S101 - _mode saw to it
        claimed: tuple[ClaimedJob, ...] = ()
        started = anyio.current_time()
        with anyio.CancelScope() as scope:
            self._claiming = scope, epoch
            try:
                claimed = await self._client.claim(
                    session.runner_id,
                    standing.session_id,
                    claim_id=self._claim_id,
                    epoch=epoch,
                    limit=limit,
                    wait=standing.heartbeat,
                )
                early = standing.heartbeat.total_seconds() / 4 - (anyio.current_time() - started)
                if not claimed and early > 0:
                    # Something on the way does not let the server hold its answer.
                    await anyio.sleep(early)
            finally:
                self._claiming = None
        if claimed:
            self._claim_id = secrets.token_hex(16)
        return claimed if session.session_id == standing.session_id else ()

    def _begin(self, claimed: ClaimedJob, tasks: TaskGroup) -> None:
        job, term, hands = claimed.job, self._term, self._hands
        if job.state is not JobState.RUNNING:
            log.debug("job %s was claimed by a call whose answer came too late", job.id)
        elif job.runner_id is not None:
            self._addressed += 1
            self._session.acting += 1
            tasks.start_soon(self._work_on_addressed, claimed)
        elif hands is not None and term is not None and term.epoch == job.epoch and term.trusted:
            if self._draining or term.stepping_down:
                self._outbox.put(claimed, _RELEASED, self._session.session_id)
                return
            self._busy += 1
            if self._busy >= self._concurrency:
                self._busy_since = anyio.current_time()
            hands.start_soon(self._work_on_groups, claimed, term)
        else:
            self._outbox.put(claimed, _RELEASED, self._session.session_id)

    # ----------------------------------------------------------------- handling

    async def _work_on_addressed(self, claimed: ClaimedJob) -> None:
        try:
            await self._work_on(claimed, None)
        finally:
            self._addressed -= 1
            self._session.acting -= 1
            self._session.news.tell()

    async def _work_on_groups(self, claimed: ClaimedJob, term: Term) -> None:
        self._progress.began()
        self._session.news.tell()
        try:
            await self._work_on(claimed, term)
        finally:
            self._progress.ended()
            self._busy -= 1
            self._session.news.tell()

    async def _work_on(self, claimed: ClaimedJob, term: Term | None) -> None:
        job, session_id = claimed.job, self._session.session_id
        settlement = _RELEASED
        running = _Running(anyio.CancelScope())
        self._running[job.id] = running
        try:
            with running.scope:
                if term is None or term.trusted:
                    settlement = await handle(self._handler, job)
            interrupted = running.scope.cancel_called or (term is not None and term.cancelled)
            if interrupted and settlement.outcome is JobOutcome.FAILED:
                # What it came to says more of its interruption than of the job.
                settlement = _RELEASED
        finally:
            del self._running[job.id]
            if running.cancelled and settlement is _RELEASED:
                settlement = _CANCELLED
            letter = self._outbox.put(claimed, settlement, session_id)
        await letter.done.wait()

    # ----------------------------------------------------------------- progress

    async def _watch_progress(self) -> None:
        session, wedged = self._session, False
        while True:
            left = self._progress.left()
            if (left == 0.0) is not wedged:
                wedged = not wedged
                if wedged:
                    log.error("the handler makes no progress")
                session.object_to_leading("no progress", objects=wedged)
            await session.news.wait(left or None)
