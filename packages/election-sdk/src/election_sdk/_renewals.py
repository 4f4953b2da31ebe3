"""Renewals of a session, one after the other, so that it is neither lost nor late with news."""

from __future__ import annotations

from datetime import timedelta

import anyio

from election_core import ElectionError, OutcomeUnknown, Role, SessionEnded, Standing
from election_sdk._backoff import Backoff
from election_sdk._belief import Belief
from election_sdk._log import log
from election_sdk._patience import asked_wait
from election_sdk._problems import again
from election_sdk._session import Session

__all__ = ["Renewals"]

_FIRST_WAIT = timedelta(seconds=0.05)
_LONGEST_WAIT = timedelta(seconds=5)
_LONGEST_HOLD = timedelta(minutes=5)
_SHARE = 0.98
"""What of the heartbeat a renewal may be held; the way to and fro takes the rest."""
_LEAST_LIMIT = timedelta(seconds=0.2)
_LONGEST_LIMIT = timedelta(seconds=10)


class Renewals:
    """Keeps a session alive.

    A call that waits for news is the rule, so that a change of role comes in a round trip; its
    renewal counts from its start. When it does not come back in time the next ones ask for an
    answer at once, over fresh connections.

    Args:
        session: The session, opened.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seq = 0
        self._resting: anyio.CancelScope | None = None
        """What a kick may break off: a call that waits for news, or a wait before the next."""
        self._kicked = False
        session.kicks.listen(self._kick)

    def _kick(self) -> None:
        # A call that asks for an answer at once is left alone, or kicks that come faster than
        # answers would let none through.
        self._kicked = True
        if self._resting is not None:
            self._resting.cancel()

    async def keep(self) -> None:
        """Renew for as long as the session lasts, and reopen it when it ended unexpectedly."""
        session = self._session
        backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        waiting = True
        while session.failure is None:
            try:
                answered = await self._renew(waiting=waiting, failures=backoff.failures)
            except SessionEnded as error:
                await session.reopen(error)
            except ElectionError as error:
                if not again(error):
                    session.fail(error)
                    return
                if isinstance(error, OutcomeUnknown):
                    await session.client.reconnect()
                await self._missed(error, backoff)
                waiting = False
            else:
                if answered and backoff.failures:
                    log.info("the control plane answers again")
                    backoff.reset()
                waiting = answered and not self._kicked

    async def _renew(self, *, waiting: bool, failures: int) -> bool:
        """One renewal; whether it was answered rather than broken off by a kick."""
        session, belief = self._session, self._session.belief
        assert belief is not None  # noqa: S101 - only an open session is kept
        self._kicked = False
        self._seq += 1
        standing = belief.standing
        hold, limit = self._pace(belief, waiting=waiting, failures=failures)
        started = session.clock()
        answer: Standing | None = None
        with anyio.CancelScope() as scope:
            self._resting = scope if waiting else None
            with anyio.move_on_after(limit.total_seconds()) as deadline:
                answer = await session.client.heartbeat(
                    session.runner_id,
                    standing.session_id,
                    seq=self._seq,
                    ready=session.ready,
                    seen=standing.standing_version,
                    wait=hold,
                )
                session.apply(answer, started)
                unchanged = answer.standing_version == standing.standing_version
                early = hold.total_seconds() - (session.clock() - started)
                if unchanged and early > 0.01:
                    # Something on the way does not let the server hold its answer.
                    deadline.deadline = float("inf")
                    await anyio.sleep(early)
        self._resting = None
        if answer is None and not scope.cancel_called:
            raise OutcomeUnknown(f"no answer within {limit.total_seconds():.3g} s")
        return answer is not None

    def _pace(self, belief: Belief, *, waiting: bool, failures: int) -> tuple[timedelta, timedelta]:
        """How long the server may hold the next renewal, and when to stop waiting for it.

        Hardly less than the heartbeat: what renews more often than was asked for is a load on the
        server and makes a crash last longer. And never so long that a call which hangs uses up the
        time that its repetition needs.
        """
        standing = belief.standing
        beat = standing.heartbeat
        slack = min(max(beat / 4, timedelta(seconds=0.5)), timedelta(seconds=5))
        slack = min(slack * 2.0 ** min(failures, 5), _LONGEST_LIMIT)
        hold = min(beat * _SHARE, _LONGEST_HOLD) if waiting else timedelta()
        if standing.role is not Role.LEADER:
            return hold, hold + max(slack, timedelta(seconds=2))
        hold = min(hold, standing.lease_remaining * 0.4)
        left = belief.window.stop_at - self._session.clock()
        if left <= 0:
            return hold, hold + slack
        return hold, min(hold + slack, max(timedelta(seconds=0.75 * left), _LEAST_LIMIT))

    async def _missed(self, error: ElectionError, backoff: Backoff) -> None:
        """Wait before the next attempt, but not for what is left of the trust window."""
        if not backoff.failures:
            log.warning("a renewal failed, trying on: %s", error)
        belief = self._session.belief
        wait = backoff.next(at_least=asked_wait(error))
        if belief is not None and belief.epoch is not None:
            left = belief.window.stop_at - self._session.clock()
            if left > 0:
                wait = min(wait, timedelta(seconds=left / 4))
        with anyio.CancelScope() as scope:
            self._resting = scope
            await anyio.sleep(wait.total_seconds())
        self._resting = None
