"""Noticing that commits may be missing, and what follows.

A database that is a copy, or older than what is known of it, may lack its newest commits: epochs
that were granted, jobs that were settled. It becomes a new *incarnation*: all terms end, no grant
is made for the longest lease, and every epoch jumps ahead of any that may have been granted.

What is known of a database beyond itself is in a small file beside it, `<db>.high-water`,
rewritten after the commits that matter. It needs no sync of its own: what it tells was durable
before, so a lost or torn one tells less and never too much.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from attrs import evolve, frozen

from election_core import EPOCH_JUMP, Settings, reincarnate
from election_sqlite._groups import load, write
from election_sqlite._lane import Transaction
from election_sqlite._values import micros, moment, span

__all__ = ["HighWater", "lacks_commits", "renew"]


@frozen(kw_only=True)
class HighWater:
    """What is known of a database beyond itself."""

    incarnation: str
    at: int
    """The store's time of the newest commit that was noted, in microseconds."""
    longest_lease: int
    """The longest lease that any group gave then, in microseconds."""
    generation: int
    """How many incarnations came before."""

    @staticmethod
    def path(database: Path) -> Path:
        """Where it is kept."""
        return database.with_name(f"{database.name}.high-water")

    @classmethod
    def read(cls, database: Path) -> HighWater | None:
        """What is known of a database; `None` without a file that can be read."""
        try:
            document = json.loads(cls.path(database).read_text(encoding="utf-8"))
            known = cls(
                incarnation=str(document["incarnation"]),
                at=int(document["at"]),
                longest_lease=int(document["longest_lease"]),
                generation=int(document["generation"]),
            )
            moment(known.at), span(known.longest_lease)  # within what times can be
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return None
        return known

    def write(self, database: Path) -> None:
        """Replace what is known, if that can be done: its loss loses a check, no data."""
        path = self.path(database)
        new = path.with_name(f"{path.name}.new")
        document = {
            "incarnation": self.incarnation,
            "at": self.at,
            "longest_lease": self.longest_lease,
            "generation": self.generation,
        }
        with suppress(OSError):
            new.write_text(json.dumps(document), encoding="utf-8")
            new.replace(path)

    @classmethod
    def of(cls, connection: sqlite3.Connection, at: datetime) -> HighWater:
        """What is to be known of a database once the transaction at `at` has committed."""
        incarnation, generation, longest = connection.execute(
            "SELECT incarnation, generation, (SELECT coalesce(max(lease), 0) FROM election_group)"
            " FROM election_meta"
        ).fetchone()
        return cls(
            incarnation=incarnation,
            at=micros(at),
            longest_lease=longest,
            generation=generation,
        )


def lacks_commits(connection: sqlite3.Connection, known: HighWater | None) -> bool:
    """Whether a database may lack commits: it is a copy, or something later is known of it."""
    incarnation, copied, high_water = connection.execute(
        "SELECT incarnation, copied, high_water FROM election_meta"
    ).fetchone()
    if copied:
        return True
    return known is not None and (known.incarnation != incarnation or known.at > high_water)


def renew(transaction: Transaction, known: HighWater | None) -> None:
    """Make a new incarnation of a database that may lack commits.

    Ids of events and versions of standings jump as well: whoever saw those that were lost must not
    take new ones for them. One backup may be restored more than once, so all jump once more for
    each incarnation that is known to have come after it.

    Args:
        transaction: A transaction of the store while it opens.
        known: What was known of the database.
    """
    connection, at = transaction.connection, transaction.at
    generation, longest, sessions_end = connection.execute(
        "SELECT generation, (SELECT coalesce(max(lease), 0) FROM election_group),"
        " (SELECT coalesce(max(lease_expires_at), 0) FROM election_runner) FROM election_meta"
    ).fetchone()
    next_generation = generation + 1
    if known is not None:
        longest = max(longest, known.longest_lease)
        next_generation = max(next_generation, known.generation + 1)
    jump = EPOCH_JUMP * (next_generation - generation)
    not_before = max(at + timedelta(microseconds=longest), moment(sessions_end))
    connection.execute(
        "UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'election_event'", (jump,)
    )
    connection.execute(
        "UPDATE election_runner SET standing_version = standing_version + ?", (jump,)
    )
    for (group_id,) in connection.execute("SELECT id FROM election_group").fetchall():
        snapshot = load(transaction, group_id)
        ahead = evolve(snapshot.group, epoch=snapshot.group.epoch + jump - EPOCH_JUMP)
        changes = reincarnate(evolve(snapshot, group=ahead), not_before)
        write(transaction, changes, snapshot.revision + 1, "")
    # Groups that were lost altogether had a lease that nobody knows now.
    lost_until = max(not_before, at + Settings().lease)
    connection.execute(
        "UPDATE election_meta SET incarnation = ?, generation = ?, copied = 0,"
        " lost_epoch = lost_epoch + ?, lost_until = ?",
        (secrets.token_hex(16), next_generation, jump, micros(lost_until)),
    )
