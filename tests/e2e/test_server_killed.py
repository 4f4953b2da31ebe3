"""The control plane is killed, again and again, while a fleet works."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest

from election_core import Event, Job
from election_sdk import Client, Runner

GROUP = "builds"
LEASE = 10.0
JOBS = 60
KILLS = 6


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The SQLite adapter is of asyncio."""
    return "asyncio"


class Server:
    """A server process that can be killed and started again on the same file and port."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._listen = "127.0.0.1:0"
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def token(self) -> str:
        """The operator's."""
        return (self._state_dir / "operator-token").read_text().strip()

    async def start(self) -> None:
        """Start it and wait until it listens."""
        await asyncio.to_thread(self._start)
        assert self._process is not None
        assert self._process.stdout is not None
        told = json.loads(await asyncio.to_thread(self._process.stdout.readline))
        self.url = told["url"]
        self._listen = self.url.removeprefix("http://")

    def _start(self) -> None:
        command = [sys.executable, "-m", "election_cli", "serve", "--json", "--log-level=warning"]
        self._process = subprocess.Popen(
            [*command, "--state-dir", str(self._state_dir), "--listen", self._listen],
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=20)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A running server."""
    server = Server(tmp_path)
    await server.start()
    try:
        yield server
    finally:
        server.kill()


async def history(client: Client) -> list[Event]:
    """All events of the group."""
    events: list[Event] = []
    while page := (await client.events(GROUP, after=events[-1].id if events else None)).items:
        events += page
    return events


async def until(holds: Callable[[], Awaitable[bool]], *, within: float) -> None:
    """Wait until something holds, which tells nobody of its changes."""
    with anyio.fail_after(within):
        while not await holds():  # noqa: ASYNC110 - it is looked at from outside
            await anyio.sleep(0.05)


async def all_open(fleet: Sequence[Runner]) -> bool:
    """Whether every runner has a session."""
    return all(runner.standing is not None for runner in fleet)


async def all_succeeded(client: Client) -> bool:
    """Whether every job has."""
    return len((await client.jobs(GROUP, state="succeeded")).items) == JOBS


async def test_killing_the_server_costs_nothing(server: Server, tmp_path: Path) -> None:
    """Killed at any moment, it reuses no epoch, loses no job and deposes no healthy leader."""
    chance = random.Random(7)
    runs: Counter[str] = Counter()
    refused: list[str] = []

    async def handler(job: Job) -> object:
        runs[job.id] += 1
        await anyio.sleep(0.05)
        return {"by": job.epoch}

    async with Client(server.url, token=server.token, retries=20) as operator:
        await operator.create_group(GROUP, settings={"lease_seconds": LEASE})
        fleet = [
            Runner(
                server.url,
                token=server.token,
                group=GROUP,
                name=name,
                state_file=tmp_path / f"{name}.json",
                on_refused=lambda job, error: refused.append(f"{job.id} {error.code}"),
            )
            for name in ("one", "two")
        ]
        async with anyio.create_task_group() as tasks:
            for runner in fleet:
                tasks.start_soon(partial(runner.run, handler, handle_signals=False))
            await until(partial(all_open, fleet), within=30)
            leader = (await operator.leader(GROUP)).runner.id

            async def enqueue() -> None:
                for number in range(JOBS):
                    await operator.enqueue(GROUP, "step", number, max_attempts=10)
                    await anyio.sleep(0.05)

            async with anyio.create_task_group() as work:
                work.start_soon(enqueue)
                for _ in range(KILLS):
                    await anyio.sleep(chance.uniform(0.2, 0.9))
                    server.kill()
                    await server.start()

            await until(partial(all_succeeded, operator), within=90)
            jobs = (await operator.jobs(GROUP, limit=500)).items
            events = await history(operator)
            now = await operator.leader(GROUP)
            for runner in fleet:
                runner.stop()

    epochs = [event.epoch for event in events if event.kind == "elected"]
    assert epochs == sorted(set(epochs)), "an epoch was reused"
    assert (now.runner.id, now.epoch) == (leader, 1), "a healthy leader lost its role"
    assert len(jobs) == JOBS
    assert {job.state for job in jobs} == {"succeeded"}
    assert all(job.attempts == runs[job.id] == 1 for job in jobs), "a job was lost or run twice"
    assert refused == []


async def test_an_outage_longer_than_the_lease_deposes_nobody(
    server: Server, tmp_path: Path
) -> None:
    """A leader that renews within one lease of the server's return keeps its epoch."""
    async with Client(server.url, token=server.token, retries=20) as operator:
        await operator.create_group(GROUP, settings={"lease_seconds": 1})
        standings = {}
        for name in ("one", "two"):
            runner = (await operator.register(GROUP, name)).runner
            standings[name] = await operator.open_session(runner.id, session_key=name)
        server.kill()
        await anyio.sleep(4.5)  # the outage itself: longer than the lease and than three ticks
        await server.start()
        for name, standing in standings.items():
            renewed = await operator.heartbeat(standing.runner_id, standing.session_id)
            assert renewed.role == ("leader" if name == "one" else "standby")
            assert renewed.epoch == 1
        assert (await operator.leader(GROUP)).epoch == 1


async def test_a_silent_leader_is_replaced_once_grace_is_over(server: Server) -> None:
    """After an outage a leader that stays silent is deposed once grace is over."""
    async with Client(server.url, token=server.token, retries=20) as operator:
        await operator.create_group(GROUP, settings={"lease_seconds": 1})
        one = (await operator.register(GROUP, "one")).runner
        await operator.open_session(one.id, session_key="one")
        two = (await operator.register(GROUP, "two")).runner
        standing = await operator.open_session(two.id, session_key="two")
        server.kill()
        await anyio.sleep(4.5)  # the outage itself
        await server.start()
        with anyio.fail_after(10):
            while standing.role != "leader":
                standing = await operator.heartbeat(
                    two.id,
                    standing.session_id,
                    seen=standing.standing_version,
                    wait=timedelta(seconds=0.3),
                )
        assert standing.epoch == 2
        elected = [event for event in await history(operator) if event.kind == "elected"]
        assert [event.data["kind"] for event in elected] == ["first", "failover"]
