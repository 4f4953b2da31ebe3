"""Groups that are due: at a time that was set, or because their leader fell silent."""

# ruff: noqa: S608 - statements are put together from a fixed text, never from values

from __future__ import annotations

from datetime import datetime, timedelta

from election_core.ports import Due
from election_sqlite._lane import Transaction
from election_sqlite._values import micros, moment

__all__ = ["due"]

# When each group is due: at its look_again_at, and at the end of its term's lease if that was not
# decided about. The two are looked up apart, so that each has an index.
_NOT_DECIDED = "(g.decided_at IS NULL OR g.decided_at < r.term_expires_at)"
_TERMS = f"""
FROM election_runner AS r JOIN election_group AS g ON g.term_runner_id = r.id AND g.id = r.group_id
WHERE r.held_epoch IS NOT NULL AND {_NOT_DECIDED}
"""
_DUE = f"""
SELECT id, revision, min(since) AS since FROM (
    SELECT * FROM (
        SELECT id, revision, look_again_at AS since FROM election_group
        WHERE look_again_at <= ?1 ORDER BY look_again_at, id LIMIT ?2
    ) UNION ALL SELECT * FROM (
        SELECT g.id, g.revision, r.term_expires_at {_TERMS} AND r.term_expires_at <= ?1
        ORDER BY r.term_expires_at, g.id LIMIT ?2
    )
) GROUP BY id ORDER BY since, id LIMIT ?2
"""
_NEXT = f"""
SELECT min(since) FROM (
    SELECT * FROM (
        SELECT g.look_again_at AS since FROM election_group AS g
        LEFT JOIN election_runner AS r ON r.id = g.term_runner_id
        WHERE g.look_again_at > ?1
            AND NOT coalesce(r.term_expires_at <= ?1 AND {_NOT_DECIDED}, FALSE)
        ORDER BY g.look_again_at LIMIT 1
    ) UNION ALL SELECT * FROM (
        SELECT r.term_expires_at {_TERMS} AND r.term_expires_at > ?1
            AND (g.look_again_at IS NULL OR g.look_again_at > ?1)
        ORDER BY r.term_expires_at LIMIT 1
    )
)
"""


def due(
    transaction: Transaction, limit: int, hold: timedelta, held: dict[str, tuple[datetime, int]]
) -> Due:
    """See [`due`][election_core.ports.Store.due].

    Args:
        transaction: The store's.
        limit: How many groups at most.
        hold: How long nobody else is told of them.
        held: Until when each group is held, and at which revision; noted here.
    """
    connection, at = transaction.connection, transaction.at
    for group_id in [group_id for group_id, (until, _) in held.items() if until <= at]:
        del held[group_id]
    rows = connection.execute(_DUE, (micros(at), limit + len(held))).fetchall()
    found: list[tuple[str, int]] = []
    next_at = moment(connection.execute(_NEXT, (micros(at),)).fetchone()[0])
    for group_id, revision, _ in rows:
        until, seen = held.get(group_id, (at, revision))
        if until > at and seen == revision:
            next_at = until if next_at is None else min(next_at, until)
        else:
            found.append((group_id, revision))
    if hold:
        held.update((group_id, (at + hold, revision)) for group_id, revision in found[:limit])
    return Due(group_ids=tuple(group_id for group_id, _ in found[:limit]), next_at=next_at, at=at)
