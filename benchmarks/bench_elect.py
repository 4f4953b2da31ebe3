"""How many decisions a second one core makes, by the size of the group.

`uv run nox -s bench` runs it, or `python benchmarks/bench_elect.py`. A decision is one call of
`elect` on a group with a healthy leader, with the ballot read or not; the best of five rounds
counts.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from election_core import Group, Kind, Mark, OldestActive, Runner, Session, Snapshot, Term, elect

BORN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = BORN + timedelta(minutes=1)
LEASE = BORN + timedelta(hours=1)


def group_of(size: int) -> Snapshot:
    """A group whose oldest runner leads, all of them healthy."""
    runners = tuple(
        Runner(
            id=f"runner-{number}",
            group_id="bench",
            name=f"runner {number}",
            created_at=BORN + timedelta(seconds=number / 1000),
            steady_since=BORN,
            opened=1,
            session=Session(
                id=f"session-{number}",
                key="key",
                opened_at=BORN,
                lease_expires_at=LEASE,
                healthy_since=BORN,
                held_epoch=None if number else 1,
                term_expires_at=None if number else LEASE,
            ),
        )
        for number in range(size)
    )
    term = Term(
        epoch=1,
        runner_id="runner-0",
        session_id="session-0",
        elected_at=BORN,
        kind=Kind.FIRST,
        reason="oldest",
    )
    group = Group(id="bench", created_at=BORN, epoch=1, term=term)
    return Snapshot(at=NOW, revision=1, group=group, runners=runners, mark=Mark(at=NOW))


def rate(call: Callable[[], object], calls: int) -> float:
    """Calls a second: the best of five rounds."""
    return calls / min(timeit.repeat(call, number=calls, repeat=5))


def main() -> None:
    """Print one row per size of group."""
    policy = OldestActive()
    print("| runners | decisions/s | with the ballot read | ns per runner |")
    print("| ---: | ---: | ---: | ---: |")
    for size in (3, 10, 100, 1000):
        snapshot = group_of(size)
        calls = max(20, 100_000 // size)
        plain = rate(lambda: elect(snapshot, policy), calls)  # noqa: B023 - called at once
        read = rate(lambda: elect(snapshot, policy).ballot, calls)  # noqa: B023 - called at once
        print(f"| {size} | {plain:,.0f} | {read:,.0f} | {1e9 / plain / size:,.0f} |")


if __name__ == "__main__":
    main()
