"""The calls about jobs."""

from __future__ import annotations

import secrets
from datetime import timedelta

from attrs import frozen

from election_core import ClaimedJob, Job, Page
from election_sdk._calls import Calls, given, wait_header
from election_sdk._http import Call, path

__all__ = ["JobCalls"]


@frozen
class _Claims:
    items: tuple[ClaimedJob, ...]


class JobCalls(Calls):
    """Jobs: what operators ask for, and how runners take and settle them."""

    async def enqueue(
        self,
        group_id: str,
        kind: str,
        payload: object = None,
        *,
        priority: int = 0,
        max_attempts: int | None = None,
        runner_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Add a job to a group's queue.

        Args:
            group_id: The group.
            kind: What is to be done.
            payload: With what; a JSON value of at most 64 KiB, at most 32 deep.
            priority: Higher first.
            max_attempts: 3, or 1 for an addressed job, unless chosen.
            runner_id: Addresses the job to one runner, whoever leads.
            idempotency_key: The same key again is the same job. One is generated if there is
                none, so that a repeated attempt enqueues no second job.

        Raises:
            ConflictError: The key was used for another job.
            Invalid, PayloadTooLarge: The payload cannot be kept.
        """
        body = {
            "kind": kind,
            "payload": payload,
            "priority": priority,
            **given(max_attempts=max_attempts, runner_id=runner_id),
        }
        call = Call(
            method="POST",
            path=path("runner-groups", group_id, "jobs"),
            body=body,
            headers={"Idempotency-Key": idempotency_key or secrets.token_hex(16)},
        )
        return await self._ask(call, Job)

    async def jobs(
        self,
        group_id: str,
        *,
        state: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        """The jobs of a group in order of enqueueing, of one state or of all."""
        where = path("runner-groups", group_id, "jobs")
        return await self._page(where, Page[Job], state=state, cursor=cursor, limit=limit)

    async def job(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFound: There is none of that id.
        """
        return await self._ask(Call(method="GET", path=path("jobs", job_id)), Job)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job: at once if it is queued; its runner is asked if it is running."""
        call = Call(method="POST", path=path("jobs", job_id, "cancel"), body={})
        return await self._ask(call, Job)

    async def claim(
        self,
        runner_id: str,
        session_id: str,
        *,
        claim_id: str,
        epoch: int | None = None,
        limit: int = 1,
        wait: timedelta | None = None,
    ) -> tuple[ClaimedJob, ...]:
        """Take jobs to work on.

        Args:
            runner_id: The runner.
            session_id: Its session.
            claim_id: Chosen by the caller; the same one again answers the same jobs again.
            epoch: Under which it leads. Without one, only jobs addressed to the runner are taken.
            limit: How many at most.
            wait: How long the server may hold the answer while there is none.

        Raises:
            StaleEpoch, NotLeader, LeaseExpired, SteppingDown: It does not lead under that epoch.
            SessionSuperseded, SessionEnded: The session is over.
        """
        call = Call(
            method="POST",
            path=path("runners", runner_id, "jobs", "claim"),
            body=given(session_id=session_id, claim_id=claim_id, epoch=epoch, limit=limit),
            headers=wait_header(wait),
            hold=wait or timedelta(),
        )
        return (await self._ask(call, _Claims)).items

    async def settle(
        self,
        job_id: str,
        claim_token: str,
        outcome: str,
        *,
        result: object = None,
        error: str | None = None,
        retry: bool = True,
    ) -> Job:
        """Say how an attempt ended.

        Args:
            job_id: The job.
            claim_token: By which it was claimed.
            outcome: ``succeeded``, ``failed`` or ``released`` (handed back, not counted).
            result: A JSON value of at most 64 KiB, at most 32 deep.
            error: What went wrong.
            retry: Whether a failed attempt may be repeated while attempts remain.

        Raises:
            StaleClaim: The claim is over; nothing was changed.
            LeaseExpired: The lease is over and nothing was decided yet: renew, then try again.
        """
        body = {
            "claim_token": claim_token,
            "outcome": str(outcome),
            "retry": retry,
            **given(result=result, error=error),
        }
        call = Call(method="POST", path=path("jobs", job_id, "settle"), body=body)
        return await self._ask(call, Job)
