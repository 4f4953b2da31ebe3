"""What a server costs at rest with a thousand groups.

Creates the groups with a runner and a session each, so that every group has had a leader, then lets
the server alone and reads its memory and its processor time from the system.
"""

from __future__ import annotations

import argparse
import time

import anyio
from fleet import Server, server

from election_sdk import Client


async def fill(to: Server, groups: int) -> None:
    """Create the groups, eight at a time."""
    limiter = anyio.CapacityLimiter(8)

    async def one(client: Client, number: int) -> None:
        async with limiter:
            group = f"group-{number}"
            await client.create_group(group, settings={"lease_seconds": 15})
            runner = (await client.register(group, "runner")).runner
            await client.open_session(runner.id, session_key="key")

    async with Client(to.url, token=to.token) as client, anyio.create_task_group() as tasks:
        for number in range(groups):
            tasks.start_soon(one, client, number)


def main() -> None:
    """Print memory and processor share at rest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    with server() as to:
        empty = to.memory_mib()
        anyio.run(fill, to, arguments.groups)
        time.sleep(20)  # the leases run out, and the groups are decided
        before, start = to.cpu_seconds(), time.perf_counter()
        time.sleep(arguments.seconds)
        share = (to.cpu_seconds() - before) / (time.perf_counter() - start)
        print("| groups | memory, empty | memory at rest | share of a core |")
        print("| ---: | ---: | ---: | ---: |")
        full = to.memory_mib()
        print(f"| {arguments.groups} | {empty:.0f} MiB | {full:.0f} MiB | {share:.1%} |")


if __name__ == "__main__":
    main()
