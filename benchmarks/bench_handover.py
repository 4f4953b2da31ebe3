"""How long a planned handover of an idle leader takes over loopback.

From the start of the release call to the successor's code knowing: two runners of one group with
waiting heartbeats, each in a process of its own. They hand leadership to and fro, at one server
process on SQLite or on Postgres, or each at a replica of its own over one Postgres.

The same with requests whose bytes are made beforehand shows which part of it is the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from contextlib import ExitStack

from contender_process import contending
from fleet import Server, server
from population import postgres_place, sqlite_place
from report import heading, table
from stores import postgres_server, server_version
from wire import Connection, request

from election_core import Role, Standing, decode
from election_sdk import Client


def measure(group: str, first: Server, second: Server, handovers: int, pause: float) -> list[float]:
    """Milliseconds of each handover between a runner at one server and a runner at another."""
    taken = []
    with (
        contending(first, first.token, group, "one") as one,
        contending(second, first.token, group, "two") as two,
    ):
        leader, successor = one, two
        for _ in range(handovers):
            leader.leads()
            successor.stands_by()
            time.sleep(pause)
            start = leader.release()
            taken.append(1000 * (successor.leads() - start))
            leader, successor = successor, leader
    return taken


class _Wired:
    """A runner that asks with bytes made beforehand, and reads the answer once the clock stands."""

    def __init__(
        self, to: Server, standing: Standing, beats: Connection, calls: Connection
    ) -> None:
        self._to = to
        self._runner = f"/v1/runners/{standing.runner_id}"
        self._session_id = standing.session_id
        self._beats = beats
        self._calls = calls

    @classmethod
    async def join(cls, to: Server, client: Client, group: str, name: str) -> _Wired:
        runner = (await client.register(group, name)).runner
        standing = await client.open_session(runner.id, session_key=name)
        return cls(to, standing, await Connection.open(to.url), await Connection.open(to.url))

    def beat(self, *, seen: int = 0, wait: float | None = None) -> asyncio.Future[bytes]:
        """Renew, and be told of news."""
        body = {"session_id": self._session_id, "seen": seen}
        path = f"{self._runner}/heart-beats"
        return self._beats.ask(request("POST", path, token=self._to.token, body=body, wait=wait))

    def release(self, epoch: int) -> asyncio.Future[bytes]:
        """Give leadership up."""
        body = {"session_id": self._session_id, "epoch": epoch}
        path = f"{self._runner}/release"
        return self._calls.ask(request("POST", path, token=self._to.token, body=body))


async def over_the_wire(to: Server, handovers: int, pause: float) -> list[float]:
    """Milliseconds of each handover at one server, without the SDK."""
    taken = []
    async with Client(to.url, token=to.token) as client:
        await client.create_group("wired")
        leader, successor = [await _Wired.join(to, client, "wired", name) for name in "ab"]
        for _ in range(handovers):
            known = [_standing(await runner.beat()) for runner in (leader, successor)]
            told = [
                runner.beat(seen=standing.standing_version, wait=4)
                for runner, standing in zip((leader, successor), known, strict=True)
            ]
            await asyncio.sleep(pause)
            start = time.monotonic()
            released = leader.release(known[0].epoch)
            answer = await told[1]
            taken.append(1000 * (time.monotonic() - start))
            assert _standing(answer).role is Role.LEADER
            await asyncio.gather(released, told[0])
            leader, successor = successor, leader
    return taken


def _standing(answer: bytes) -> Standing:
    return decode(Standing, json.loads(answer))


def _row(what: str, taken: list[float]) -> list[str]:
    cuts = statistics.quantiles(taken, n=100)
    return [what, f"{cuts[49]:.2f} ms", f"{cuts[98]:.2f} ms", f"{max(taken):.2f} ms"]


def main() -> None:
    """Print the distribution for each place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--handovers", type=int, default=500)
    parser.add_argument(
        "--pause",
        type=float,
        default=0.02,
        help="seconds between two, so that all have asked to be told and nothing is under way",
    )
    parser.add_argument("--quick", action="store_true", help="a few handovers")
    arguments = parser.parse_args()
    pause = arguments.pause
    handovers = 100 if arguments.quick else arguments.handovers
    rows = []
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server())
        heading(
            f"Planned handover of an idle leader, {handovers} times, {pause:g} s apart",
            postgres=server_version(postgres),
            packages=["uvicorn", "httpx2", "asyncpg"],
        )
        file = stack.enter_context(sqlite_place())
        database = stack.enter_context(postgres_place(postgres))
        with server(file.url) as to:
            rows.append(_row("SQLite", measure("one-server", to, to, handovers, pause)))
            taken = asyncio.run(over_the_wire(to, handovers, pause))
            rows.append(_row("SQLite, without the SDK", taken))
        with server(database.url) as to:
            taken = asyncio.run(over_the_wire(to, handovers, pause))
            rows.append(_row("Postgres, without the SDK", taken))
            rows.append(_row("Postgres", measure("one-server", to, to, handovers, pause)))
            with server(database.url) as other:
                taken = measure("replicas", to, other, handovers, pause)
            rows.append(_row("Postgres, two replicas", taken))
    table(["store", "median", "99th percentile", "longest"], rows)


if __name__ == "__main__":
    main()
