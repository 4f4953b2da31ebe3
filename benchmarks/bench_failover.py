"""How long a group is without a leader that knows, after a crash.

From SIGKILL of the leader's process to the successor's code knowing, as a fraction of the lease.
The leader is a runner of the SDK in a process of its own; it is killed at any time after its latest
renewal. The successor waits in heartbeats as the SDK does. Many groups crash side by side, each at
times of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import statistics
import time
from contextlib import ExitStack

import anyio
from contender import Contender
from fleet import Server, server
from leader_process import lead
from population import postgres_place, sqlite_place
from report import heading, table
from stores import postgres_server, server_version

from election_core import RunnerStatus
from election_sdk import Client

_PROCESSES = multiprocessing.get_context("forkserver")


async def crashes(to: Server, group: str, lease: float, count: int) -> list[float]:
    """Fractions of the lease that the crashes of one group took."""
    fractions = []
    async with (
        Client(to.url, token=to.token) as client,
        Client(to.url, token=to.token) as other,
        anyio.create_task_group() as tasks,
    ):
        await other.create_group(group, settings={"lease_seconds": lease})
        successor = await Contender.join(client, other, group, "successor")
        tasks.start_soon(successor.beat)
        for _ in range(count):
            await successor.until(leads=True)
            process = _PROCESSES.Process(target=lead, args=(to.url, to.token, group))
            process.start()
            assert process.pid is not None
            while len(await _active(other, group)) < 2:  # noqa: ASYNC110 - nothing tells of it
                await anyio.sleep(0.05)
            await successor.release()
            await successor.until(leads=False)
            await anyio.sleep(lease * random.uniform(0.5, 1))
            start = time.monotonic()
            os.kill(process.pid, signal.SIGKILL)
            fractions.append((await successor.until(leads=True) - start) / lease)
            process.join()
        tasks.cancel_scope.cancel()
    return fractions


async def _active(client: Client, group: str) -> list[str]:
    page = await client.runners(group)
    return [runner.id for runner in page.items if runner.status is RunnerStatus.ACTIVE]


async def measure(to: Server, groups: int, lease: float, count: int) -> list[float]:
    """The fractions of all groups."""
    fractions: list[float] = []

    async def one(number: int) -> None:
        await anyio.sleep(number * lease / groups)
        fractions.extend(await crashes(to, f"group-{number}", lease, count))

    async with anyio.create_task_group() as tasks:
        for number in range(groups):
            tasks.start_soon(one, number)
    return fractions


def main() -> None:
    """Print the distribution for each store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=10)
    parser.add_argument("--crashes", type=int, default=5, help="of each group")
    parser.add_argument("--lease", type=float, default=3.0)
    parser.add_argument("--quick", action="store_true", help="a few crashes")
    arguments = parser.parse_args()
    count = 2 if arguments.quick else arguments.crashes
    rows = []
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server())
        heading(
            f"Crash of a leader to the successor knowing, with a lease of {arguments.lease:g} s",
            postgres=server_version(postgres),
            packages=["uvicorn", "httpx2", "asyncpg"],
        )
        for place in (
            stack.enter_context(sqlite_place()),
            stack.enter_context(postgres_place(postgres)),
        ):
            with server(place.url) as to:
                taken = anyio.run(measure, to, arguments.groups, arguments.lease, count)
            figures = (min(taken), statistics.median(taken), max(taken))
            rows.append([place.name, str(len(taken)), *(f"{figure:.3f}" for figure in figures)])
    table(["store", "crashes", "shortest / lease", "median / lease", "longest / lease"], rows)


if __name__ == "__main__":
    main()
