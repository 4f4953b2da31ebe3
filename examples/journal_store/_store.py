"""The store, put together from its parts, and its opening."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from attrs import define

from examples.journal_store._groups import Groups, reincarnate_all
from examples.journal_store._jobs import Jobs
from examples.journal_store._journal import Journal
from examples.journal_store._lists import Lists
from examples.journal_store._sessions import Sessions
from examples.journal_store._shared import Shared
from examples.journal_store._tables import MetaRow, Tables
from examples.journal_store._tokens import Tokens

__all__ = ["JournalStore"]

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def _wall() -> datetime:
    return datetime.now(UTC)


def _elapsed() -> timedelta:
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first runs on in suspend
    return timedelta(microseconds=time.clock_gettime_ns(clock) // 1000)


@define(repr=False)
class JournalStore(Groups, Sessions, Lists, Jobs, Tokens, Shared):
    """Groups, jobs and tokens in a folder that the processes of one machine share."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        folder: str | Path,
        *,
        wall: Callable[[], datetime] = _wall,
        elapsed: Callable[[], timedelta] = _elapsed,
    ) -> AsyncIterator[Self]:
        """The store in a folder, for the time of an `async with` block.

        Args:
            folder: Where it is; made if it is not there.
            wall: The time of day. It is read here and not again.
            elapsed: The time since some point in the past, which never steps.

        Raises:
            Unavailable: The folder cannot be used.
            SchemaMismatch: Another version wrote in it.
        """
        journal = Journal(Path(folder), elapsed)
        try:
            await journal.run(lambda tables: _begin(journal, tables, wall()))
            yield cls(journal)
        finally:
            await journal.close()


def _begin(journal: Journal, tables: Tables, wall: datetime) -> None:
    """Set the time going from where it was, or from the wall clock if that is later.

    Then find out whether this is what wrote the last mark: a copy is not, nor is an older journal
    that was put back.
    """
    known, noted, identity = tables.meta.get(""), journal.noted(), journal.identity()
    tables.at = max(wall, tables.at, noted or wall)
    began, elapsed = tables.at, journal.elapsed()
    if known is None:
        last = _LONG_AGO
        tables.meta.put("", MetaRow(identity=identity, began=began, began_elapsed=elapsed))
    else:
        last = known.began if known.mark is None else known.mark.at
        tables.update_store(identity=identity, began=began, began_elapsed=elapsed)
    if (known is not None and known.identity != identity) or (noted is not None and noted > last):
        reincarnate_all(tables, last)
