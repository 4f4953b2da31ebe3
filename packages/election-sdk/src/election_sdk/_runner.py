"""A member of a fleet: it stands by, leads when it is its turn, and works on jobs."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup, TaskStatus
from typing_extensions import override

from election_core import ElectionError, Job, Standing
from election_sdk._client import Client
from election_sdk._clock import trust_clock
from election_sdk._handling import Handler
from election_sdk._identity import Description, Identity, identify, is_forgotten
from election_sdk._log import log
from election_sdk._outbox import Outbox
from election_sdk._progress import Progress
from election_sdk._renewals import Renewals
from election_sdk._session import Session
from election_sdk._state_file import StateFile
from election_sdk._term import Term, Terms
from election_sdk._work import Work

__all__ = ["Runner"]

_LEAVE_LIMIT = 5.0
_CUT_LIMIT = 5.0


class Runner:
    """A runner of a group, on asyncio and trio.

    Either give it a handler for jobs, with `run`, or enter it and iterate over its
    `terms`. While it is entered its session is kept alive. It stands by without a word; while
    the control plane is away it keeps trying, and a leader works on until its trust ends.

    After `SessionSuperseded` it stops and never reopens: another process acts for the same runner.
    Handlers that block the event loop stop the renewals too, and so end the lease.

    Children of the process that act for the runner must keep the lock of the state file, so that a
    restart takes over at once only when they are gone: start them with
    ``subprocess.Popen(…, pass_fds=runner.lock_fds)``.

    Args:
        url: Where the control API listens.
        token: The runner's own token, or an operator's, which also registers it.
        join_token: A token to register with; the runner's own comes with the answer.
        group: Its group.
        name: Its name in the group.
        runner_id: Who it is, if it was registered elsewhere; then `token` is its own.
        state_file: What it remembers across restarts: its id, token and session. A process that
            starts with the file of its predecessor takes over at once. One process at a time.
        labels: What policies may select by.
        platform: Where it runs.
        version: Of its program.
        taints: It starts with, in their JSON form.
        progress_timeout: When no job of the group ended and `progress` was not called for
            that long while a handler runs, the runner reports that it is not ready, so that another
            may lead.
        clean_up: How long before the end of trust handlers and blocks are cancelled; a tenth of the
            lease, at most ten seconds, unless chosen.
        timeout: How long one attempt of a call may take.
        on_refused: Called with a job whose outcome the server refused, and why.
        on_overrun: Called with a term whose block did not stop before its trust ended. Whoever must
            be sure ends the process here.
        clock: Seconds on a clock that counts suspend; of the system, unless given.

    Raises:
        ValueError: The URL or a token cannot be one.
    """

    def __init__(
        self,
        url: str,
        *,
        group: str,
        name: str,
        token: str | None = None,
        join_token: str | None = None,
        runner_id: str | None = None,
        state_file: str | os.PathLike[str] | None = None,
        labels: Mapping[str, str] | None = None,
        platform: str | None = None,
        version: str | None = None,
        taints: Sequence[Mapping[str, object]] = (),
        progress_timeout: timedelta | None = None,
        clean_up: timedelta | None = None,
        timeout: timedelta = timedelta(seconds=10),
        on_refused: Callable[[Job, ElectionError], None] | None = None,
        on_overrun: Callable[[Term], None] | None = None,
        clock: Callable[[], float] = trust_clock,
    ) -> None:
        # Renewals have connections of their own, so that no other traffic can starve them.
        self._control = Client(url, token=join_token or token, timeout=timeout, retries=0)
        self._jobs = Client(url, token=token, timeout=timeout, retries=0)
        self._description = Description(
            group=group,
            name=name,
            platform=platform,
            labels=labels,
            version=version,
            taints=taints,
        )
        self._runner_id = runner_id
        self._token = token
        self._join_token = join_token
        self._state = None if state_file is None else StateFile(state_file, group=group, name=name)
        self._progress_timeout = progress_timeout
        self._clean_up = clean_up
        self._clock = clock
        self._on_refused = on_refused
        self._on_overrun = on_overrun
        self._session: Session | None = None
        self._tasks: TaskGroup | None = None
        self._stack: AsyncExitStack | None = None
        self._progress: Progress | None = None
        self._work: Work | None = None
        self._refused: Counter[str] = Counter()
        self._stopping = False
        self._starting: anyio.CancelScope | None = None

    @override
    def __repr__(self) -> str:
        told = self._description
        return f"Runner({self._control.address!r}, group={told.group!r}, name={told.name!r})"

    @property
    def runner_id(self) -> str | None:
        """Its id, once it is known."""
        return self._runner_id if self._session is None else self._session.runner_id

    @property
    def standing(self) -> Standing | None:
        """The newest answer of the control plane; how long it may be trusted, a term tells."""
        return None if self._session is None else self._session.standing

    @property
    def refused(self) -> Mapping[str, int]:
        """How many outcomes of jobs were refused, by code."""
        return dict(self._refused)

    @property
    def lock_fds(self) -> tuple[int, ...]:
        """The descriptors that children are to keep, as ``pass_fds``; none without a state file."""
        return () if self._state is None or self._session is None else (self._state.lock_fd,)

    def progress(self) -> None:
        """Say that the work gets on; see `progress_timeout`."""
        if self._progress is not None and self._progress.made() and self._session is not None:
            self._session.news.tell()

    def set_ready(self, ready: bool) -> None:
        """Say whether the runner may lead."""
        self._opened().object_to_leading("not ready", objects=not ready)

    def stop(self) -> None:
        """Let `run` finish what is in hand and return, and `terms` end."""
        self._stopping = True
        if self._work is not None:
            self._work.drain()
        elif self._starting is not None:
            self._starting.cancel()
        if self._session is not None:
            self._session.news.tell()

    async def __aenter__(self) -> Self:
        if self._stack is not None:
            raise RuntimeError("the runner is entered already")
        async with AsyncExitStack() as stack:
            if self._state is not None:
                stack.enter_context(self._state)
            await stack.enter_async_context(self._control)
            await stack.enter_async_context(self._jobs)
            self._session = await self._open()
            stack.push_async_exit(self._left)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            self._tasks = tasks
            renewals = Renewals(self._session)
            for keeping in (renewals.keep, self._session.watch, self._session.releases):
                tasks.start_soon(keeping)
            stack.callback(tasks.cancel_scope.cancel)
            stack.push_async_exit(self._stopped)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> bool | None:
        stack, self._stack = self._stack, None
        assert stack is not None  # noqa: S101 - __aenter__ made it
        try:
            with _one_by_one():
                return await stack.__aexit__(exc_type, exc, tb)
        except BaseException as error:
            if error is not exc:
                raise
            return False

    async def _open(self) -> Session:
        """Find out who this is, and open a session."""
        identity = await self._identify()
        while True:
            session = Session(
                self._control,
                identity.runner_id,
                clock=self._clock,
                version=self._description.version,
                clean_up=self._clean_up,
                on_opened=partial(self._remember, identity.runner_id),
                on_overrun=self._on_overrun,
            )
            memory = None if self._state is None else self._state.memory
            same = memory is not None and memory.runner_id == identity.runner_id
            try:
                await session.open(memory.session_id if same and memory is not None else None)
            except ElectionError as error:
                registers = self._join_token or (self._token and self._runner_id is None)
                if identity.fresh or not registers or not is_forgotten(error):
                    raise
                log.info("the control plane does not know this runner any more: %s", error)
                identity = await self._identify(forget=True)
            else:
                return session

    async def _identify(self, *, forget: bool = False) -> Identity:
        identity = await identify(
            self._control,
            self._description,
            runner_id=self._runner_id,
            token=self._token,
            join_token=self._join_token,
            state=self._state,
            forget=forget,
        )
        self._control.use_token(identity.token)
        self._jobs.use_token(identity.token)
        return identity

    def _remember(self, runner_id: str, session_id: str) -> None:
        """Before anything acts under it: what a later process names must cover all that acted."""
        if self._state is not None:
            self._state.remember(session_id=session_id, runner_id=runner_id)

    async def _stopped(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Stop the terms, also in tasks that outlive the block: nobody watches over them then."""
        session = self._opened()
        session.news.tell()
        if session.term is not None:
            session.term.stop()
        with anyio.move_on_after(_CUT_LIMIT, shield=True):
            await session.news.until(lambda: session.acting == 0)

    async def _left(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Leave, so that nobody has to wait for the lease to run out."""
        session = self._opened()
        if session.acting:
            log.warning("something still acts under the session, so it is not left")
            if self._state is not None:
                self._state.keep_lock()
            return
        with anyio.move_on_after(_LEAVE_LIMIT, shield=True):
            await session.leave()

    def _opened(self) -> Session:
        if self._session is None:
            raise RuntimeError("the runner is not open: use `async with`, or run()")
        return self._session

    def terms(self, *, finish: bool = False) -> AsyncIterator[Term]:
        """One term for each time this runner becomes leader; enter each at once.

        Args:
            finish: When the runner is told to hand over, let the block go on until the deadline
                instead of cancelling it: it waits for `Term.step_down` and ends by itself.

        Raises:
            SessionSuperseded: Another process opened a session of the same runner. Stop.
            ElectionError: The session is over for another reason.
        """

        def over() -> bool:
            return self._stopping or self._stack is None

        return Terms(self._opened(), finish=finish, over=over)

    async def run(
        self,
        handler: Handler,
        *,
        concurrency: int = 1,
        handle_signals: bool = True,
        shutdown_limit: timedelta = timedelta(seconds=30),
    ) -> None:
        """Work on jobs until told to stop: the group's while leading, addressed ones always.

        A handler's value is the job's result; an exception fails the attempt. It is cancelled
        before trust ends, at the deadline of a handover, and when the job is cancelled; the job is
        handed back then, or cancelled.

        Args:
            handler: Works on a job.
            concurrency: How many of the group's jobs at once.
            handle_signals: Stop on SIGTERM and SIGINT, as `stop` does; a second one hands
                back what is in hand. Only in the main thread.
            shutdown_limit: How long what is in hand may take to finish once told to stop; then it
                is handed back.

        Raises:
            SessionSuperseded: Another process opened a session of the same runner. Stop.
            ElectionError: The server refuses, or the runner was deleted.
        """
        with _one_by_one():
            async with anyio.create_task_group() as tasks:
                if handle_signals and threading.current_thread() is threading.main_thread():
                    await tasks.start(self._on_signals)
                if self._stack is not None:
                    await self._run(handler, concurrency, shutdown_limit)
                else:
                    with anyio.CancelScope() as starting:
                        self._starting = starting
                        if self._stopping:
                            starting.cancel()
                        async with self:
                            self._starting = None
                            await self._run(handler, concurrency, shutdown_limit)
                tasks.cancel_scope.cancel()

    async def _run(self, handler: Handler, concurrency: int, shutdown_limit: timedelta) -> None:
        session = self._opened()
        if self._work is not None or self._tasks is None:
            raise RuntimeError("the runner is running already")
        progress = Progress(self._progress_timeout, anyio.current_time)
        outbox = Outbox(self._jobs, session, self._tasks, self._on_refused, self._refused)
        work = Work(
            self._jobs,
            session,
            handler,
            concurrency=concurrency,
            progress=progress,
            outbox=outbox,
        )
        self._work, self._progress = work, progress
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._shut_down, session, work, shutdown_limit)
                await work.run()
                tasks.cancel_scope.cancel()
        finally:
            self._work = self._progress = None

    async def _shut_down(self, session: Session, work: Work, limit: timedelta) -> None:
        await session.news.until(lambda: self._stopping)
        log.info("runner %s finishes what is in hand", session.runner_id)
        work.drain()
        await anyio.sleep(limit.total_seconds())
        log.warning("runner %s hands back what is still in hand", session.runner_id)
        work.cut()
        await anyio.sleep(_CUT_LIMIT)
        work.abandon()

    async def _on_signals(
        self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                log.info("%s: stopping", signal.Signals(number).name)
                if self._stopping and self._work is not None:
                    self._work.cut()
                self.stop()


@contextmanager
def _one_by_one() -> Iterator[None]:
    """Raise what is alone in a group of exceptions without the group."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if error is group:
            raise
        raise error from error.__cause__
