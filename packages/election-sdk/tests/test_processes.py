"""Runners as processes: the lock of the state file, restarts, signals."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from election_core import JobState
from sdk_plane import DEADLINE, Plane

MEMBER = str(Path(__file__).with_name("sdk_member.py"))


class Member:
    """A runner process, and the lines it says."""

    def __init__(self, process: Process) -> None:
        self.process = process
        assert process.stdout is not None
        self._text = TextReceiveStream(process.stdout)
        self._rest = ""

    async def says(self, word: str) -> str:
        """Wait for a line that begins with a word, and return the rest of it."""
        with anyio.fail_after(DEADLINE):
            while True:
                while "\n" in self._rest:
                    line, _, self._rest = self._rest.partition("\n")
                    if line.startswith(word):
                        return line.removeprefix(word).strip()
                self._rest += await self._text.receive()


@asynccontextmanager
async def member(
    plane: Plane, group: str, backend: str, state: Path, **options: Any
) -> AsyncIterator[Member]:
    """A runner process; killed in the end if it still runs."""
    told = {"url": plane.url, "token": plane.token, "group": group, "name": "a"}
    told |= {"state_file": str(state), **options}
    command = [sys.executable, MEMBER, json.dumps(told), backend]
    async with await anyio.open_process(command, stderr=None) as process:
        try:
            yield Member(process)
        finally:
            if process.returncode is None:
                process.kill()


async def test_a_second_process_is_refused(
    plane: Plane, anyio_backend_name: str, tmp_path: Path
) -> None:
    """Two processes cannot act for one state file; the second is told why."""
    state = tmp_path / "state.json"
    async with plane.group() as (group, client):
        await client.enqueue(group, "work", 60)
        async with member(plane, group, anyio_backend_name, state) as first:
            await first.says("began")
            async with member(plane, group, anyio_backend_name, state) as second:
                assert "in use by another process" in await second.says("locked")
                assert await second.process.wait() == 3


async def test_a_killed_process_is_replaced_at_once(
    plane: Plane, anyio_backend_name: str, tmp_path: Path
) -> None:
    """The next process names the session of the killed one, and need not wait for its lease."""
    state = tmp_path / "state.json"
    async with plane.group(lease_seconds=3600) as (group, client):
        job = await client.enqueue(group, "work", 60)
        async with member(plane, group, anyio_backend_name, state) as first:
            assert await first.says("began") == job.id
            first.process.kill()
        async with member(plane, group, anyio_backend_name, state) as second:
            assert await second.says("began") == job.id
        leader = await client.leader(group)
        assert (leader.epoch, leader.kind) == (2, "restart")
        assert len((await client.runners(group)).items) == 1


async def test_a_child_keeps_the_lock_of_a_killed_parent(
    plane: Plane, anyio_backend_name: str, tmp_path: Path
) -> None:
    """While what the killed process started still runs, nobody may say that it is gone."""
    state = tmp_path / "state.json"
    async with plane.group(lease_seconds=3600) as (group, client):
        await client.enqueue(group, "work", 60)
        async with member(plane, group, anyio_backend_name, state, child=True) as first:
            child = int(await first.says("child"))
            try:
                first.process.kill()
                await first.process.wait()
                async with member(plane, group, anyio_backend_name, state) as second:
                    assert "child that one left behind" in await second.says("locked")
            finally:
                os.kill(child, signal.SIGKILL)
        async with member(plane, group, anyio_backend_name, state) as third:
            await third.says("began")


async def test_sigterm_finishes_and_leaves(
    plane: Plane, anyio_backend_name: str, tmp_path: Path
) -> None:
    """The job in hand is finished and settled, no other is begun, the session is left."""
    async with plane.group() as (group, client):
        job = await client.enqueue(group, "work", 0.5)
        more = await client.enqueue(group, "work", 0)
        async with member(plane, group, anyio_backend_name, tmp_path / "state") as runner:
            await runner.says("began")
            runner.process.terminate()
            await runner.says("left")
            assert await runner.process.wait() == 0
        assert (await client.job(job.id)).state is JobState.SUCCEEDED
        assert (await client.job(more.id)).state is JobState.QUEUED
        assert (await client.group(group)).leader_runner_id is None


async def test_a_second_sigterm_hands_back(
    plane: Plane, anyio_backend_name: str, tmp_path: Path
) -> None:
    """Asked twice, a runner does not wait for its handlers."""
    async with plane.group() as (group, client):
        job = await client.enqueue(group, "work", 60)
        async with member(plane, group, anyio_backend_name, tmp_path / "state") as runner:
            await runner.says("began")
            while runner.process.returncode is None:
                runner.process.terminate()
                with anyio.move_on_after(0.2):
                    await runner.process.wait()
        now = await client.job(job.id)
        assert (now.state, now.attempts) == (JobState.QUEUED, 0)
