"""What all parts of the store share: its connections, and how a statement is carried out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

import asyncpg

from election_core import EPOCH_JUMP, Settings, Unavailable
from election_postgres._connections import Connections
from election_postgres._errors import Contended, HistoryChanged
from election_postgres._floor import Floor

__all__ = ["Base"]

T = TypeVar("T")
_REINCARNATE = "SELECT election.reincarnate($1, $2, $3, $4, $5) AS done"
_HISTORY = "SELECT history, election.history() AS current FROM election.meta"
_REASON = "the store may have lost its newest commits"
_ATTEMPTS = 5


class Base:
    """The connections of a store.

    Args:
        general: For everything but renewals.
        renewals: For renewals and the mark, which wait for nothing else.
        patient: For what goes through all groups, and takes as long as it takes.
    """

    def __init__(self, general: Connections, renewals: Connections, patient: Connections) -> None:
        self._general = general
        self._renewals = renewals
        self._patient = patient
        self._floor = Floor()

    @property
    def where(self) -> str:
        """The database, without a password."""
        return self._general.where

    async def _read(self, statement: str, *values: object) -> Sequence[asyncpg.Record]:
        return await self._asked(lambda: self._general.rows(statement, *values))

    async def _write(self, statement: str, *values: object) -> Sequence[asyncpg.Record]:
        return await self._asked(lambda: self._general.rows(statement, *values, writes=True))

    async def _renew(
        self, statement: str, *values: object, writes: bool
    ) -> Sequence[asyncpg.Record]:
        return await self._asked(lambda: self._renewals.rows(statement, *values, writes=writes))

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        """An answer; if the database has begun another history, from after that was dealt with.

        What others came between is asked again: it has had no effect.
        """
        refused: Unavailable | None = None
        for _ in range(_ATTEMPTS):
            try:
                return await ask()
            except HistoryChanged:
                await self._reincarnate()
            except Contended as error:
                refused = error
        raise refused or Unavailable(f"{self.where}: it changes its history again and again")

    async def _reincarnate(self) -> None:
        """End all terms and move all epochs ahead, unless another replica has done it."""
        (found,) = await self._renewals.rows(_HISTORY)
        if found["history"] == found["current"]:
            return
        await self._patient.rows(
            _REINCARNATE,
            self._floor.at,
            found["history"],
            Settings().lease,
            EPOCH_JUMP,
            _REASON,
            writes=True,
        )

    def _seen(self, at: datetime) -> datetime:
        return self._floor.seen(at)
