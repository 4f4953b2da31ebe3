"""Queues of jobs to measure beside each other: what they have in common."""

from __future__ import annotations

import asyncio
import secrets
import time
from abc import ABC, abstractmethod

from stores import Member
from typing_extensions import override

from election_core import Job, JobOutcome, Settlement
from election_core.ports import JobStore, Settle

__all__ = ["PAYLOAD", "FencedQueue", "Queue", "fresh_tokens"]

PAYLOAD = {"image": "registry.example/team/service:1.4.2", "command": ["make", "check"], "n": 12345}
"""Of every job, on every side."""
_DONE = Settlement(outcome=JobOutcome.SUCCEEDED)


class Queue(ABC):
    """A queue that is filled, and worked on by several at once."""

    @abstractmethod
    async def refill(self, jobs: int) -> None:
        """Have that many jobs waiting, and no others."""

    @abstractmethod
    async def work(self, worker: int, most: int) -> int:
        """Claim and settle up to so many jobs as one of the workers; how many there were."""

    async def rate(self, *, jobs: int, workers: int, batch: int) -> float:
        """Have so many of the waiting jobs done; how many that is in a second."""
        left = jobs

        async def work(worker: int) -> None:
            nonlocal left
            while left > 0:
                left -= batch
                done = await self.work(worker, batch)
                left += batch - done

        start = time.perf_counter()
        await asyncio.gather(*(work(worker) for worker in range(workers)))
        return jobs / (time.perf_counter() - start)


class FencedQueue(Queue):
    """A store's queue with every check, worked on by the leader of a group.

    Args:
        store: The store.
        leader: Who claims.
        handled: Whether each job is handled by a task of its own, which does nothing.
    """

    def __init__(self, store: JobStore, leader: Member, *, handled: bool = False) -> None:
        self._store = store
        self._leader = leader
        self._handled = handled

    @override
    async def work(self, worker: int, most: int) -> int:
        claimed = await self._store.claim(
            self._leader.runner_id,
            self._leader.session_id,
            claim_id=secrets.token_hex(10),
            epoch=self._leader.epoch,
            limit=most,
            tokens=fresh_tokens(most),
        )
        if self._handled:
            await asyncio.gather(*(_handle(item.job) for item in claimed.items))
        settles = [
            Settle(job_id=item.job.id, token=item.claim_token, settlement=_DONE)
            for item in claimed.items
        ]
        if settles:
            answers = await self._store.settle(settles)
            assert all(isinstance(answer, Job) for answer in answers)
        return len(settles)


async def _handle(job: Job) -> None:
    assert job.payload == PAYLOAD


def fresh_tokens(count: int) -> list[str]:
    """So many secrets for the jobs of a claim."""
    drawn = secrets.token_urlsafe(24 * count)
    return [drawn[start : start + 32] for start in range(0, len(drawn), 32)]
