"""The engine's calls of a runner about its session."""

from __future__ import annotations

from datetime import timedelta

import anyio

from election_core._commands import Leave, OpenSession, Release
from election_core._errors import NotFound, SessionEnded
from election_core._names import named
from election_core._state import Snapshot
from election_core._states import SessionCall, SessionState, refuse
from election_core._views import Pulse, Standing, standing_of
from election_core.engine._base import EngineBase, new_id, session_id_of
from election_core.ports import Beat

__all__ = ["SessionCalls"]


class SessionCalls(EngineBase):
    """Sessions: opening, renewal, release, leaving."""

    async def open_session(
        self,
        runner_id: str,
        *,
        session_key: str,
        previous_session_id: str | None = None,
        version: str | None = None,
        ready: bool = True,
        session_id: str | None = None,
        actor: str = "",
    ) -> Standing:
        """Open a session; it supersedes the runner's current one. The same key again: the same one.

        Args:
            runner_id: Whose.
            session_key: The caller's key of this process lifetime.
            previous_session_id: Asserts that everything that acted under it is gone. Ignored unless
                it is the current one.
            version: Of the runner's program.
            ready: Whether it may lead.
            session_id: The session's id if this call opens it, fresh; one is made without it.
            actor: Who asks.

        Returns:
            The runner's standing in the session of that key.

        Raises:
            NotFound: There is no such runner.
            SessionSuperseded: The session of that key was superseded.
            SessionEnded: It left.
        """
        named(session_key, "session_key")
        group_id = await self._group_of(runner_id)

        async def check(snapshot: Snapshot) -> None:
            runner = snapshot.runner(runner_id)
            session = None if runner is None else runner.session
            if session is None or session.key != session_key:
                ended = await self.store.ended_session(runner_id, key=session_key)
                if ended is not None:
                    refuse(SessionState(ended.how.value), SessionCall.OPEN)

        command = OpenSession(
            runner_id=runner_id,
            session_id=session_id or new_id("session"),
            session_key=session_key,
            previous_session_id=previous_session_id,
            version=version,
            ready=ready,
        )
        planned = await self._commits.carry_out(group_id, command, actor=actor, check=check)
        current = session_id_of(planned.after, runner_id) or ""
        return await self._standing(runner_id, current, SessionCall.OPEN)

    async def beat(
        self,
        runner_id: str,
        session_id: str,
        *,
        seq: int | None = None,
        ready: bool | None = None,
        seen: int | None = None,
        wait: timedelta = timedelta(),
    ) -> Standing:
        """Renew a session; the answer may wait for news, the renewal never does.

        Args:
            runner_id: Whose.
            session_id: Which.
            seq: A lower one than the session's last renews nothing.
            ready: Whether it may lead; `None` leaves that as it is.
            seen: The `standing_version` the caller knows; waiting ends with anything newer.
            wait: How long the answer may be held, at most the heartbeat.

        Raises:
            Invalid: An id holds what no text may, or `seq` is beyond 2^53.
            NotFound: There is no such runner.
            SessionSuperseded, SessionEnded: The session is over.
            Unavailable: The store does not answer.
        """
        beat = Beat(runner_id=runner_id, session_id=session_id, seq=seq, ready=ready)
        call = SessionCall.RENEW
        if not wait:
            return standing_of(await self._current(await self._beats.beat(beat), runner_id, call))
        with self._wakeups.listen(("runner", runner_id)) as news:
            written = await self._current(await self._beats.beat(beat), runner_id, call)
            known = written.standing_version if seen is None else seen
            until = anyio.current_time() + min(wait, written.heartbeat).total_seconds()
            pulse: Pulse = written
            while pulse.standing_version <= known and not self._wakeups.stopped:
                left = timedelta(seconds=until - anyio.current_time())
                if left <= timedelta() or not await news.wait(left):
                    break
                told = news.told
                if told is not None and _follows(told, pulse):
                    pulse = told
                    continue
                fresh = await self.store.pulse(runner_id, session_id)
                pulse = await self._current(fresh, runner_id, call)
            return standing_of(pulse, written=written)

    async def release(
        self, runner_id: str, session_id: str, epoch: int, *, reason: str = "", actor: str = ""
    ) -> Standing:
        """Give an epoch up; without effect for one that the session does not hold.

        Raises:
            NotFound: There is no such runner.
            SessionSuperseded, SessionEnded: The session is over.
        """
        command = Release(runner_id=runner_id, session_id=session_id, epoch=epoch, reason=reason)
        try:
            await self._on_runner(runner_id, command, actor)
        except (NotFound, SessionEnded):
            await self._refused(runner_id, session_id, SessionCall.RELEASE)
            raise
        return await self._standing(runner_id, session_id, SessionCall.RELEASE)

    async def leave(self, runner_id: str, session_id: str, *, actor: str = "") -> None:
        """End a session, giving leadership up first. Repeating it is harmless.

        Raises:
            NotFound: There is no such runner.
            SessionSuperseded: A later session was opened.
        """
        command = Leave(runner_id=runner_id, session_id=session_id)
        try:
            await self._on_runner(runner_id, command, actor)
        except (NotFound, SessionEnded):
            if not await self._refused(runner_id, session_id, SessionCall.LEAVE):
                raise

    async def _refused(self, runner_id: str, session_id: str, call: SessionCall) -> bool:
        """Raise how a session ended, or return whether it ended so that the call is harmless."""
        ended = await self.store.ended_session(runner_id, session_id=session_id)
        if ended is None:
            return False
        refuse(SessionState(ended.how.value), call)
        return True

    async def _standing(self, runner_id: str, session_id: str, call: SessionCall) -> Standing:
        answer = await self.store.pulse(runner_id, session_id)
        return standing_of(await self._current(answer, runner_id, call))


def _follows(told: Pulse, pulse: Pulse) -> bool:
    """Whether what a commit told is what changed of a standing since its pulse was read.

    It knows neither of cancelled jobs nor of renewals since the commit was planned. A job that is
    cancelled meanwhile raises the version once more, so the next answer comes at once.
    """
    return (
        told.session_id == pulse.session_id
        and told.standing_version == pulse.standing_version + 1
        and told.lease_expires_at >= pulse.lease_expires_at
        and not pulse.cancel
    )
