"""How long a planned handover of an idle leader takes over loopback.

From the start of the release call to the successor's code knowing: two runners of one group with
waiting heartbeats on their own connections, and a server process on SQLite. They hand leadership to
and fro.
"""

from __future__ import annotations

import argparse
import statistics
import time
from datetime import timedelta

import anyio
from fleet import Server, server

from election_core import Role, Standing
from election_sdk import Client

GROUP = "bench"


class Contender:
    """A runner that does nothing but lead when it may."""

    def __init__(self, client: Client, runner_id: str, standing: Standing) -> None:
        self.client = client
        self.runner_id = runner_id
        self.standing = standing
        self.leads_since = 0.0
        self.leads = anyio.Event()

    async def beat(self) -> None:
        """Wait for news in heartbeats, for ever."""
        while True:
            standing = await self.client.heartbeat(
                self.runner_id,
                self.standing.session_id,
                seen=self.standing.standing_version,
                wait=timedelta(seconds=5),
            )
            if standing.role is Role.LEADER and self.standing.role is not Role.LEADER:
                self.leads_since = time.perf_counter()
                self.leads.set()
            self.standing = standing


async def measure(to: Server, handovers: int) -> list[float]:
    """Milliseconds of each handover."""
    taken = []
    async with (
        Client(to.url, token=to.token) as operator,
        Client(to.url, token=to.token) as one,
        Client(to.url, token=to.token) as two,
        anyio.create_task_group() as tasks,
    ):
        await operator.create_group(GROUP)
        contenders = []
        for client, name in ((one, "one"), (two, "two")):
            runner = (await operator.register(GROUP, name)).runner
            standing = await client.open_session(runner.id, session_key=name)
            contenders.append(Contender(client, runner.id, standing))
        for contender in contenders:
            tasks.start_soon(contender.beat)
        leader, successor = contenders
        for _ in range(handovers):
            await anyio.sleep(0.02)
            successor.leads = anyio.Event()
            epoch = leader.standing.epoch
            start = time.perf_counter()
            await operator.release(leader.runner_id, leader.standing.session_id, epoch)
            await successor.leads.wait()
            taken.append(1000 * (successor.leads_since - start))
            leader, successor = successor, leader
        tasks.cancel_scope.cancel()
    return taken


def main() -> None:
    """Print the distribution."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--handovers", type=int, default=300)
    handovers = parser.parse_args().handovers
    with server() as to:
        taken = anyio.run(measure, to, handovers)
    cuts = statistics.quantiles(taken, n=100)
    print("| handovers | median | 99th percentile | longest |")
    print("| ---: | ---: | ---: | ---: |")
    print(f"| {handovers} | {cuts[49]:.2f} ms | {cuts[98]:.2f} ms | {max(taken):.2f} ms |")


if __name__ == "__main__":
    main()
