"""Jobs: enqueue, claim, settle and cancel, each with its checks in one statement.

The database decides only what is allowed, which is the common case. What is not is judged by the
core's own rules from what is read then; should they find nothing wrong with it any more, because
something came between, the statement is repeated.
"""

# ruff: noqa: S608 - statements are put together from names of columns, never from values

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from attrs import evolve

from election_core import (
    Claimed,
    ClaimedJob,
    ConflictError,
    ElectionError,
    Group,
    Job,
    JobRecord,
    JobSpec,
    JobState,
    NotFound,
    Page,
    Runner,
    SessionCall,
    Unavailable,
    check_claim,
    check_json,
    check_settlement,
    enqueue_job,
    refuse_former,
    repeats,
)
from election_core.ports import Enqueued, Settle
from election_postgres._job_rows import JOB, RECORD, job_of, record_of
from election_postgres._pages import Pages
from election_postgres._renewals import Renewals
from election_postgres._rows import GROUP, RUNNER, columns, group_of, runner_of

__all__ = ["Jobs"]

_ENQUEUE = "SELECT * FROM election.enqueue($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
_CLAIM = "SELECT * FROM election.claim($1, $2, $3, $4, $5, $6, $7)"
_SETTLE = "SELECT * FROM election.settle($1, $2, $3, $4, $5, $6, $7::text[]::boolean[])"
_CANCEL = f"SELECT {columns(JOB, 'j')} FROM election.cancel($1, $2) AS j"
_JOB = f"SELECT {columns(RECORD, 'j')} FROM election.job AS j WHERE j.id = $1"

_GROUP_AND_RUNNER = f"""
(SELECT election.now($1)) AS at, {columns(GROUP, "g")}, NULL::timestamptz AS due_since,
    {columns(RUNNER, "r", "runner_")}
"""
_CLAIMANT = f"""
SELECT {_GROUP_AND_RUNNER}
FROM election.runner AS r JOIN election.runner_group AS g ON g.id = r.group_id WHERE r.id = $2
"""
_SETTLER = f"""
SELECT {columns(RECORD, "j", "job_")}, {_GROUP_AND_RUNNER}
FROM election.job AS j JOIN election.runner_group AS g ON g.id = j.group_id
LEFT JOIN election.runner AS r ON r.id = j.claim_runner_id WHERE j.id = $2
"""
_KNOWN_CLAIM = f"""
SELECT {columns(JOB, "j")}, c.claimed_at, k.token, k.attempts AS then_attempts,
    k.available_at AS then_available_at, k.error AS then_error, c.epoch AS then_epoch
FROM election.claim AS c
CROSS JOIN LATERAL unnest(c.seqs, c.tokens, c.attempts, c.available_ats, c.errors)
    WITH ORDINALITY AS k(seq, token, attempts, available_at, error, place)
JOIN election.job AS j ON j.group_id = c.group_id AND j.seq = k.seq
WHERE c.session_id = $1 AND c.claim_id = $2 ORDER BY k.place
"""
_ATTEMPTS = 5
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands in for the time that the store will write."""


class Jobs(Pages, Renewals):
    """The queue of each group."""

    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        """See [`enqueue`][election_core.ports.JobStore.enqueue]."""
        try:
            new = enqueue_job(
                spec,
                job_id=job_id,
                group_id=group_id,
                at=self._floor.at or _LONG_AGO,
                idempotency_key=idempotency_key,
            )
        except ElectionError:
            await self._check_living(group_id)
            raise
        job = new.job
        rows = await self._write(
            _ENQUEUE,
            self._floor.at,
            group_id,
            job.id,
            job.runner_id,
            job.kind,
            check_json(job.payload, "payload"),
            job.priority,
            job.max_attempts,
            idempotency_key,
            new.fingerprint,
        )
        found = rows[0]
        if found["refused"] == "group":
            raise NotFound(f"no group {group_id!r}")
        if found["refused"] is not None:
            raise NotFound(f"no runner {spec.runner_id!r} in group {group_id!r}")
        if found["created"]:
            at = self._seen(found["at"])
            return Enqueued(job=evolve(job, available_at=at, created_at=at), created=True)
        known = await self._record(found["job_id"])
        if known.fingerprint != new.fingerprint:
            raise ConflictError("this Idempotency-Key was used for another job")
        return Enqueued(job=known.job, created=False)

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
        """See [`claim`][election_core.ports.JobStore.claim]."""
        for _ in range(_ATTEMPTS):
            rows = await self._write(
                _CLAIM,
                self._floor.at,
                runner_id,
                session_id,
                claim_id,
                epoch,
                limit,
                list(tokens),
            )
            at = self._seen(rows[0]["at"])
            match rows[0]["verdict"]:
                case "claimed":
                    items = tuple(
                        ClaimedJob(job=job_of(row), claim_token=row["claim_token"]) for row in rows
                    )
                    return Claimed(items=items, at=at)
                case "none":
                    return Claimed(next_at=rows[0]["next_at"], at=at)
                case "known":
                    return await self._known_claim(session_id, claim_id, runner_id, at)
                case _:
                    await self._refuse_claim(runner_id, session_id, epoch)
        raise Unavailable(f"{self.where}: the group changes too fast to be claimed from; try again")

    async def _known_claim(
        self, session_id: str, claim_id: str, runner_id: str, at: datetime
    ) -> Claimed:
        """What a claim was answered. A job that was pruned meanwhile has long been settled."""
        items = []
        for row in await self._read(_KNOWN_CLAIM, session_id, claim_id):
            job = evolve(
                job_of(row),
                state=JobState.RUNNING,
                attempts=row["then_attempts"],
                available_at=row["then_available_at"],
                started_at=row["claimed_at"],
                finished_at=None,
                claimed_by=runner_id,
                epoch=row["then_epoch"] if row["runner_id"] is None else None,
                cancel_requested=False,
                result=None,
                error=row["then_error"],
            )
            items.append(ClaimedJob(job=job, claim_token=row["token"]))
        return Claimed(items=tuple(items), at=at)

    async def _refuse_claim(self, runner_id: str, session_id: str, epoch: int | None) -> None:
        """Raise why a claim was not allowed; return if it is by now."""
        rows = await self._read(_CLAIMANT, self._floor.at, runner_id)
        runner = runner_of(rows[0], "runner_") if rows else None
        session = None if runner is None else runner.session
        if runner is None or session is None or session.id != session_id:
            ended = await self.ended_session(runner_id, session_id=session_id)
            how = None if ended is None else ended.how
            refuse_former(runner_id, SessionCall.CLAIM, known=runner is not None, how=how)
        check_claim(group_of(rows[0]), runner, session, epoch, self._seen(rows[0]["at"]))

    async def settle(self, settles: Sequence[Settle]) -> list[Job | ElectionError]:
        """See [`settle`][election_core.ports.JobStore.settle]."""
        answers: dict[int, Job | ElectionError] = {}
        results: dict[int, str] = {}
        for place, settle in enumerate(settles):
            try:
                results[place] = check_json(settle.settlement.result, "result")
            except ElectionError as error:
                judged = await self._judge(settle)
                answers[place] = error if judged is None else judged
        # In one order, so that two who settle the same jobs do not wait for each other.
        left = sorted(
            set(range(len(settles))) - set(answers), key=lambda place: settles[place].job_id
        )
        for _ in range(_ATTEMPTS):
            if not left:
                return [answers[place] for place in range(len(settles))]
            answers |= await self._settle(settles, results, left)
            for place in left:
                if place not in answers:
                    judged = await self._judge(settles[place])
                    if judged is not None:
                        answers[place] = judged
            left = [place for place in left if place not in answers]
        raise Unavailable(f"{self.where}: the group changes too fast to be settled in; try again")

    async def _settle(
        self, settles: Sequence[Settle], results: dict[int, str], places: list[int]
    ) -> dict[int, Job]:
        """Settle what stands; the jobs by their places."""
        asked = [settles[place] for place in places]
        rows = await self._write(
            _SETTLE,
            self._floor.at,
            [settle.job_id for settle in asked],
            [settle.token for settle in asked],
            [settle.settlement.outcome.value for settle in asked],
            [results[place] for place in places],
            [settle.settlement.error for settle in asked],
            [str(settle.settlement.retry) for settle in asked],
        )
        place_of = {settles[place].job_id: place for place in places}
        return {place_of[row["id"]]: job_of(row) for row in rows}

    async def _judge(self, settle: Settle) -> Job | ElectionError | None:
        """The answer to a settlement that was not carried out; `None` if it is allowed by now."""
        rows = await self._read(_SETTLER, self._floor.at, settle.job_id)
        try:
            if not rows:
                raise NotFound(f"no job {settle.job_id!r}")
            record = record_of(rows[0])
            if repeats(record, settle.token, settle.settlement.outcome):
                return record.job
            group: Group = group_of(rows[0])
            claimant: Runner | None = None
            if record.claim is not None and rows[0]["runner_id"] is not None:
                claimant = runner_of(rows[0], "runner_")
            check_settlement(record, settle.token, group, claimant, self._seen(rows[0]["at"]))
        except ElectionError as error:
            return error
        return None

    async def cancel(self, job_id: str) -> Job:
        """See [`cancel`][election_core.ports.JobStore.cancel]."""
        rows = await self._write(_CANCEL, self._floor.at, job_id)
        if not rows:
            raise NotFound(f"no job {job_id!r}")
        return job_of(rows[0])

    async def job(self, job_id: str) -> Job:
        """See [`job`][election_core.ports.JobStore.job]."""
        return (await self._record(job_id)).job

    async def _record(self, job_id: str) -> JobRecord:
        rows = await self._read(_JOB, job_id)
        if not rows:
            raise NotFound(f"no job {job_id!r}")
        return record_of(rows[0])

    async def jobs(
        self,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        """See [`jobs`][election_core.ports.JobStore.jobs]."""
        return await self._job_page(group_id, state, cursor, limit)
