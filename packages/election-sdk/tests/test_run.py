"""A runner with a handler."""

from __future__ import annotations

from datetime import timedelta

import anyio
from sdk_plane import DEADLINE, Plane, until

from election_core import Job, JobState
from election_sdk import JobFailed


async def test_jobs_of_the_group_are_worked_on(plane: Plane) -> None:
    """A runner alone in its group leads, and works on each job once under its epoch."""
    seen: list[Job] = []

    async def handler(job: Job) -> object:
        seen.append(job)
        return {"doubled": job.payload * 2}  # type: ignore[operator]

    async with plane.group() as (group, client):
        runner = plane.runner(group)
        jobs = [await client.enqueue(group, "double", n) for n in range(5)]
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runner.run, handler)
                await until(lambda: len(seen) == 5)
                last = await client.enqueue(group, "double", 21)
                await until(lambda: len(seen) == 6)
                runner.stop()
        done = [await client.job(job.id) for job in (*jobs, last)]
        assert [job.state for job in done] == [JobState.SUCCEEDED] * 6
        assert done[-1].result == {"doubled": 42}
        assert {job.epoch for job in seen} == {1}
        assert (await client.runner(runner.runner_id or "")).status == "offline"
