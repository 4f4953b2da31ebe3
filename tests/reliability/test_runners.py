"""Runners that are left, forgotten or frozen at the worst moment."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from election_core import Role, SessionSuperseded
from election_sdk import Runner, StateFileLocked
from sdk_plane import DEADLINE, Plane, until, until_role


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
            with pytest.raises(StateFileLocked):
                await plane.runner(group, state_file=state).__aenter__()
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
