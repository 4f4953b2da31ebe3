"""What 100,000 groups of three cost the database at each tick, and 1,000 leaders lost together.

A tick is what every replica does each second: refresh the mark, and ask which groups are due. It is
measured on a store with nothing due, as the time until the database has answered. Then a server is
started, and the leases of the leaders of 1,000 groups run out in one moment.
"""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from contextlib import ExitStack
from datetime import timedelta

from fleet import server
from population import Place, populate, postgres_place, sqlite_place
from report import heading, table
from stores import postgres_server, server_version

_TICK = timedelta(seconds=1)
_LEASE = timedelta(hours=1)
_SILENT_AFTER = timedelta(seconds=12)
"""Later than the grace that follows the time in which no server ran."""
_SILENT_LEASE = timedelta(seconds=5)


async def ticks(place: Place, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of the mark, and of asking what is due, each so often."""
    marks, dues = [], []
    async with place.open() as store:
        for number in range(count + 1):
            start = time.perf_counter()
            await store.mark(_TICK)
            marked = time.perf_counter()
            due = await store.due(500, hold=_TICK / 2)
            asked = time.perf_counter()
            assert not due.group_ids
            if number:  # the first one finds nothing in memory
                marks.append(1000 * (marked - start))
                dues.append(1000 * (asked - marked))
    return marks, dues


def lose(place: Place, groups: int) -> tuple[float, float]:
    """Seconds after the leases' end at which half of the groups were led again, and all."""
    populate(place, groups, name="lost", lease=_SILENT_LEASE)
    runners, those = place.table("runner"), "group_id >= 'lost-' AND group_id < 'lost.'"
    longer, soon = place.seconds(_LEASE), place.seconds(_SILENT_AFTER)
    ((ended_at,),) = place.rows(
        f"UPDATE {runners} SET lease_expires_at = lease_expires_at + {longer} WHERE {those}",
        f"UPDATE {runners} SET lease_expires_at = term_expires_at + {soon},"
        f" term_expires_at = term_expires_at + {soon} WHERE {those} AND held_epoch IS NOT NULL",
        f"SELECT max(term_expires_at) FROM {runners} WHERE {those}",
    )
    ended = place.moment(ended_at)
    led_again = (
        f"SELECT commit_at FROM {place.table('group')}"
        " WHERE id >= 'lost-' AND id < 'lost.' AND term_epoch > 1"
    )
    with server(place.url):
        time.sleep(max(0.0, ended - time.time()))
        until = time.monotonic() + 60
        while len(found := place.rows(led_again)) < groups:
            if time.monotonic() > until:
                raise TimeoutError("not all groups were led again")
            time.sleep(1)
    waits = [place.moment(committed) - ended for (committed,) in found]
    return statistics.median(waits), max(waits)


def main() -> None:
    """Print a row for each store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--lost", type=int, default=1000)
    parser.add_argument("--ticks", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="a tenth of the groups")
    arguments = parser.parse_args()
    groups = arguments.groups // 10 if arguments.quick else arguments.groups
    rows = []
    with ExitStack() as stack:
        postgres = stack.enter_context(postgres_server())
        heading(
            f"{groups:,} groups of three; {arguments.lost:,} of them lose their leaders together",
            postgres=server_version(postgres),
            packages=["asyncpg"],
        )
        for place in (
            stack.enter_context(sqlite_place()),
            stack.enter_context(postgres_place(postgres)),
        ):
            populate(place, groups, lease=_LEASE)
            marks, dues = asyncio.run(ticks(place, arguments.ticks))
            both = [mark + due for mark, due in zip(marks, dues, strict=True)]
            half, last = lose(place, arguments.lost)
            rows.append(
                [
                    place.name,
                    f"{statistics.median(marks):.1f} ms",
                    f"{statistics.median(dues):.1f} ms",
                    f"{statistics.median(both):.1f} ms",
                    f"{half:.2f} s",
                    f"{last:.2f} s",
                ]
            )
    table(
        [
            *("store", "mark", "due", "tick"),
            *("half are led again after", "all are"),
        ],
        rows,
    )


if __name__ == "__main__":
    main()
