"""Renewals a second: stored together, against one commit each; and how many of them are HOT.

`uv run nox -s bench` runs it. The sessions of a fleet are renewed again and again: in one side by
calls of the store that renew many at once, in the other by calls that renew one and have a commit
each. The sides take turns; what counts is the median of the ratios of the turns.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import asyncpg
from report import heading, ratio, table, turns
from stores import fill, postgres_database, postgres_server, server_version, sqlite_store

from election_core import Pulse
from election_core.ports import Beat, Store
from election_postgres import PostgresStore

GROUPS, RUNNERS = 50, 10
AT_ONCE = {"Postgres": 10, "SQLite": 1}
"""How many calls that renew one are under way; SQLite's store commits those that wait together."""
ALONE = 100
"""How many of the fleet are renewed one by one in a turn; it takes long enough."""
COLUMNS = ("store", "in a batch", "beats/s", "one by one", "ratio", "half within", "goal")
COUNTS = """
SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot FROM pg_stat_user_tables
WHERE schemaname = 'election' AND relname = 'runner'
"""
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"


async def renewed(store: Store, beats: Sequence[Beat], batch: int, at_once: int) -> float:
    """Renew sessions, so many in a call and so many calls at once; how many that is in a second."""
    calls = iter([beats[first : first + batch] for first in range(0, len(beats), batch)])

    async def work() -> None:
        for call in calls:
            answers = await store.beat(call)
            assert all(isinstance(answer, Pulse) for answer in answers)

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return len(beats) / (time.perf_counter() - start)


async def rows(name: str, store: Store, beats: Sequence[Beat], rounds: int) -> list[list[str]]:
    """The rows of the table for one store."""
    places = itertools.cycle(range(0, len(beats), ALONE))

    def alone() -> Awaitable[float]:
        first = next(places)
        return renewed(store, beats[first : first + ALONE], 1, AT_ONCE[name])

    found = []
    for batch in (50, len(beats)):
        together: Callable[[], Awaitable[float]] = partial(renewed, store, beats, batch, 1)
        ours, theirs = await turns(rounds, together, alone)
        times, spread = ratio(ours, theirs)
        rates = [f"{statistics.median(side):,.0f}" for side in (ours, theirs)]
        found.append([name, str(batch), *rates, f"{times:.1f}", spread, "8"])
    return found


async def fleet(store: Store) -> list[Beat]:
    """A renewal for each runner of a fleet."""
    members = await fill(store, groups=GROUPS, runners=RUNNERS)
    return [Beat(runner_id=each.runner_id, session_id=each.session_id) for each in members]


async def updates(dsn: str) -> tuple[int, int]:
    """How many rows of runners were updated, and how many of them heap-only.

    A server counts what a connection did when that has ended, at the latest.
    """
    connection = await asyncpg.connect(dsn)
    try:
        while await connection.fetchval(OTHERS, connection.get_server_pid()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        counts = await connection.fetchrow(COUNTS)
        assert counts is not None
        return counts["updates"], counts["hot"]
    finally:
        await connection.close()


async def measure(rounds: int) -> None:
    """Print both tables."""
    with postgres_server() as server:
        version = server_version(server)
        async with postgres_database(server) as dsn:
            async with PostgresStore.open(dsn) as store:
                beats = await fleet(store)
            before = await updates(dsn)
            async with PostgresStore.open(dsn) as store:
                found = await rows("Postgres", store, beats, rounds)
            after = await updates(dsn)
    async with sqlite_store() as store:
        found += await rows("SQLite", store, await fleet(store), rounds)
    heading("Renewals stored in a second", postgres=version, packages=("asyncpg",))
    table(COLUMNS, found)
    every, hot = (late - early for early, late in zip(before, after, strict=True))
    columns = ("store", "updates by heartbeats", "of them heap-only", "share", "goal")
    table(columns, [["Postgres", f"{every:,}", f"{hot:,}", f"{hot / every:.1%}", "95%"]])


def main() -> None:
    """Measure as often as is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each side")
    parser.add_argument("--quick", action="store_true", help="two turns, to see that it runs")
    arguments = parser.parse_args()
    asyncio.run(measure(2 if arguments.quick else arguments.rounds))


if __name__ == "__main__":
    main()
