"""The storage port: what a store promises to the engine.

Three protocols that one object implements. Every method is atomic: it takes effect wholly or not at
all, also when its caller is cancelled, and a cancelled call leaves no transaction and no lock
behind. All times that a store reads or writes are its own (see
[`load`][election_core.ports.Store.load]); it never takes one from a caller's clock. Errors are part
of the contract: every method may raise [`Unavailable`][election_core.Unavailable] (nothing took
effect), and every writing method [`OutcomeUnknown`][election_core.OutcomeUnknown] (it may have); a
driver's own errors never escape.

Writers are serial per group: a method that writes anything of a group sees all that was committed
to it before and nothing that was not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from attrs import frozen

from election_core._changes import Changes, EndedSession
from election_core._errors import ElectionError, Unavailable
from election_core._events import Event
from election_core._jobs import Claimed, Job, JobSpec, JobState, Settlement
from election_core._state import Mark, Snapshot
from election_core._views import GroupInfo, Page, Pulse, RunnerInfo, Token

__all__ = [
    "AccessStore",
    "Beat",
    "Beaten",
    "Census",
    "Committed",
    "Due",
    "Enqueued",
    "JobStore",
    "Settle",
    "SharedStore",
    "Store",
    "StoredToken",
    "Topic",
]


@frozen(kw_only=True)
class Beat:
    """One renewal."""

    runner_id: str
    session_id: str
    seq: int | None = None
    """A renewal with a lower one than the session's last changes nothing; `None` always counts."""
    ready: bool | None = None
    """`None` leaves readiness as it is."""


Beaten = Pulse | EndedSession | Unavailable | None
"""The answer to a renewal: the session's pulse; how it ended; or that it was never heard of.

Or that this one had no effect, because somebody else had its session for too long: what is wrong
with one renewal is no answer to the others.
"""


@frozen(kw_only=True)
class Committed:
    """What a commit was given."""

    revision: int
    at: datetime
    """The store's time of the commit."""


@frozen(kw_only=True)
class Due:
    """Which groups to decide now."""

    group_ids: tuple[str, ...]
    next_at: datetime | None
    """When the next one will be due by time alone, if that is known."""
    at: datetime


@frozen(kw_only=True)
class Enqueued:
    """A job, and whether this call made it."""

    job: Job
    created: bool


@frozen(kw_only=True)
class Settle:
    """One settlement."""

    job_id: str
    token: str
    """Of the claim that is settled."""
    settlement: Settlement


Topic: TypeAlias = tuple[Literal["runner", "jobs", "events", "tokens"], str]
"""What there may be news of.

A runner's standing, a group's jobs, a group's history (`*`: all), tokens that were revoked (`*`).
"""


@frozen(kw_only=True)
class StoredToken:
    """A token as it is kept: never its secret."""

    token: Token
    digest: bytes
    """SHA-256 of the secret."""


@frozen(kw_only=True)
class Census:
    """What a store holds, counted at one time."""

    groups: int
    led: int
    """Groups whose term's lease is live."""
    runners: int
    live_sessions: int


class Store(Protocol):
    """Groups, runners, sessions, events and the mark."""

    async def load(self, group_id: str) -> Snapshot:
        """One group with its runners, all read at one point in time.

        `at` is the store's time: it never goes back, across restarts too, and every later call
        sees the same or a later one. The remains of a deleted group are returned, with
        `group.deleted_at` set and no runners. `mark` is the current one, whoever wrote it.

        A store that may have lost commits may have lost whole groups. From then on a group that it
        does not know has remains too, at revision 0: of the highest epoch that a lost one can have
        had, with the barrier of all others.

        Raises:
            NotFound: There was never a group of that id.
        """
        ...

    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        """Write changes if the group's revision is still `expected_revision` (0: it never existed).

        One transaction writes the group, its runners, the history, the end of claims under
        `ended_terms` and `ended_sessions`, and the failing of jobs addressed to `deleted` runners
        (both by [`end_claim`][election_core.end_claim]). A group that is deleted
        (`group.deleted_at`) loses its jobs and tokens in the same transaction. The revision rises
        by one. Of a session that the store has already only what commits own is written
        ([`merge_runner`][election_core.merge_runner]). Under the commit's locks, which renewals of
        the group's runners respect, the store checks every expectation with its time of then,
        `Live` after the writes; [`check_expectations`][election_core.check_expectations] before
        them comes to the same.

        A `commit_id` that is the group's latest is recognised and answered again, not applied
        twice. The caller may therefore repeat a call that raised `OutcomeUnknown`.

        Raises:
            Conflict: The revision is another, or an expectation does not hold. Nothing is written.
        """
        ...

    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        """Renew sessions together; the answers are in the order of the beats.

        Runner ids within a call are distinct; each answer tells of the group what the whole call
        leaves. A renewal at the store's time `t` ([`renew`][election_core.renew]) moves
        `lease_expires_at` to `t` plus the group's lease, never back; it moves `term_expires_at`
        likewise for a session that holds an epoch, unless `t` has reached its `step_down_at`. A
        renewal that revives a lapsed session or turns it ready sets `healthy_since` to `t`; one
        that revives it or changes readiness ([`makes_due`][election_core.makes_due]) makes its
        group due now, in the same transaction. A
        commit whose snapshot had not seen such a renewal must not undo that: it fails with
        `Conflict` (the simplest way: such a renewal raises the revision) or leaves the group due.
        Every other renewal takes no part in compare-and-set and leaves the revision alone.

        Renewals do not wait for each other: one whose session is locked for more than a moment is
        answered with [`Unavailable`][election_core.Unavailable], which is not raised then.
        """
        ...

    async def pulse(self, runner_id: str, session_id: str) -> Beaten:
        """The pulse of a session as it is, renewing nothing."""
        ...

    async def due(self, limit: int, *, hold: timedelta = timedelta()) -> Due:
        """The groups to decide now, at most `limit`, the longest due first.

        A group is due when its `look_again_at` has come, and when its term's lease has run out and
        nothing was decided since (`decided_at` is before the end of the lease); see
        [`due_at`][election_core.due_at].

        Args:
            limit: How many at most; 0 asks for the time alone, and `next_at` need not be known.
            hold: For how long a group that is answered is answered to nobody else, on the store's
                clock; until then at most, and no longer than its revision stays as it is. So
                several electors share the work, and one that dies while it holds a group delays it
                by no more. `next_at` counts a group that is held at the end of its hold.
        """
        ...

    async def mark(self, tick: timedelta) -> Mark:
        """Refresh the mark, by the same path as renewals, and return it.

        If the last refresh is more than three ticks ago an [`Outage`][election_core.Outage] from
        then to now is added. Outages whose grace is over for every possible lease are dropped. The
        first mark of a new store has none.

        A store that finds that it is not the one that wrote the last mark (restored from a backup,
        promoted from a replica) applies [`Reincarnate`][election_core.Reincarnate] to every group,
        remains of deleted ones included, before it answers, with a barrier of the longest lease any
        session has been or could have been given. It may do so when it is opened instead.
        """
        ...

    async def find_runner(self, runner_id: str) -> RunnerInfo:
        """A runner by its id.

        Raises:
            NotFound: There is none.
        """
        ...

    async def ended_session(
        self, runner_id: str, *, session_id: str | None = None, key: str | None = None
    ) -> EndedSession | None:
        """How a session of a runner, or the one that a key opened, ended; also of deleted runners.

        `None` for one that never was, is current, or whose end is older than what is kept.
        """
        ...

    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        """The groups that are not deleted, by id.

        Told as [`group_info`][election_core.group_info] tells them.

        Raises:
            Invalid: The cursor is malformed.
        """
        ...

    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        """The runners of a group, oldest first.

        Raises:
            Invalid: The cursor is malformed.
        """
        ...

    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        """Events by id, of one group or of all, from the one behind `after`.

        Without `after`, all that is kept. Ids rise without gaps that fill later: once an event has
        been seen, none with a lower id appears.

        Raises:
            CursorExpired: Events behind `after` have been pruned, of the group that is asked for.
        """
        ...

    async def census(self) -> Census:
        """How many groups and runners there are, for metrics."""
        ...

    async def prune(self, limit: int = 1000) -> int:
        """Delete what its group's retention no longer keeps; at most `limit` rows of each kind.

        Events, finished jobs, and the records of ended sessions, by their group's retention (a
        deleted group's: by the settings it last had); tokens that expired longer than a day ago.

        Returns:
            How many rows were deleted; 0 when there is nothing left to prune.
        """
        ...

    async def ready(self) -> None:
        """Whether the store answers and its schema matches.

        Raises:
            Unavailable: It does not answer.
            SchemaMismatch: The schema is another version's.
        """
        ...


@runtime_checkable
class JobStore(Protocol):
    """Jobs.

    Every rule is that of `election_core`'s job functions, in one transaction with the check of
    session, epoch and lease.
    """

    async def enqueue(
        self, group_id: str, spec: JobSpec, *, job_id: str, idempotency_key: str | None = None
    ) -> Enqueued:
        """Add a job. The same key with the same job again answers the first one.

        Raises:
            NotFound: The group does not exist, or the addressed runner is not in it.
            ConflictError: The key was used for another job of the group.
            Invalid, PayloadTooLarge: See [`enqueue_job`][election_core.enqueue_job].
        """
        ...

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
        """Claim up to `limit` jobs.

        The group's and those addressed to the runner; without `epoch` the latter alone. Highest
        priority first, then in order of enqueueing.

        In the order of the HTTP contract: the session; a `claim_id` that it has used is answered
        again, with the jobs and tokens of then (one that was pruned since may be left out); then
        [`check_claim`][election_core.check_claim].

        Args:
            runner_id: Who claims.
            session_id: Its session.
            claim_id: The caller's key of this claim.
            epoch: The epoch it leads under.
            limit: How many at most; at least 1.
            tokens: `limit` fresh secrets, one per job.

        Raises:
            NotFound: The runner does not exist, and no session of it is remembered.
            SessionSuperseded, SessionEnded, StaleEpoch, NotLeader, LeaseExpired, SteppingDown: As
                the contract says.
        """
        ...

    async def settle(self, settles: Sequence[Settle]) -> list[Job | ElectionError]:
        """Settle claims together, in one transaction; the answers are in their order.

        Each by [`repeats`][election_core.repeats], then
        [`check_settlement`][election_core.check_settlement], then
        [`settle_job`][election_core.settle_job]. A refusal is the answer to its own settlement, not
        raised, and spoils no other: `NotFound` (there is no such job), `StaleClaim` and
        `LeaseExpired` (the claim is over, or its lease is), `Invalid` and `PayloadTooLarge` (the
        result cannot be kept). Job ids within a call are distinct.
        """
        ...

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job. For a running one its holder's standing version rises, once.

        Raises:
            NotFound: The job does not exist.
        """
        ...

    async def job(self, job_id: str) -> Job:
        """A job by its id.

        Raises:
            NotFound: There is none.
        """
        ...

    async def jobs(
        self,
        group_id: str,
        *,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        """The jobs of a group in order of enqueueing, of one state or of all.

        Raises:
            Invalid: The cursor is malformed.
        """
        ...

    async def job_counts(self) -> dict[str, int]:
        """How many jobs are in each state, over all groups; states without any are left out."""
        ...


class AccessStore(Protocol):
    """Tokens; the control API needs it, embedders do not."""

    async def add_token(self, token: StoredToken, *, ttl: timedelta | None) -> Token:
        """Keep a token; `created_at` and `expires_at` are set from the store's time.

        Raises:
            NotFound: Its group or runner does not exist.
        """
        ...

    async def find_token(self, digest: bytes) -> Token | None:
        """The token of that digest, if there is one that has not expired."""
        ...

    async def tokens(self, *, cursor: str | None = None, limit: int = 100) -> Page[Token]:
        """All tokens, by id.

        Raises:
            Invalid: The cursor is malformed.
        """
        ...

    async def revoke_token(self, token_id: str) -> None:
        """Delete a token.

        Raises:
            NotFound: There is none of that id.
        """
        ...


@runtime_checkable
class SharedStore(Protocol):
    """The one optional capability: a store that other processes may write too.

    Engines on such a store tell each other that there may be news, so that a call that waits on one
    is woken by a change made through another. It is a wake-up and nothing rests on it: an engine
    looks again by itself, so what is lost here costs time alone.
    """

    async def newest_event(self) -> int:
        """The id of the newest event that [`events`][election_core.ports.Store.events] tells.

        0 before the first.
        """
        ...

    async def announce(self, topics: Collection[Topic]) -> None:
        """Tell every other engine on the same store that there may be news of these.

        Best effort. What it tells of has been committed before.
        """
        ...

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[frozenset[Topic] | None]]:
        """What others announce while the block lasts, none of what this object announced.

        `None` says that some announcements may have been missed.

        Raises:
            Unavailable: On entering, or on going on: it cannot listen (any more).
        """
        ...
