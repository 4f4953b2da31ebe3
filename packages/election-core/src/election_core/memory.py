"""A store in memory: the reference that every adapter has to agree with.

It keeps nothing beyond its process. Each method runs without an await, so it is atomic and cannot
be cancelled half way; the rules are the core's own, so what it does is what they say.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import attrs
from attrs import evolve, field, frozen

from election_core._changes import Changes, EndedSession, Live, TermLease
from election_core._errors import (
    Conflict,
    ConflictError,
    CursorExpired,
    Invalid,
    NotFound,
    SessionEnded,
)
from election_core._events import Event
from election_core._jobs import (
    Claim,
    Claimed,
    ClaimedJob,
    Job,
    JobRecord,
    JobSpec,
    JobState,
    Settlement,
    cancel_job,
    check_claim,
    check_settlement,
    claim_job,
    claimable,
    enqueue_job,
    lapse_job,
    orphan_job,
    repeats,
    settle_job,
)
from election_core._plan import reincarnate
from election_core._state import Group, Mark, Runner, Session, Snapshot, refresh_mark
from election_core._states import Ended, SessionCall, SessionState, refuse, session_state
from election_core._views import GroupInfo, Page, Pulse, RunnerInfo, Token, group_info, runner_info
from election_core.ports import Beat, Beaten, Census, Committed, Due, Enqueued, StoredToken

__all__ = ["MemoryStore"]


@frozen
class _Row:
    """A group as it is kept."""

    group: Group
    revision: int
    commit_id: str


def _wall_clock() -> Callable[[], datetime]:
    """The wall clock at the time of the call, counting on with elapsed time."""
    began, start = datetime.now(UTC), time.monotonic()
    return lambda: began + timedelta(seconds=time.monotonic() - start)


@attrs.define(kw_only=True)
class MemoryStore:
    """Groups, jobs and tokens in this process's memory."""

    clock: Callable[[], datetime] = field(factory=_wall_clock)
    """What tells the time; the store never lets it go back."""
    _now: datetime = field(default=datetime.min.replace(tzinfo=UTC), init=False)
    _mark: Mark | None = field(default=None, init=False)
    _lost: bool = field(default=False, init=False)
    _groups: dict[str, _Row] = field(factory=dict, init=False)
    _runners: dict[str, Runner] = field(factory=dict, init=False)
    _ended: dict[str, EndedSession] = field(factory=dict, init=False)
    _events: list[Event] = field(factory=list, init=False)
    _last_event: int = field(default=0, init=False)
    _pruned_to: dict[str, int] = field(factory=dict, init=False)
    _jobs: dict[str, JobRecord] = field(factory=dict, init=False)
    _last_job: int = field(default=0, init=False)
    _tokens: dict[str, StoredToken] = field(factory=dict, init=False)

    # Time.

    def _at(self) -> datetime:
        self._now = max(self._now, self.clock())
        return self._now

    def lose_commits(self) -> None:
        """Make the next mark find that the store may have lost its newest commits."""
        self._lost = True

    async def mark(self, tick: timedelta) -> Mark:
        """See [`Store`][election_core.ports.Store]."""
        at = self._at()
        if self._lost:
            self._lost = False
            self._reincarnate(at)
        self._mark = refresh_mark(self._mark, at, tick)
        return self._mark

    def _reincarnate(self, at: datetime) -> None:
        longest = max(
            (row.group.settings.lease for row in self._groups.values()), default=timedelta()
        )
        sessions = (runner.session for runner in self._runners.values())
        ends = max((s.lease_expires_at for s in sessions if s is not None), default=at)
        not_before = max(at + longest, ends)
        for group_id in self._groups:
            snapshot = self._snapshot(group_id, at)
            self._write(reincarnate(snapshot, not_before), snapshot.revision + 1, "", at)

    # Groups.

    async def load(self, group_id: str) -> Snapshot:
        """See [`Store`][election_core.ports.Store]."""
        return self._snapshot(group_id, self._at())

    def _snapshot(self, group_id: str, at: datetime) -> Snapshot:
        row = self._row(group_id)
        return Snapshot(
            at=at,
            revision=row.revision,
            group=row.group,
            runners=tuple(self._members(group_id)),
            mark=self._mark or Mark(at=at),
        )

    def _row(self, group_id: str) -> _Row:
        row = self._groups.get(group_id)
        if row is None:
            raise NotFound(f"no group {group_id!r}")
        return row

    def _living(self, group_id: str) -> Group:
        group = self._row(group_id).group
        if group.deleted_at is not None:
            raise NotFound(f"no group {group_id!r}")
        return group

    def _members(self, group_id: str) -> list[Runner]:
        return sorted(
            (runner for runner in self._runners.values() if runner.group_id == group_id),
            key=lambda runner: (runner.created_at, runner.id),
        )

    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        """See [`Store`][election_core.ports.Store]."""
        at = self._at()
        row = self._groups.get(changes.group.id)
        if row is not None and row.commit_id == commit_id:
            return Committed(revision=row.revision, at=at)
        revision = 0 if row is None else row.revision
        if revision != expected_revision:
            raise Conflict(f"group {changes.group.id!r} is at revision {revision}")
        self._check_expectations(changes, at)
        self._write(changes, revision + 1, commit_id, at)
        return Committed(revision=revision + 1, at=at)

    def _check_expectations(self, changes: Changes, at: datetime) -> None:
        opened = {runner.id: runner.session for runner in changes.runners if runner.session}
        for expected in changes.expects:
            runner = self._runners.get(expected.runner_id)
            session = None if runner is None else runner.session
            match expected:
                case TermLease():
                    if (
                        session is None
                        or session.id != expected.session_id
                        or session.term_expires_at != expected.expires_at
                    ):
                        raise Conflict("the leader renewed its lease meanwhile")
                case Live():
                    new = opened.get(expected.runner_id)
                    if new is not None and (session is None or session.id != new.id):
                        session = new
                    if (
                        session is None
                        or session.id != expected.session_id
                        or session.lease_expires_at <= at
                        or not session.ready
                    ):
                        raise Conflict("the elected runner is not live and ready any more")

    def _write(self, changes: Changes, revision: int, commit_id: str, at: datetime) -> None:
        for runner in changes.runners:
            self._runners[runner.id] = self._merged(runner, changes)
        for runner_id in changes.deleted:
            self._runners.pop(runner_id, None)
        self._groups[changes.group.id] = _Row(changes.group, revision, commit_id)
        for ended in changes.ended_sessions:
            self._ended[ended.session_id] = ended
        self._end_claims(changes, at)
        if changes.group.deleted_at is not None:
            group_id = changes.group.id
            self._jobs = {k: r for k, r in self._jobs.items() if r.job.group_id != group_id}
            self._tokens = {k: t for k, t in self._tokens.items() if t.token.group_id != group_id}
        for event in changes.events:
            self._last_event += 1
            self._events.append(evolve(event, id=self._last_event))

    def _merged(self, runner: Runner, changes: Changes) -> Runner:
        """A runner to write, with what renewals own as the row has it."""
        old = self._runners.get(runner.id)
        new = runner.session
        if new is None or old is None or old.session is None or old.session.id != new.id:
            return runner
        row = old.session
        session: Session = evolve(row, held_epoch=new.held_epoch, step_down_at=new.step_down_at)
        if runner.id in changes.granted:
            session = evolve(session, term_expires_at=row.lease_expires_at)
        elif new.held_epoch is None:
            session = evolve(session, term_expires_at=None)
        if runner.id in changes.roused:
            session = evolve(session, standing_version=row.standing_version + 1)
        return evolve(runner, session=session)

    def _end_claims(self, changes: Changes, at: datetime) -> None:
        terms = {term.epoch: term.handed_back for term in changes.ended_terms}
        sessions = {ended.session_id: ended.how for ended in changes.ended_sessions}
        for job_id, record in self._jobs.items():
            job, claim = record.job, record.claim
            if job.group_id != changes.group.id or job.state.finished:
                continue
            if job.runner_id in changes.deleted:
                self._jobs[job_id] = orphan_job(record, at)
            elif job.state is not JobState.RUNNING or claim is None:
                continue
            elif claim.epoch in terms:
                self._jobs[job_id] = lapse_job(record, at, handed_back=terms[claim.epoch])
            elif claim.epoch is None and claim.session_id in sessions:
                left = sessions[claim.session_id] is Ended.LEFT
                self._jobs[job_id] = lapse_job(record, at, handed_back=left)

    # Sessions.

    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        """See [`Store`][election_core.ports.Store]."""
        at = self._at()
        return [self._beat(beat, at) for beat in beats]

    def _beat(self, beat: Beat, at: datetime) -> Beaten:
        runner = self._runners.get(beat.runner_id)
        session = None if runner is None else runner.session
        if runner is None or session is None or session.id != beat.session_id:
            return self._how_it_ended(beat.runner_id, beat.session_id)
        row = self._groups[runner.group_id]
        margin = session.lease_expires_at - at
        if beat.seq is not None and beat.seq < session.seq:
            return self._pulse(runner, session, row.group, at, margin=margin)
        ready = session.ready if beat.ready is None else beat.ready
        revived = session_state(session, at) is SessionState.LAPSED
        ends = at + row.group.settings.lease
        term_ends = session.term_expires_at
        if term_ends is not None and (session.step_down_at is None or at < session.step_down_at):
            term_ends = max(term_ends, ends)
        fresh = revived or (ready and not session.ready)
        due = revived or ready != session.ready
        session = evolve(
            session,
            seq=session.seq if beat.seq is None else beat.seq,
            ready=ready,
            lease_expires_at=max(session.lease_expires_at, ends),
            term_expires_at=term_ends,
            healthy_since=at if fresh else session.healthy_since,
        )
        self._runners[runner.id] = evolve(runner, session=session)
        if due:
            # The revision rises, or a commit that had not seen this would write over the due time.
            self._groups[runner.group_id] = evolve(
                row, revision=row.revision + 1, group=evolve(row.group, look_again_at=at)
            )
        return self._pulse(runner, session, row.group, at, margin=margin, due=due)

    async def pulse(self, runner_id: str, session_id: str) -> Beaten:
        """See [`Store`][election_core.ports.Store]."""
        runner = self._runners.get(runner_id)
        session = None if runner is None else runner.session
        if runner is None or session is None or session.id != session_id:
            return self._how_it_ended(runner_id, session_id)
        return self._pulse(runner, session, self._groups[runner.group_id].group, self._at())

    def _how_it_ended(self, runner_id: str, session_id: str) -> EndedSession | None:
        ended = self._ended.get(session_id)
        return ended if ended is not None and ended.runner_id == runner_id else None

    def _pulse(
        self,
        runner: Runner,
        session: Session,
        group: Group,
        at: datetime,
        *,
        margin: timedelta | None = None,
        due: bool = False,
    ) -> Pulse:
        leader = self._term_expires_at(group)
        return Pulse(
            runner_id=runner.id,
            session_id=session.id,
            group_id=group.id,
            at=at,
            lease_expires_at=session.lease_expires_at,
            held_epoch=session.held_epoch,
            term_expires_at=session.term_expires_at,
            step_down_at=session.step_down_at,
            standing_version=session.standing_version,
            cancel=tuple(
                record.job.id
                for record in sorted(self._jobs.values(), key=lambda record: record.seq)
                if record.job.state is JobState.RUNNING
                and record.job.cancel_requested
                and record.claim is not None
                and record.claim.session_id == session.id
            ),
            group_epoch=group.epoch,
            leader_runner_id=group.term.runner_id
            if group.term is not None and leader is not None and leader > at
            else None,
            heartbeat=group.settings.heartbeat_interval,
            margin=margin,
            due=due,
        )

    def _term_expires_at(self, group: Group) -> datetime | None:
        holder = None if group.term is None else self._runners.get(group.term.runner_id)
        return None if holder is None or holder.session is None else holder.session.term_expires_at

    async def ended_session(
        self, runner_id: str, *, session_id: str | None = None, key: str | None = None
    ) -> EndedSession | None:
        """See [`Store`][election_core.ports.Store]."""
        for ended in reversed(self._ended.values()):
            if ended.runner_id == runner_id and (
                ended.session_id == session_id or (key is not None and ended.key == key)
            ):
                return ended
        return None

    async def due(self, limit: int) -> Due:
        """See [`Store`][election_core.ports.Store]."""
        at = self._at()
        found: list[tuple[datetime, str]] = []
        coming: list[datetime] = []
        for row in self._groups.values():
            group = row.group
            if group.deleted_at is not None:
                continue
            times = [] if group.look_again_at is None else [group.look_again_at]
            ends = self._term_expires_at(group)
            if ends is not None and (group.decided_at is None or group.decided_at < ends):
                times.append(ends)
            if times:
                first = min(times)
                if first <= at:
                    found.append((first, group.id))
                else:
                    coming.append(first)
        found.sort()
        return Due(
            group_ids=tuple(group_id for _, group_id in found[:limit]),
            next_at=min(coming, default=None),
            at=at,
        )

    # Lookups and pages.

    async def find_runner(self, runner_id: str) -> RunnerInfo:
        """See [`Store`][election_core.ports.Store]."""
        runner = self._runners.get(runner_id)
        if runner is None:
            raise NotFound(f"no runner {runner_id!r}")
        return runner_info(runner, self._at())

    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        """See [`Store`][election_core.ports.Store]."""
        at = self._at()
        after = _read_cursor(cursor)
        rows = [
            self._groups[key].group
            for key in sorted(self._groups)
            if self._groups[key].group.deleted_at is None and (after is None or key > after)
        ]
        page = rows[:limit]
        return Page(
            items=tuple(group_info(group, self._term_expires_at(group), at) for group in page),
            next_cursor=_cursor(page[-1].id) if len(rows) > limit else None,
        )

    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        """See [`Store`][election_core.ports.Store]."""
        at = self._at()
        self._living(group_id)
        after = _read_cursor(cursor)
        rows = [
            (f"{runner.created_at.isoformat(timespec='microseconds')} {runner.id}", runner)
            for runner in self._members(group_id)
        ]
        rows = [row for row in rows if after is None or row[0] > after]
        page = rows[:limit]
        return Page(
            items=tuple(runner_info(runner, at) for _, runner in page),
            next_cursor=_cursor(page[-1][0]) if len(rows) > limit else None,
        )

    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        """See [`Store`][election_core.ports.Store]."""
        pruned = (
            max(self._pruned_to.values(), default=0)
            if group_id is None
            else self._pruned_to.get(group_id, 0)
        )
        if after is not None and after < pruned:
            raise CursorExpired("events behind this one have been pruned; start again without it")
        return [
            event
            for event in self._events
            if (after is None or event.id > after) and group_id in (None, event.group_id)
        ][:limit]

    async def census(self) -> Census:
        """See [`Store`][election_core.ports.Store]."""
        at = self._at()
        groups = [row.group for row in self._groups.values() if row.group.deleted_at is None]
        ends = [self._term_expires_at(group) for group in groups]
        return Census(
            groups=len(groups),
            led=sum(end is not None and end > at for end in ends),
            runners=len(self._runners),
            live_sessions=sum(
                runner.session is not None
                and session_state(runner.session, at) is SessionState.LIVE
                for runner in self._runners.values()
            ),
        )

    async def prune(self, limit: int = 1000) -> int:
        """See [`Store`][election_core.ports.Store]."""
        at = self._at()

        def over(group_id: str, since: datetime) -> bool:
            row = self._groups.get(group_id)
            kept = timedelta(days=7) if row is None else row.group.settings.retention
            return since + kept <= at

        jobs = [
            key
            for key, record in self._jobs.items()
            if record.job.finished_at is not None
            and over(record.job.group_id, record.job.finished_at)
        ][:limit]
        for key in jobs:
            del self._jobs[key]
        events = [event for event in self._events if over(event.group_id, event.at)][:limit]
        if events:
            gone = {event.id for event in events}
            self._pruned_to |= {event.group_id: event.id for event in events}
            self._events = [event for event in self._events if event.id not in gone]
        week = timedelta(days=7)
        sessions = [key for key, ended in self._ended.items() if ended.at + week <= at][:limit]
        for key in sessions:
            del self._ended[key]
        day = timedelta(days=1)
        tokens = [
            key
            for key, kept in self._tokens.items()
            if kept.token.expires_at is not None and kept.token.expires_at + day <= at
        ][:limit]
        for key in tokens:
            del self._tokens[key]
        return len(jobs) + len(events) + len(sessions) + len(tokens)

    async def ready(self) -> None:
        """See [`Store`][election_core.ports.Store]."""

    # Jobs.

    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        """See [`JobStore`][election_core.ports.JobStore]."""
        at = self._at()
        self._living(group_id)
        new = enqueue_job(
            spec, job_id=job_id, group_id=group_id, at=at, idempotency_key=idempotency_key
        )
        if idempotency_key is not None:
            for record in self._jobs.values():
                if (record.job.group_id, record.idempotency_key) == (group_id, idempotency_key):
                    if record.fingerprint != new.fingerprint:
                        raise ConflictError("this Idempotency-Key was used for another job")
                    return Enqueued(job=record.job, created=False)
        if spec.runner_id is not None:
            runner = self._runners.get(spec.runner_id)
            if runner is None or runner.group_id != group_id:
                raise NotFound(f"no runner {spec.runner_id!r} in group {group_id!r}")
        self._last_job += 1
        self._jobs[job_id] = evolve(new, seq=self._last_job)
        return Enqueued(job=new.job, created=True)

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
        """See [`JobStore`][election_core.ports.JobStore]."""
        at = self._at()
        runner = self._runners.get(runner_id)
        session = None if runner is None else runner.session
        if runner is None or session is None or session.id != session_id:
            ended = self._how_it_ended(runner_id, session_id)
            if runner is None and ended is None:
                raise NotFound(f"no runner {runner_id!r}")
            refuse(None if ended is None else SessionState(ended.how.value), SessionCall.CLAIM)
            raise SessionEnded
        mine = sorted(
            (r for r in self._jobs.values() if r.job.group_id == runner.group_id),
            key=lambda r: (-r.job.priority, r.seq),
        )
        known = [
            r
            for r in mine
            if r.claim is not None
            and (r.claim.session_id, r.claim.claim_id) == (session_id, claim_id)
        ]
        if known:
            return Claimed(items=tuple(_handed_out(r) for r in known), at=at)
        check_claim(self._groups[runner.group_id].group, runner, session, epoch, at)
        leads = epoch is not None
        free = [r for r in mine if claimable(r.job, runner_id=runner_id, leads=leads, at=at)]
        taken = []
        for record, token in zip(free[:limit], tokens, strict=False):
            claim = Claim(
                token=token,
                claim_id=claim_id,
                runner_id=runner_id,
                session_id=session_id,
                epoch=epoch,
            )
            taken.append(claim_job(record, claim, at))
            self._jobs[record.job.id] = taken[-1]
        later = [
            r.job.available_at
            for r in mine
            if r.job.available_at > at
            and claimable(r.job, runner_id=runner_id, leads=leads, at=r.job.available_at)
        ]
        return Claimed(
            items=tuple(_handed_out(r) for r in taken),
            next_at=None if taken else min(later, default=None),
            at=at,
        )

    def _record(self, job_id: str) -> JobRecord:
        record = self._jobs.get(job_id)
        if record is None:
            raise NotFound(f"no job {job_id!r}")
        return record

    async def settle(self, job_id: str, token: str, settlement: Settlement) -> Job:
        """See [`JobStore`][election_core.ports.JobStore]."""
        at = self._at()
        record = self._record(job_id)
        if repeats(record, token, settlement.outcome):
            return record.job
        group = self._groups[record.job.group_id].group
        claimant = None if record.claim is None else self._runners.get(record.claim.runner_id)
        check_settlement(record, token, group, claimant, at)
        backoff = group.settings.retry_backoff
        self._jobs[job_id] = settle_job(record, settlement, at=at, backoff=backoff)
        return self._jobs[job_id].job

    async def cancel(self, job_id: str) -> Job:
        """See [`JobStore`][election_core.ports.JobStore]."""
        record = self._record(job_id)
        cancelled = cancel_job(record, self._at())
        self._jobs[job_id] = cancelled
        asked = cancelled.job.cancel_requested and not record.job.cancel_requested
        claim = record.claim
        if asked and record.job.state is JobState.RUNNING and claim is not None:
            holder = self._runners.get(claim.runner_id)
            session = None if holder is None else holder.session
            if holder is not None and session is not None and session.id == claim.session_id:
                version = session.standing_version + 1
                session = evolve(session, standing_version=version)
                self._runners[holder.id] = evolve(holder, session=session)
        return cancelled.job

    async def job(self, job_id: str) -> Job:
        """See [`JobStore`][election_core.ports.JobStore]."""
        return self._record(job_id).job

    async def jobs(
        self,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        """See [`JobStore`][election_core.ports.JobStore]."""
        self._living(group_id)
        after = _read_number(cursor)
        rows = sorted(
            (
                r
                for r in self._jobs.values()
                if r.job.group_id == group_id
                and state in (None, r.job.state)
                and (after is None or r.seq > after)
            ),
            key=lambda r: r.seq,
        )
        page = rows[:limit]
        return Page(
            items=tuple(r.job for r in page),
            next_cursor=_cursor(str(page[-1].seq)) if len(rows) > limit else None,
        )

    async def job_counts(self) -> dict[str, int]:
        """See [`JobStore`][election_core.ports.JobStore]."""
        counts: dict[str, int] = {}
        for record in self._jobs.values():
            counts[record.job.state] = counts.get(record.job.state, 0) + 1
        return {str(state): count for state, count in counts.items()}

    # Tokens.

    async def add_token(self, token: StoredToken, *, ttl: timedelta | None) -> Token:
        """See [`AccessStore`][election_core.ports.AccessStore]."""
        at = self._at()
        kept = token.token
        if kept.group_id is not None:
            self._living(kept.group_id)
        if kept.runner_id is not None and kept.runner_id not in self._runners:
            raise NotFound(f"no runner {kept.runner_id!r}")
        kept = evolve(kept, created_at=at, expires_at=None if ttl is None else at + ttl)
        self._tokens[kept.id] = evolve(token, token=kept)
        return kept

    async def find_token(self, digest: bytes) -> Token | None:
        """See [`AccessStore`][election_core.ports.AccessStore]."""
        at = self._at()
        for kept in self._tokens.values():
            if kept.digest == digest:
                expires = kept.token.expires_at
                return kept.token if expires is None or expires > at else None
        return None

    async def tokens(self, *, cursor: str | None = None, limit: int = 100) -> Page[Token]:
        """See [`AccessStore`][election_core.ports.AccessStore]."""
        after = _read_cursor(cursor)
        keys = [key for key in sorted(self._tokens) if after is None or key > after]
        page = keys[:limit]
        return Page(
            items=tuple(self._tokens[key].token for key in page),
            next_cursor=_cursor(page[-1]) if len(keys) > limit else None,
        )

    async def revoke_token(self, token_id: str) -> None:
        """See [`AccessStore`][election_core.ports.AccessStore]."""
        if self._tokens.pop(token_id, None) is None:
            raise NotFound(f"no token {token_id!r}")


def _handed_out(record: JobRecord) -> ClaimedJob:
    return ClaimedJob(
        job=record.job, claim_token="" if record.claim is None else record.claim.token
    )


def _cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        raise Invalid("cursor: not one that was given out", field="cursor") from None


def _read_number(cursor: str | None) -> int | None:
    key = _read_cursor(cursor)
    if key is None:
        return None
    if not key.isascii() or not key.isdigit():
        raise Invalid("cursor: not one that was given out", field="cursor")
    return int(key)
