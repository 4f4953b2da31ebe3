"""A real server in a process of its own, and the command run against it."""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from attrs import field, frozen

from election_core import Standing
from election_sdk import Client

T = TypeVar("T")
STARTED: list[subprocess.Popen[str]] = []
"""Every process that was started, oldest first."""
DEADLINE = 20.0
"""How long a test waits for what must come, in seconds."""


@frozen
class Result:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which holds one JSON document and nothing else."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The cells of a table, its header first; columns are two spaces or more apart."""
        return [
            [cell.strip() for cell in line.split("  ") if cell.strip()]
            for line in self.out.splitlines()
            if line
        ]


class Run(Protocol):
    """Runs the command in this process."""

    def __call__(self, *arguments: str, **variables: str) -> Result:
        """Run it with these arguments, and these variables besides the usual ones."""
        ...


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Variables of a machine on which nothing is configured but these."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ELECTION_")}
    return {
        **kept,
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        **variables,
    }


def start(*arguments: str, env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start the command as a process; a test that leaves it running has it killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "election_cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(env),
    )
    STARTED.append(process)
    return process


def read_line(process: subprocess.Popen[str], within: float = DEADLINE) -> str:
    """The next line of a process's standard output.

    Byte by byte, so that what comes behind it is left for who reads next.

    Raises:
        AssertionError: None comes in time, or the process ends first.
    """
    assert process.stdout is not None
    until = time.monotonic() + within
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, until - time.monotonic())):
                raise AssertionError(f"no line within {within} s, only {line!r}")
            byte = os.read(process.stdout.fileno(), 1)
            if not byte:
                raise AssertionError(f"the process ended: {process.communicate()[1]}")
            line += byte
    return line.decode()


@frozen
class Server:
    """A server that listens."""

    process: subprocess.Popen[str]
    url: str
    state_dir: Path
    printed: str
    token: str = field(repr=False)

    def stop(self, number: int = signal.SIGTERM) -> Result:
        """Tell it to end, and wait until it has."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=DEADLINE)
        return Result(self.process.returncode, self.printed + out, err)

    def do(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Do what needs a client with the operator's token."""

        async def connect() -> T:
            async with Client(self.url, token=self.token) as client:
                return await work(client)

        return asyncio.run(connect())

    def group(self, group: str, *names: str, **settings: object) -> dict[str, str]:
        """A group in which these runners have live sessions; the ids by name.

        The lease is so long that nobody needs to renew it.
        """

        async def work(client: Client) -> dict[str, str]:
            await client.create_group(group, settings={"lease_seconds": 600, **settings})
            ids = {}
            for name in names:
                runner = (await client.register(group, name)).runner
                ids[name] = runner.id
                await client.open_session(runner.id, session_key=f"{name}-1")
            return ids

        return self.do(work)

    def standing(self, runner_id: str) -> Standing:
        """How a runner stands."""

        async def work(client: Client) -> Standing:
            session_id = (await client.runner(runner_id)).session_id
            assert session_id is not None
            return await client.heartbeat(runner_id, session_id)

        return self.do(work)


def serve(state_dir: Path, *arguments: str, home: Path, **variables: str) -> Server:
    """Start a server on a free port and wait until it listens."""
    process = start(
        "serve",
        f"--state-dir={state_dir}",
        "--listen=127.0.0.1:0",
        "--json",
        *arguments,
        env=environment(home, **variables),
    )
    printed = read_line(process)
    said = json.loads(printed)
    token = (state_dir / "operator-token").read_text().strip()
    return Server(process, said["url"], state_dir, printed, token)
