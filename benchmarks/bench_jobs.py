"""Jobs claimed and settled a second: with the fence, without it, and by a peer.

`uv run nox -s bench` runs it. Workers claim a batch of jobs, settle it, and so on; each has a
connection. Beside a peer's worker each job is also handled, by a task that does nothing. The sides
take turns on one server. What counts is the median of the ratios of the turns.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Mapping, Sequence
from functools import partial

from attrs import frozen
from postgres_queues import postgres_queues
from queues import Queue
from report import heading, ratio, table, turns
from sqlite_queues import sqlite_queues
from stores import postgres_server, server_version

COLUMNS = ("jobs a claim", "workers", "election", "beside", "its", "ratio", "half within", "goal")


@frozen
class Case:
    """One comparison."""

    batch: int
    workers: int
    beside: str
    jobs: int
    """In each turn."""
    goal: str = ""
    ours: str = "calls"

    async def row(self, queues: Mapping[str, Queue], rounds: int) -> tuple[str, ...]:
        """Measure it."""
        sides = [queues[self.ours], queues[self.beside]]
        for side in sides:  # which may have one table between them
            await side.refill(2 * self.jobs * (rounds + 1))
        asked = {"jobs": self.jobs, "workers": self.workers, "batch": self.batch}
        ours, theirs = await turns(rounds, *(partial(side.rate, **asked) for side in sides))
        found, spread = ratio(ours, theirs)
        return (
            *(str(self.batch), str(self.workers), f"{statistics.median(ours):,.0f}"),
            *(self.beside, f"{statistics.median(theirs):,.0f}"),
            *(f"{found:.2f}", spread, self.goal),
        )


_FENCED = [
    *(Case(1, workers, "own", 150, "0.9", "own with the fence") for workers in (1, 10)),
    *(Case(50, workers, "own", 2000, "0.9", "own with the fence") for workers in (1, 10)),
]
POSTGRES = [
    *_FENCED,
    *(Case(1, workers, "bare", 150, "0.9") for workers in (1, 10)),
    *(Case(50, workers, "bare", 2000, "0.9") for workers in (1, 10)),
    *(Case(batch, 1, "PgQueuer", 2000, "1", "handled") for batch in (10, 100)),
    *(Case(batch, 1, "PgQueuer's statements", 2000) for batch in (10, 100)),
]
SQLITE = [
    Case(1, 1, "own", 200, "0.9", "own with the fence"),
    Case(50, 1, "own", 1000, "0.9", "own with the fence"),
    Case(1, 1, "bare", 200, "0.9"),
    Case(50, 1, "bare", 1000, "0.9"),
]


async def measured(
    cases: Sequence[Case], queues: Mapping[str, Queue], rounds: int
) -> list[tuple[str, ...]]:
    """The rows of a table."""
    return [await case.row(queues, rounds) for case in cases]


async def measure(rounds: int) -> None:
    """Print a table for each database."""
    with postgres_server() as server:
        heading(
            "Jobs claimed and settled in a second, on Postgres",
            postgres=server_version(server),
            packages=("asyncpg", "pgqueuer"),
        )
        async with postgres_queues(server, workers=10) as queues:
            table(COLUMNS, await measured(POSTGRES, queues, rounds))
    heading("Jobs claimed and settled in a second, on SQLite")
    async with sqlite_queues() as queues:
        table(COLUMNS, await measured(SQLITE, queues, rounds))


def main() -> None:
    """Measure as often as is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="turns of each side")
    parser.add_argument("--quick", action="store_true", help="two turns, to see that it runs")
    arguments = parser.parse_args()
    asyncio.run(measure(2 if arguments.quick else arguments.rounds))


if __name__ == "__main__":
    main()
