"""A process that writes to a store as fast as it can and tells what was acknowledged.

It prints one JSON array a line: `["epoch", N]` for a grant, `["settled", id]` for a settled job. It
is meant to be killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from itertools import count
from pathlib import Path

from election_core import (
    JobOutcome,
    NotFound,
    OpenSession,
    RegisterRunner,
    Release,
    Settlement,
)
from election_sqlite import SqliteStore
from sqlite_fleet import Fleet, settle


def tell(*words: object) -> None:
    """Print what was acknowledged, at once."""
    print(json.dumps(words), flush=True)  # noqa: T201 - it is what this process is for


async def write(path: Path, run: str) -> None:
    """Elect, beat, mark, enqueue, claim and settle until killed."""
    async with SqliteStore.open(path) as store:
        fleet = Fleet(store)
        try:
            await store.load("g")
        except NotFound:
            await fleet.create()
            await fleet.do(RegisterRunner(runner_id="a", name="a"))
        for number in count():
            session_id = await reopen(fleet, f"{run}-{number}")
            epoch = await fleet.epoch()
            tell("epoch", epoch)
            job_id = f"job-{run}-{number}"
            await fleet.enqueue(job_id)
            claimed = await store.claim(
                "a", session_id, claim_id=job_id, epoch=epoch, limit=10,
                tokens=[f"{job_id}-{place}" for place in range(10)],
            )  # fmt: skip
            for item in claimed.items:
                await settle(
                    store, item.job.id, item.claim_token, Settlement(outcome=JobOutcome.SUCCEEDED)
                )
                tell("settled", item.job.id)
            await store.mark(timedelta(seconds=1))
            await fleet.do(Release(runner_id="a", session_id=session_id, epoch=epoch))
            tell("epoch", await fleet.epoch())


async def reopen(fleet: Fleet, name: str) -> str:
    """Open a session that asserts that the one before is gone, and so leads at once."""
    runner = (await fleet.store.load("g")).runner("a")
    assert runner is not None
    session_id = f"session-{name}"
    await fleet.do(
        OpenSession(
            runner_id="a",
            session_id=session_id,
            session_key=session_id,
            previous_session_id=None if runner.session is None else runner.session.id,
        )
    )
    return session_id


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2]))
