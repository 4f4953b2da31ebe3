"""The store: what the port promises, over one SQLite file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from typing_extensions import override

from election_core import (
    Changes,
    Claimed,
    ElectionError,
    EndedSession,
    Event,
    GroupInfo,
    Job,
    JobSpec,
    JobState,
    Mark,
    Page,
    RunnerInfo,
    Snapshot,
    Token,
)
from election_core.ports import (
    AccessStore,
    Beat,
    Beaten,
    Census,
    Committed,
    Due,
    Enqueued,
    JobStore,
    Settle,
    Store,
    StoredToken,
)
from election_sqlite import _claims, _due, _groups, _jobs, _pages, _prune, _renewals, _tokens
from election_sqlite._database import Database
from election_sqlite._incarnation import HighWater
from election_sqlite._lane import Transaction, Urgency
from election_sqlite._schema import check

__all__ = ["SqliteStore"]


class SqliteStore(Database, Store, JobStore, AccessStore):
    """Groups, jobs and tokens in one SQLite file; each method does what `election_core.ports` says.

    Use `open`. Every commit is on the disk before it is answered. Reads have a connection of
    their own and never wait for a write; among those that wait for the writing connection, renewals
    go first.
    """

    # Groups, runners, sessions, events and the mark.

    @override
    async def load(self, group_id: str) -> Snapshot:
        return await self._reader.run(partial(_groups.load, group_id=group_id))

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        def work(transaction: Transaction) -> tuple[Committed, HighWater | None]:
            committed = _groups.commit(
                transaction, changes, expected_revision=expected_revision, commit_id=commit_id
            )
            if not (changes.granted or changes.ended_terms):
                return committed, None
            return committed, HighWater.of(transaction.connection, transaction.at)

        committed, _ = await self._writer.run(work, then=self._note)
        return committed

    @override
    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        return await self._writer.run(partial(_renewals.beat, beats=tuple(beats)), Urgency.RENEWAL)

    @override
    async def pulse(self, runner_id: str, session_id: str) -> Beaten:
        return await self._reader.run(
            partial(_renewals.pulse, runner_id=runner_id, session_id=session_id), Urgency.RENEWAL
        )

    @override
    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        return await self._reader.run(
            partial(_due.due, limit=limit, hold=hold, held=self._held), Urgency.RENEWAL
        )

    @override
    async def mark(self, tick: timedelta) -> Mark:
        def work(transaction: Transaction) -> tuple[Mark, HighWater | None]:
            self._check_file()
            refreshed = _renewals.mark(transaction, tick)
            return refreshed, HighWater.of(transaction.connection, transaction.at)

        refreshed, _ = await self._writer.run(work, Urgency.RENEWAL, then=self._note)
        return refreshed

    @override
    async def find_runner(self, runner_id: str) -> RunnerInfo:
        return await self._reader.run(partial(_pages.find_runner, runner_id=runner_id))

    @override
    async def ended_session(
        self, runner_id: str, *, session_id: str | None = None, key: str | None = None
    ) -> EndedSession | None:
        return await self._reader.run(
            lambda transaction: _renewals.find_ended(
                transaction.connection, runner_id, session_id=session_id, key=key
            )
        )

    @override
    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        return await self._reader.run(
            partial(_pages.groups, cursor=cursor, limit=limit), Urgency.BULK
        )

    @override
    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        return await self._reader.run(
            partial(_pages.runners, group_id=group_id, cursor=cursor, limit=limit), Urgency.BULK
        )

    @override
    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        return await self._reader.run(
            partial(_pages.events, group_id=group_id, after=after, limit=limit), Urgency.BULK
        )

    @override
    async def census(self) -> Census:
        return await self._reader.run(_pages.census, Urgency.BULK)

    @override
    async def prune(self, limit: int = 1000) -> int:
        return await self._writer.run(partial(_prune.prune, limit=limit), Urgency.BULK)

    @override
    async def ready(self) -> None:
        def work(transaction: Transaction) -> None:
            self._check_file()
            check(transaction.connection, self._path)

        # On the writing connection: a store that cannot write is not ready.
        await self._writer.run(work)

    # Jobs.

    @override
    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        return await self._writer.run(
            partial(
                _jobs.enqueue,
                group_id=group_id,
                spec=spec,
                job_id=job_id,
                idempotency_key=idempotency_key,
            )
        )

    @override
    async def claim(
        self,
        runner_id: str,
        session_id: str,
        *,
        claim_id: str,
        epoch: int | None,
        limit: int,
        tokens: Sequence[str],
    ) -> Claimed:
        return await self._writer.run(
            partial(
                _claims.claim,
                runner_id=runner_id,
                session_id=session_id,
                claim_id=claim_id,
                epoch=epoch,
                limit=limit,
                tokens=tuple(tokens),
            )
        )

    @override
    async def settle(self, settles: Sequence[Settle]) -> list[Job | ElectionError]:
        return await self._writer.run(partial(_jobs.settle, settles=tuple(settles)))

    @override
    async def cancel(self, job_id: str) -> Job:
        return await self._writer.run(partial(_jobs.cancel, job_id=job_id))

    @override
    async def job(self, job_id: str) -> Job:
        return await self._reader.run(partial(_jobs.find_job, job_id=job_id))

    @override
    async def jobs(
        self,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        return await self._reader.run(
            partial(_pages.jobs, group_id=group_id, state=state, cursor=cursor, limit=limit),
            Urgency.BULK,
        )

    @override
    async def job_counts(self) -> dict[str, int]:
        return await self._reader.run(_pages.job_counts, Urgency.BULK)

    # Tokens.

    @override
    async def add_token(self, token: StoredToken, *, ttl: timedelta | None) -> Token:
        return await self._writer.run(partial(_tokens.add_token, stored=token, ttl=ttl))

    @override
    async def find_token(self, digest: bytes) -> Token | None:
        return await self._reader.run(partial(_tokens.find_token, digest=digest))

    @override
    async def tokens(self, *, cursor: str | None = None, limit: int = 100) -> Page[Token]:
        return await self._reader.run(
            partial(_tokens.tokens, cursor=cursor, limit=limit), Urgency.BULK
        )

    @override
    async def revoke_token(self, token_id: str) -> None:
        await self._writer.run(partial(_tokens.revoke_token, token_id=token_id))
