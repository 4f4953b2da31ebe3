"""How long a planned handover of an idle leader takes over loopback.

From the start of the release call to the successor's code knowing: two runners of one group with
waiting heartbeats, each in a process of its own. They hand leadership to and fro, at one server
process on SQLite or on Postgres, or each at a replica of its own over one Postgres.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack

from contender_process import contending
from fleet import Server, server
from population import postgres_place, sqlite_place
from report import heading, table
from stores import postgres_server, server_version


def measure(group: str, first: Server, second: Server, handovers: int) -> list[float]:
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
            time.sleep(0.02)
            start = leader.release()
            taken.append(1000 * (successor.leads() - start))
            leader, successor = successor, leader
    return taken


def _row(what: str, taken: list[float]) -> list[str]:
    cuts = statistics.quantiles(taken, n=100)
    return [what, f"{cuts[49]:.2f} ms", f"{cuts[98]:.2f} ms", f"{max(taken):.2f} ms"]


def main() -> None:
    """Print the distribution for each place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--handovers", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="a few handovers")
    arguments = parser.parse_args()
    handovers = 100 if arguments.quick else arguments.handovers
    rows = []
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server())
        heading(
            f"Planned handover of an idle leader, {handovers} times",
            postgres=server_version(postgres),
            packages=["uvicorn", "httpx2", "asyncpg"],
        )
        file = stack.enter_context(sqlite_place())
        database = stack.enter_context(postgres_place(postgres))
        with server(file.url) as to:
            rows.append(_row("SQLite", measure("one-server", to, to, handovers)))
        with server(database.url) as to:
            rows.append(_row("Postgres", measure("one-server", to, to, handovers)))
            with server(database.url) as other:
                taken = measure("replicas", to, other, handovers)
            rows.append(_row("Postgres, two replicas", taken))
    table(["store", "median", "99th percentile", "longest"], rows)


if __name__ == "__main__":
    main()
