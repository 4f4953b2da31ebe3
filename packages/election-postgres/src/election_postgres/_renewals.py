"""Renewals and what follows from them by time: pulses, the mark, groups that are due."""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from election_core import EndedSession, Mark, Pulse, Unavailable, refresh_mark
from election_core.ports import Beat, Beaten, Due
from election_postgres._base import Base
from election_postgres._rows import ENDED_SESSION, Row, columns, ended_session_of, mark_of
from election_postgres._values import micros, span

__all__ = ["Renewals"]

# The driver looks up types of arrays of anything but text, which sets a setting of the session.
_BEAT = """
SELECT * FROM election.beat($1, $2, $3, $4::text[]::bigint[], $5::text[]::boolean[])
"""
_PULSE = """
SELECT (SELECT election.now($1)) AS at, p.*
FROM election.meta AS m LEFT JOIN election.pulse AS p ON p.runner_id = $2 AND p.session_id = $3
"""
_CURRENT = """
SELECT r.id FROM election.runner AS r
JOIN unnest($1::text[], $2::text[]) AS a(runner_id, session_id)
    ON a.runner_id = r.id AND a.session_id = r.session_id
"""
_ENDED = f"""
SELECT {columns(ENDED_SESSION, "e")} FROM election.ended_session AS e
WHERE e.runner_id = $1 AND (e.session_id = $2 OR e.session_key = $3)
ORDER BY e.ended_at DESC, e.place DESC LIMIT 1
"""
_ENDS = f"""
SELECT {columns(ENDED_SESSION, "e")} FROM election.ended_session AS e
JOIN unnest($1::text[], $2::text[]) AS a(runner_id, session_id)
    ON a.session_id = e.session_id AND a.runner_id = e.runner_id
"""
_DUE = "SELECT * FROM election.due($1, $2, $3::text::interval)"
_MARK = """
SELECT (SELECT election.now($1)) AS at, mark_at, mark_tick, outages FROM election.meta
"""
_REFRESH = "SELECT election.mark($1, $2, $3::text::interval, $4) AS done"

_PAUSE = 0.002
_PATIENCE = 1.0
"""Seconds for which one session that is locked holds up those that are renewed with it."""


class Renewals(Base):
    """Beats, pulses, the mark and what is due."""

    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        """See [`beat`][election_core.ports.Store.beat].

        A commit that is under way has the row of a session to itself, and its renewal is written
        behind it. The others are written at once, and answered when that commit is done or
        patience ends.
        """
        answers: dict[int, Beaten] = {}
        left = list(enumerate(beats))
        until = asyncio.get_running_loop().time() + _PATIENCE
        while left:
            rows = await self._renew(
                _BEAT,
                self._floor.at,
                [beat.runner_id for _, beat in left],
                [beat.session_id for _, beat in left],
                [None if beat.seq is None else str(beat.seq) for _, beat in left],
                [None if beat.ready is None else str(beat.ready) for _, beat in left],
                writes=True,
            )
            for row in rows:
                place, beat = left[row["place"] - 1]
                self._seen(row["at"])
                answers[place] = _pulse(row, beat.runner_id, margin=row["margin"], due=row["due"])
            left = [(place, beat) for place, beat in left if place not in answers]
            if left:
                locked = await self._current([beat for _, beat in left])
                over = [(place, beat) for place, beat in left if beat.runner_id not in locked]
                if over:
                    ends = await self._ends([beat for _, beat in over])
                    answers |= {place: ends.get(beat.session_id) for place, beat in over}
                left = [(place, beat) for place, beat in left if place not in answers]
            if left and asyncio.get_running_loop().time() > until:
                locked_too_long = f"{self.where}: a session is locked for too long; try again"
                answers |= {place: Unavailable(locked_too_long) for place, _ in left}
                break
            if left:
                await asyncio.sleep(_PAUSE)
        return [answers[place] for place in range(len(beats))]

    async def _current(self, beats: Sequence[Beat]) -> set[str]:
        """The runners among them whose session is the current one."""
        rows = await self._renew(
            _CURRENT,
            [beat.runner_id for beat in beats],
            [beat.session_id for beat in beats],
            writes=False,
        )
        return {row["id"] for row in rows}

    async def _ends(self, beats: Sequence[Beat]) -> dict[str, EndedSession]:
        """How sessions ended, by their ids; asked where renewals are, for they wait for it."""
        rows = await self._renew(
            _ENDS,
            [beat.runner_id for beat in beats],
            [beat.session_id for beat in beats],
            writes=False,
        )
        return {row["session_id"]: ended_session_of(row) for row in rows}

    async def pulse(self, runner_id: str, session_id: str) -> Beaten:
        """See [`pulse`][election_core.ports.Store.pulse]."""
        rows = await self._read(_PULSE, self._floor.at, runner_id, session_id)
        self._seen(rows[0]["at"])
        if rows[0]["session_id"] is None:
            return await self.ended_session(runner_id, session_id=session_id)
        return _pulse(rows[0], runner_id)

    async def ended_session(
        self, runner_id: str, *, session_id: str | None = None, key: str | None = None
    ) -> EndedSession | None:
        """See [`ended_session`][election_core.ports.Store.ended_session]."""
        rows = await self._read(_ENDED, runner_id, session_id, key)
        return ended_session_of(rows[0]) if rows else None

    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        """See [`due`][election_core.ports.Store.due]."""
        rows = await self._renew(_DUE, self._floor.at, limit, span(hold), writes=False)
        found = rows[0]
        return Due(
            group_ids=tuple(found["group_ids"]),
            next_at=found["next_at"],
            at=self._seen(found["at"]),
        )

    async def mark(self, tick: timedelta) -> Mark:
        """See [`mark`][election_core.ports.Store.mark].

        It is replaced only if nobody else has replaced it, so a gap is noted once.
        """
        while True:
            found = (await self._renew(_MARK, self._floor.at, writes=False))[0]
            at = self._seen(found["at"])
            known = None if found["mark_at"] is None else mark_of(found, at)
            mark = refresh_mark(known, at, tick)
            outages = [[micros(outage.began), micros(outage.ended)] for outage in mark.outages]
            done = await self._renew(
                _REFRESH,
                found["mark_at"],
                mark.at,
                span(mark.tick),
                json.dumps(outages),
                writes=True,
            )
            if done[0]["done"]:
                return mark


def _pulse(
    row: Row, runner_id: str, *, margin: timedelta | None = None, due: bool = False
) -> Pulse:
    at: datetime = row["at"]
    leader, ends = row["leader_runner_id"], row["leader_expires_at"]
    if ends is None or ends <= at:
        leader = None
    return Pulse(
        runner_id=runner_id,
        session_id=row["session_id"],
        group_id=row["group_id"],
        at=at,
        lease_expires_at=row["lease_expires_at"],
        held_epoch=row["held_epoch"],
        term_expires_at=row["term_expires_at"],
        step_down_at=row["step_down_at"],
        standing_version=row["standing_version"],
        cancel=tuple(row["cancel"]),
        group_epoch=row["group_epoch"],
        leader_runner_id=leader,
        heartbeat=row["heartbeat"],
        margin=margin,
        due=due,
    )
