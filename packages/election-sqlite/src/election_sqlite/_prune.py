"""Deleting what is not kept any more."""

from __future__ import annotations

from datetime import timedelta

from election_sqlite._lane import Transaction
from election_sqlite._values import micros

__all__ = ["prune"]

_TOKENS_KEPT = timedelta(days=1)

# Group by group, so that each group's own retention is a range of an index.
_EVENTS = """
SELECT t.id, t.group_id FROM election_group AS g CROSS JOIN election_event AS t
WHERE t.group_id = g.id AND t.happened_at <= ?1 - g.retention LIMIT ?2
"""
_JOBS = """
DELETE FROM election_job WHERE seq IN (
    SELECT t.seq FROM election_group AS g CROSS JOIN election_job AS t
    WHERE t.group_id = g.id AND t.finished_at <= ?1 - g.retention LIMIT ?2
)
"""
_SESSIONS = """
DELETE FROM election_ended_session WHERE session_id IN (
    SELECT t.session_id FROM election_group AS g CROSS JOIN election_ended_session AS t
    WHERE t.group_id = g.id AND t.ended_at <= ?1 - g.retention LIMIT ?2
)
"""
# What a claim was answered is kept as long as a job runs under it: the retry may come late.
_CLAIMS = """
DELETE FROM election_claim WHERE (session_id, claim_id) IN (
    SELECT t.session_id, t.claim_id FROM election_group AS g CROSS JOIN election_claim AS t
    WHERE t.group_id = g.id AND t.claimed_at <= ?1 - g.retention AND NOT EXISTS (
        SELECT 1 FROM json_each(t.jobs) AS kept
        JOIN election_job AS j ON j.seq = json_extract(kept.value, '$[0]')
        WHERE j.state = 'running' AND j.claim_token = json_extract(kept.value, '$[1]')
    ) LIMIT ?2
)
"""
_TOKENS = """
DELETE FROM election_token WHERE id IN (
    SELECT id FROM election_token WHERE expires_at <= ?1 LIMIT ?2
)
"""


def prune(transaction: Transaction, limit: int) -> int:
    """See [`prune`][election_core.ports.Store.prune]."""
    connection = transaction.connection
    at = micros(transaction.at)
    # What is pruned must be known before it is gone: a cursor before it is refused.
    events = connection.execute(_EVENTS, (at, limit)).fetchall()
    if events:
        connection.executemany(
            "DELETE FROM election_event WHERE id = ?", [row[:1] for row in events]
        )
        connection.executemany(
            "UPDATE election_group SET events_pruned = max(events_pruned, ?) WHERE id = ?", events
        )
        connection.execute(
            "UPDATE election_meta SET events_pruned = max(events_pruned, ?)",
            (max(row[0] for row in events),),
        )
    deleted = len(events)
    for statement in (_JOBS, _SESSIONS, _CLAIMS):
        deleted += connection.execute(statement, (at, limit)).rowcount
    deleted += connection.execute(_TOKENS, (at - micros(_TOKENS_KEPT), limit)).rowcount
    return deleted
