"""One time of leading: a scope that ends before the runner may no longer lead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

import anyio
from typing_extensions import override

from election_sdk._belief import Belief
from election_sdk._log import log
from election_sdk._session import Session

__all__ = ["Term", "Terms"]


class Term:
    """One grant of leadership, as an asynchronous context manager.

    Its block is cancelled, and waited for, before the trust window ends and before leadership is
    given up. Leaving the block gives leadership up, unless the block was cancelled because the
    control plane was away: should the session still hold the epoch when it is back, the term is
    handed out once more, under the same epoch.

    A block that does not stop when it is cancelled is not stopped by anything in this process. It
    is reported when trust ends, and the runner says from then on that it is not ready to lead.
    Nothing is released, so nobody else is elected before the lease runs out, and the epoch fences
    what the block still writes.
    """

    def __init__(self, session: Session, epoch: int, *, finish: bool) -> None:
        self.epoch = epoch
        """The fencing token for everything that is written in the block."""
        belief = session.belief
        assert belief is not None  # noqa: S101 - only who leads gets a term
        self._session = session
        self._session_id = session.session_id
        self._finish = finish
        self._scope = anyio.CancelScope()
        self._window = belief.window
        self._entered = False
        self._exited = False
        self._overrun = False
        self._reason = ""
        self._released = False
        session.term = self

    @override
    def __repr__(self) -> str:
        return f"Term(epoch={self.epoch}, trusted_for={self.trusted_for()})"

    @property
    def stepping_down(self) -> bool:
        """Whether the runner was told to hand over: finish, and leave the block."""
        belief = self._belief()
        return belief is not None and belief.stepping_down

    async def step_down(self) -> None:
        """Wait until the runner is told to hand over."""
        await self._session.news.until(lambda: self.stepping_down or self._belief() is None)

    def trusted_for(self) -> timedelta:
        """For how long from now the runner may act as leader, clean-up included."""
        return max(timedelta(), timedelta(seconds=self._window.ends_at - self._session.clock()))

    @property
    def trusted(self) -> bool:
        """Whether something may begin under this term now, by a look at the clock."""
        self.look()
        return not self._scope.cancel_called and not self._exited

    @property
    def cancelled(self) -> bool:
        """Whether the block was told to stop."""
        return self._scope.cancel_called

    async def release(self, reason: str = "") -> None:
        """Give leadership up: the block is cancelled and waited for, then the epoch is released.

        Within the block it does not return. Elsewhere it returns once that has come about.
        """
        self._reason, self._released = reason, True
        self._scope.cancel()
        await self._session.news.until(lambda: self._exited and self._session.epoch != self.epoch)

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a term is entered once")
        self._entered = True
        self._session.acting += 1
        self._scope.__enter__()
        self.look()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> bool | None:
        swallowed = self._scope.__exit__(exc_type, exc, tb)
        self._end()
        if self._is_to_be_released():
            # Also when the whole block is being cancelled: who waits for the lease to run out
            # waits in vain. The time is bounded, and a release that is not answered is repeated.
            limit = max(0.5, self._window.ends_at - self._session.clock())
            with anyio.move_on_after(min(limit, 5.0), shield=exc is not None):
                await self._session.give_up(self.epoch, self._reason)
        return swallowed

    def stop(self) -> None:
        """Cancel the block, if it is not over."""
        self._scope.cancel()

    def _end(self) -> None:
        session = self._session
        self._exited = True
        if self._entered:
            session.acting -= 1
        if session.term is self:
            session.term = None
        if self._overrun:
            session.object_to_leading("overrun", objects=False)
            log.critical("what acted under epoch %s has stopped, too late", self.epoch)
        session.news.tell()

    def _is_to_be_released(self) -> bool:
        belief = self._belief()
        if belief is None:
            return False
        return self._released or belief.stepping_down or not self._scope.cancel_called

    async def decline(self) -> None:
        """Give leadership up without having entered the block."""
        self._end()
        if self._belief() is not None:
            await self._session.give_up(self.epoch, "declined")

    def look(self) -> None:
        """Cancel the block when it is time, and report one that did not stop."""
        if self._exited:
            return
        now = self._session.clock()
        belief = self._belief()
        if belief is not None:
            self._window = belief.window
        if not self._scope.cancel_called and self._is_over(now):
            log.info("stops acting under epoch %s", self.epoch)
            self._scope.cancel()
        if self._entered and now >= self._window.ends_at and not self._overrun:
            self._overrun = True
            log.critical(
                "what acts under epoch %s did not stop before its trust ended; another runner may "
                "lead now",
                self.epoch,
            )
            self._session.overran(self)

    def _is_over(self, now: float) -> bool:
        belief = self._belief()
        if belief is None or now >= self._window.stop_at:
            return True
        if not belief.stepping_down:
            return False
        deadline = belief.step_down_at
        return not self._finish or deadline is None or now >= deadline

    def look_again_in(self) -> float | None:
        """Seconds until something happens to this term by time alone."""
        now = self._session.clock()
        belief = self._belief()
        times = [self._window.stop_at, self._window.ends_at]
        if belief is not None and belief.step_down_at is not None:
            times.append(belief.step_down_at)
        return min((at - now for at in times if at > now), default=None)

    def _belief(self) -> Belief | None:
        session = self._session
        if session.session_id == self._session_id and session.epoch == self.epoch:
            return session.belief
        return None


class Terms(AsyncIterator[Term]):
    """The terms of a session, one at a time.

    Args:
        session: The session.
        finish: Let a block go on when the runner was told to hand over, until the deadline.
        over: Whether there are to be no more.
    """

    def __init__(self, session: Session, *, finish: bool, over: Callable[[], bool]) -> None:
        self._session = session
        self._finish = finish
        self._over = over
        self._latest: Term | None = None

    @override
    async def __anext__(self) -> Term:
        session = self._session
        if self._latest is not None and self._latest is session.term:
            await self._latest.decline()
        while True:
            if session.failure is not None:
                raise session.failure
            if self._over():
                raise StopAsyncIteration
            epoch = session.leads()
            if epoch is not None:
                if session.term is not None:
                    raise RuntimeError("the terms of a runner are handed out to one iteration")
                self._latest = Term(session, epoch, finish=self._finish)
                return self._latest
            await session.news.wait()
