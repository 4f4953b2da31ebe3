"""How many heartbeats a server answers, beside a route of its own that touches no store.

That route is `GET /healthz`, the cheapest there is, asked with the headers and the body of the
heartbeat: the HTTP server has the same bytes to read, and the route looks at none of them. So the
ratio holds what a heartbeat costs beyond that: its token, reading its body, the renewal and its
commit, and writing the standing.

In a burst many clients ask at once. At rest they ask evenly, as often as a fleet of 3,000 does,
and what counts is the processor time of the server and its database. One by one a single client
asks again when it has its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta

from fleet import Server, cpu_seconds, server
from population import Place, populate, postgres_place, secret_of, sqlite_place
from report import heading, ratio, table, turns
from stores import Member, postgres_server, server_version
from wire import Connection, request

_BURST = 128
_PACE = 600
"""Requests a second: 3,000 runners with a heartbeat of five seconds."""


def heartbeat(member: Member, *, method: str = "POST", path: str | None = None) -> bytes:
    """A runner's heartbeat, as the SDK sends it; or the like of it for another route."""
    return request(
        method,
        path or f"/v1/runners/{member.runner_id}/heart-beats",
        token=secret_of(member.runner_id),
        body={"session_id": member.session_id, "seq": 1, "ready": True, "seen": 1},
    )


async def bursts(connections: Sequence[Connection], requests: Sequence[bytes], count: int) -> float:
    """Requests a second: all clients ask at once, and again when all have their answers."""
    start = time.perf_counter()
    for _ in range(count):
        await asyncio.gather(*map(Connection.ask, connections, requests))
    return count * len(connections) / (time.perf_counter() - start)


async def one_by_one(connection: Connection, request: bytes, count: int) -> float:
    """Requests a second of one client, by the median of their times."""
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        await connection.ask(request)
        taken.append(time.perf_counter() - start)
    return 1 / statistics.median(taken)


async def at_rest(
    place: Place, to: Server, connections: Sequence[Connection], requests: Sequence[bytes]
) -> float:
    """Requests in a second of processor time, at a fleet's pace for two seconds."""
    database = place.process()
    processes = [to.process, *([] if database is None else [database])]
    before = sum(map(cpu_seconds, processes))
    start = time.perf_counter()
    asked: list[asyncio.Future[bytes]] = []
    for number in range(2 * _PACE):
        await asyncio.sleep(start + number / _PACE - time.perf_counter())
        client = number % len(connections)
        if number >= len(connections):
            await asked[number - len(connections)]
        asked.append(connections[client].ask(requests[client]))
    await asyncio.gather(*asked)
    return len(asked) / (sum(map(cpu_seconds, processes)) - before)


async def measure(
    place: Place, to: Server, members: Sequence[Member], rounds: int
) -> list[list[str]]:
    """A row for each load."""
    clients = members[:_BURST]
    beats = [heartbeat(member) for member in clients]
    others = [heartbeat(member, method="GET", path="/healthz") for member in clients]
    connections = [await Connection.open(to.url) for _ in beats]
    rows = []
    burst = await turns(
        rounds,
        lambda: bursts(connections, beats, 4),
        lambda: bursts(connections, others, 4),
    )
    rows.append([f"bursts of {_BURST}", *_cells(*burst)])
    rest = await turns(
        rounds,
        lambda: at_rest(place, to, connections, beats),
        lambda: at_rest(place, to, connections, others),
    )
    rows.append(["at rest, by processor time", *_cells(*rest)])
    single = await turns(
        rounds,
        lambda: one_by_one(connections[0], beats[0], 100),
        lambda: one_by_one(connections[0], others[0], 100),
    )
    rows.append(["one by one", *_cells(*single)])
    for connection in connections:
        connection.close()
    return rows


def _cells(beats: Sequence[float], others: Sequence[float]) -> list[str]:
    median, spread = ratio(beats, others)
    return [
        f"{statistics.median(beats):,.0f}",
        f"{statistics.median(others):,.0f}",
        f"{median:.2f}",
        spread,
    ]


def main() -> None:
    """Print a row for each store and load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="a few rounds")
    arguments = parser.parse_args()
    rounds = 4 if arguments.quick else arguments.rounds
    rows = []
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server())
        heading(
            "Heartbeats over HTTP, beside a route that touches no store",
            postgres=server_version(postgres),
            packages=["uvicorn", "h11", "litestar", "asyncpg"],
        )
        for place in (
            stack.enter_context(sqlite_place()),
            stack.enter_context(postgres_place(postgres)),
        ):
            members = populate(place, 50, lease=timedelta(hours=1))
            with server(place.url) as to:
                rows += [
                    [f"{place.name}, {row[0]}", *row[1:]]
                    for row in asyncio.run(measure(place, to, members, rounds))
                ]
    table(["store, load", "heartbeats/s", "/healthz/s", "ratio", "half of the rounds"], rows)


if __name__ == "__main__":
    main()
