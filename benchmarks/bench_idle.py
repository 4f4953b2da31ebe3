"""What a fleet at rest costs: 1,000 groups of three whose runners renew and do nothing else.

Processor time and memory of the server and of its database, as the system tells them; the program
that sends the heartbeats is not counted. Each runner has a connection and a token of its own and
beats as the SDK does: the server holds the answer until the next heartbeat is due. Then the runners
fall silent, their leases run out, and the server is measured alone with the groups.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack

from attrs import frozen
from fleet import Server, cpu_seconds, memory_mib, server
from population import Place, populate, postgres_place, secret_of, sqlite_place
from report import heading, table
from stores import Member, postgres_server, server_version
from wire import Connection, request

_LEASE = 15.0
_HEARTBEAT = _LEASE / 3
_HOLD = 0.98 * _HEARTBEAT


@frozen
class Reading:
    """What the system says at one time."""

    at: float
    server: float
    """Processor seconds."""
    database: float

    @classmethod
    def take(cls, place: Place, to: Server) -> Reading:
        """Read it."""
        process = place.process()
        return cls(
            time.perf_counter(),
            cpu_seconds(to.process),
            0.0 if process is None else cpu_seconds(process),
        )

    def shares(self, later: Reading) -> list[str]:
        """Percent of a core from here to a later one: of the server, of the database, of both."""
        lasted = later.at - self.at
        server = (later.server - self.server) / lasted
        database = (later.database - self.database) / lasted
        return [f"{server:.1%}", f"{database:.1%}", f"{server + database:.1%}"]


async def beating(
    place: Place, to: Server, members: Sequence[Member], seconds: float
) -> tuple[list[str], list[str]]:
    """Shares of a core and memory while the runners beat."""
    answered = 0

    async def runner(member: Member, start: float) -> None:
        nonlocal answered
        await asyncio.sleep(start)
        connection = await Connection.open(to.url)
        beat = request(
            "POST",
            f"/v1/runners/{member.runner_id}/heart-beats",
            token=secret_of(member.runner_id),
            body={"session_id": member.session_id, "ready": True},
            wait=_HOLD,
        )
        try:
            while True:
                await connection.ask(beat)
                answered += 1
        finally:
            connection.close()

    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(runner(member, _HEARTBEAT * number / len(members)))
            for number, member in enumerate(members)
        ]
        await asyncio.sleep(2 * _HEARTBEAT)
        before, answered = Reading.take(place, to), 0
        await asyncio.sleep(seconds)
        after = Reading.take(place, to)
        rate = answered / (after.at - before.at)
        memory = _memory(place, to)
        for task in running:
            task.cancel()
    return [f"{rate:.0f}", *before.shares(after)], memory


def silent(place: Place, to: Server, seconds: float) -> list[str]:
    """Shares of a core once all leases have run out and that was decided."""
    time.sleep(_LEASE + 5)
    before = Reading.take(place, to)
    time.sleep(seconds)
    return ["0", *before.shares(Reading.take(place, to))]


def _memory(place: Place, to: Server) -> list[str]:
    process = place.process()
    return [
        f"{memory_mib(to.process):.0f} MiB",
        "–" if process is None else f"{memory_mib(process):.0f} MiB",
    ]


def measure(place: Place, groups: int, seconds: float) -> list[list[str]]:
    """A row for each state."""
    members = populate(place, groups)
    with server(place.url) as to:
        empty = _memory(place, to)
        shares, memory = asyncio.run(beating(place, to, members, seconds))
        rest = silent(place, to, seconds)
        return [
            [f"{place.name}, started", "0", "", "", "", *empty],
            [f"{place.name}, {len(members):,} runners beat", *shares, *memory],
            [f"{place.name}, all are silent", *rest, *_memory(place, to)],
        ]


def main() -> None:
    """Print a row for each store and state."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=15.0, help="measured in each state")
    parser.add_argument("--quick", action="store_true", help="five seconds in each state")
    arguments = parser.parse_args()
    seconds = 5.0 if arguments.quick else arguments.seconds
    rows = []
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server())
        heading(
            f"{arguments.groups:,} groups of three at rest, with a lease of {_LEASE:g} s",
            postgres=server_version(postgres),
            packages=["uvicorn", "h11", "litestar", "asyncpg"],
        )
        rows += measure(stack.enter_context(sqlite_place()), arguments.groups, seconds)
        rows += measure(stack.enter_context(postgres_place(postgres)), arguments.groups, seconds)
    table(
        [
            *("store, state", "beats/s", "server", "database", "of a core"),
            *("memory of the server", "of the database"),
        ],
        rows,
    )


if __name__ == "__main__":
    main()
