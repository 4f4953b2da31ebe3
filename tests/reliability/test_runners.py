"""Runners that are left, forgotten or frozen at the worst moment."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest

from election_core import Job, JobState, Role, SessionSuperseded
from election_sdk import Runner, StateFileLocked
from election_sdk._state_file import StateFile
from sdk_plane import DEADLINE, Plane, Proxy, until, until_role, until_told


async def test_leaving_a_runner_stops_its_terms_in_other_tasks(plane: Plane) -> None:
    """A block in a task that outlives the runner's has stopped before leadership is given up."""
    stopped: list[Role | None] = []

    async def lead(runner: Runner) -> None:
        async for term in runner.terms():
            async with term:
                try:
                    await anyio.sleep_forever()
                finally:
                    stopped.append(None if runner.standing is None else runner.standing.role)

    with anyio.fail_after(DEADLINE):
        async with plane.group() as (group, client), anyio.create_task_group() as tasks:
            async with plane.runner(group) as runner:
                tasks.start_soon(lead, runner)
                await until_role(runner, Role.LEADER)
                await until(lambda: runner._session is not None and runner._session.acting)
            assert stopped == [Role.LEADER]
            assert (await client.runner(runner.runner_id or "")).session_id is None


async def test_a_block_that_goes_on_keeps_the_state_file(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While something still acts, nobody can say that everything of its session is gone."""
    monkeypatch.setattr("election_sdk._runner._CUT_LIMIT", 0.1)
    state = tmp_path / "runner.json"
    release = anyio.Event()

    async def lead(runner: Runner) -> None:
        async for term in runner.terms():
            async with term:
                with anyio.CancelScope(shield=True):
                    await release.wait()

    with anyio.fail_after(DEADLINE):
        async with plane.group() as (group, client), anyio.create_task_group() as tasks:
            async with plane.runner(group, state_file=state) as runner:
                tasks.start_soon(lead, runner)
                await until(lambda: runner._session is not None and runner._session.acting)
            assert (await client.runner(runner.runner_id or "")).session_id is not None
            try:
                with pytest.raises(StateFileLocked):
                    StateFile(state, group=group, name="a").__enter__()
            finally:
                release.set()


async def test_a_process_that_slept_for_long_does_not_come_back(plane: Plane) -> None:
    """A session superseded so long ago that nobody remembers how it ended is not opened anew."""
    async with (
        plane.group(heartbeat_seconds=0.2) as (group, client),
        plane.runner(group) as sleeper,
    ):
        runner_id = sleeper.runner_id or ""
        old = None if sleeper.standing is None else sleeper.standing.session_id
        new = await client.open_session(runner_id, session_key="another")
        plane.store._ended.clear()
        session = sleeper._session
        assert session is not None
        await until(lambda: session.failure is not None or session.session_id not in (old, None))
        assert isinstance(session.failure, SessionSuperseded)
        assert (await client.runner(runner_id)).session_id == new.session_id


async def test_answers_that_hang_leave_renewals_their_connections(
    plane: Plane, proxy: Proxy
) -> None:
    """More settlements wait than a client has connections, and renewals go on."""
    jobs = 110

    async def handler(job: Job) -> object:
        return None

    def sent(end: str) -> int:
        return sum(line.endswith(end) for line in proxy.seen)

    proxy.hold_answers(lambda line: line.endswith("/settle"))
    async with plane.group(lease_seconds=6, heartbeat_seconds=0.2) as (group, client):
        for _ in range(jobs):
            await client.enqueue(group, "work")
        runner = plane.runner(group, url=proxy.url)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(runner.run, handler, concurrency=jobs))
            await until(lambda: sent("/settle") >= 95)
            before = sent("/heart-beats")
            await until(lambda: sent("/heart-beats") >= before + 5)
            assert runner.standing is not None
            assert runner.standing.role is Role.LEADER
            proxy.let_go()
            tasks.cancel_scope.cancel()


async def test_a_claim_that_is_broken_off_loses_no_job(plane: Plane, proxy: Proxy) -> None:
    """What was claimed by a call that a change of role cut short is found by the next."""
    worked_on: list[str] = []

    async def handler(job: Job) -> object:
        worked_on.append(job.id)
        return None

    async def is_in(job: Job, state: JobState) -> bool:
        return (await client.job(job.id)).state is state

    proxy.hold_answers(lambda line: line.endswith("/claim"))
    async with plane.group(heartbeat_seconds=1) as (group, client):
        other = (await client.register(group, "other")).runner
        leading = await client.open_session(other.id, session_key="key")
        runner = plane.runner(group, url=proxy.url)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.run, handler)
            await until_role(runner, Role.STANDBY)
            job = await client.enqueue(group, "work", runner_id=runner.runner_id)
            await until_told(lambda: is_in(job, JobState.RUNNING))
            await client.leave(other.id, leading.session_id)
            await until_role(runner, Role.LEADER)
            proxy.let_go()
            await until_told(lambda: is_in(job, JobState.SUCCEEDED))
            tasks.cancel_scope.cancel()
    assert worked_on == [job.id]
