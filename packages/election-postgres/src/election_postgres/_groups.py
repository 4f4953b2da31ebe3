"""Groups: load one, and commit a change of one with compare-and-set."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

from collections.abc import Iterable

from election_core import Changes, Live, NotFound, Snapshot, TermLease, lost_group
from election_core.ports import Committed
from election_postgres._base import Base
from election_postgres._rows import (
    GROUP,
    RUNNER,
    columns,
    ended_session_document,
    event_document,
    group_document,
    group_of,
    mark_of,
    runner_document,
    runner_of,
)
from election_postgres._values import compact, text

__all__ = ["Groups"]

_LOAD = f"""
SELECT (SELECT election.now($1)) AS at, m.mark_at, m.mark_tick, m.outages, m.lost_epoch,
    m.lost_until, g.revision, {columns(GROUP, "g")},
    (SELECT max(s.due_since) FROM election.runner AS s WHERE s.group_id = g.id) AS due_since,
    r.due_count, {columns(RUNNER, "r", "runner_")}
FROM election.meta AS m
LEFT JOIN election.runner_group AS g ON g.id = $2
LEFT JOIN election.runner AS r ON r.group_id = g.id
ORDER BY r.created_at, r.id
"""
_COMMIT = """
SELECT revision, at
FROM election.commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
"""


def _json(documents: Iterable[object]) -> str:
    return compact(list(documents))


def _touched(changes: Changes) -> list[str]:
    """The runners that a change is about."""
    written = {runner.id for runner in changes.runners}
    expected = {expected.runner_id for expected in changes.expects}
    return sorted({*written, *changes.deleted, *changes.granted, *changes.roused, *expected})


class Groups(Base):
    """Loading and committing."""

    async def load(self, group_id: str) -> Snapshot:
        """See [`load`][election_core.ports.Store.load]."""
        rows = await self._read(_LOAD, self._floor.at, group_id)
        first = rows[0]
        at = self._seen(first["at"])
        revision = 0
        if first["id"] is not None:
            group = group_of(first)
            revision = first["revision"] + sum(row["due_count"] or 0 for row in rows)
        elif first["lost_until"] is not None:
            # It may be among lost commits: what remains of those.
            group = lost_group(group_id, first["lost_epoch"], first["lost_until"])
        else:
            raise NotFound(f"no group {group_id!r}")
        return Snapshot(
            at=at,
            revision=revision,
            group=group,
            runners=tuple(
                runner_of(row, "runner_") for row in rows if row["runner_id"] is not None
            ),
            mark=mark_of(first, at),
        )

    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        """See [`commit`][election_core.ports.Store.commit]."""
        rows = await self._write(
            _COMMIT,
            self._floor.at,
            expected_revision,
            commit_id,
            compact(group_document(changes.group)),
            _touched(changes),
            _json(runner_document(runner) for runner in changes.runners),
            list(changes.deleted),
            list(changes.granted),
            list(changes.roused),
            _json({"epoch": t.epoch, "handed_back": t.handed_back} for t in changes.ended_terms),
            _json(ended_session_document(ended) for ended in changes.ended_sessions),
            _json(
                {
                    "runner_id": expected.runner_id,
                    "session_id": expected.session_id,
                    "expires_at": text(expected.expires_at),
                }
                for expected in changes.expects
                if isinstance(expected, TermLease)
            ),
            _json(
                {"runner_id": expected.runner_id, "session_id": expected.session_id}
                for expected in changes.expects
                if isinstance(expected, Live)
            ),
            _json(event_document(event) for event in changes.events),
        )
        return Committed(revision=rows[0]["revision"], at=self._seen(rows[0]["at"]))
