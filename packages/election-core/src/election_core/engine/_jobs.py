"""The engine's calls about jobs."""

from __future__ import annotations

import secrets
from datetime import timedelta

import anyio

from election_core._errors import ElectionError, Invalid
from election_core._jobs import Claimed, Job, JobOutcome, JobSpec, JobState, Settlement
from election_core._names import legible, named
from election_core._views import Page, Pulse
from election_core.engine._base import EngineBase, new_id
from election_core.ports import Enqueued, Settle

__all__ = ["JobCalls"]

_MOST_CLAIMED = 500


def _fresh_tokens(count: int) -> list[str]:
    """So many secrets of 192 random bits, drawn at once."""
    drawn = secrets.token_urlsafe(24 * count)
    return [drawn[start : start + 32] for start in range(0, len(drawn), 32)]


class JobCalls(EngineBase):
    """The queue of a group."""

    async def enqueue(
        self, group_id: str, spec: JobSpec, *, idempotency_key: str | None = None
    ) -> Enqueued:
        """Add a job. The same key with the same job again answers the first one.

        Raises:
            NotFound: There is no such group, or the addressed runner is not in it.
            ConflictError: The key was used for another job of the group.
            Invalid, PayloadTooLarge: The job cannot be kept.
        """
        named(spec.kind, "kind")
        if idempotency_key is not None:
            named(idempotency_key, "Idempotency-Key")
        enqueued = await self._jobs.enqueue(
            group_id, spec, job_id=new_id("job"), idempotency_key=idempotency_key
        )
        if enqueued.created:
            self._news.tell([("jobs", group_id)])
        return enqueued

    async def claim(
        self,
        runner_id: str,
        session_id: str,
        *,
        claim_id: str,
        epoch: int | None = None,
        limit: int = 1,
        wait: timedelta = timedelta(),
    ) -> Claimed:
        """Claim jobs; the answer may wait until there are any.

        Args:
            runner_id: Who claims.
            session_id: Its session.
            claim_id: The caller's key of this claim: repeated, it is answered the same again.
            epoch: The epoch it leads under; without it only jobs addressed to the runner.
            limit: How many at most, 1 to 500.
            wait: How long the answer may be held, at most the heartbeat.

        Raises:
            NotFound: There is no such runner.
            SessionSuperseded, SessionEnded, StaleEpoch, NotLeader, LeaseExpired, SteppingDown: In
                this order.
        """
        named(claim_id, "claim_id")
        if not 1 <= limit <= _MOST_CLAIMED:
            raise Invalid(f"limit: 1 to {_MOST_CLAIMED} is wanted", field="limit")

        async def attempt() -> Claimed:
            return await self._jobs.claim(
                runner_id,
                session_id,
                claim_id=claim_id,
                epoch=epoch,
                limit=limit,
                tokens=_fresh_tokens(limit),
            )

        claimed = await attempt()
        if claimed.items or not wait:
            return claimed
        pulse = await self.store.pulse(runner_id, session_id)
        if not isinstance(pulse, Pulse):
            return await attempt()  # it ended this moment; the claim says how
        until = anyio.current_time() + min(wait, pulse.heartbeat).total_seconds()
        with self._wakeups.listen(("jobs", pulse.group_id), ("runner", runner_id)) as news:
            while True:
                claimed = await attempt()
                left = timedelta(seconds=until - anyio.current_time())
                if claimed.items or left <= timedelta() or self._wakeups.stopped:
                    return claimed
                if claimed.next_at is not None and claimed.at is not None:
                    left = min(left, claimed.next_at - claimed.at)
                await news.wait(left)

    async def settle(self, job_id: str, token: str, settlement: Settlement) -> Job:
        """Settle a claim. Repeating it with the same outcome is harmless.

        Raises:
            NotFound: There is no such job.
            StaleClaim: The claim is over; nothing changed.
            LeaseExpired: Its lease is over; renew, then try again.
            Invalid, PayloadTooLarge: The result or the error cannot be kept.
        """
        # One that the store cannot read would take those along that are settled with it.
        legible(job_id, "job_id")
        legible(token, "claim_token")
        legible(settlement.error or "", "error")
        settle = Settle(job_id=job_id, token=token, settlement=settlement)
        job = await self._settles.ask(self._settling, settle)
        if isinstance(job, ElectionError):
            raise job
        if settlement.outcome is not JobOutcome.SUCCEEDED and not job.state.finished:
            self._news.tell([("jobs", job.group_id)])
        return job

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job: at once if it is queued; a running one's holder is asked to stop.

        Raises:
            NotFound: There is no such job.
        """
        job = await self._jobs.cancel(job_id)
        if job.state is JobState.RUNNING and job.claimed_by is not None:
            self._news.tell([("runner", job.claimed_by)])
        return job

    async def job(self, job_id: str) -> Job:
        """A job.

        Raises:
            NotFound: There is none of that id.
        """
        return await self._jobs.job(job_id)

    async def jobs(
        self,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        """The jobs of a group in order of enqueueing, of one state or of all.

        Raises:
            NotFound: There is no such group.
            Invalid: The cursor is malformed.
        """
        return await self._jobs.jobs(group_id, state=state, cursor=cursor, limit=limit)
