"""Stores that renew wrongly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta

import anyio
import anyio.lowlevel
from attrs import evolve
from typing_extensions import override

from election_core import Changes, Invalid, Pulse, Session
from election_core.memory import SharedMemoryStore
from election_core.ports import Beat, Beaten, Committed
from election_testkit import StoreConformance as Cases
from wrong_stores import turns_red

Renewed = tuple[timedelta, bool] | None


class _Rewrites(SharedMemoryStore):
    """Writes something else than it should of a session that is renewed."""

    @override
    def _renew(self, beat: Beat, at: datetime) -> Renewed:
        before = self._runners.get(beat.runner_id)
        answer = super()._renew(beat, at)
        after = self._runners.get(beat.runner_id)
        if answer is not None and before is not None and after is not None:
            assert before.session is not None
            assert after.session is not None
            lease = self._groups[after.group_id].group.settings.lease
            session = self.rewritten(before.session, after.session, at + lease)
            self._runners[after.id] = evolve(after, session=session)
        return answer

    def rewritten(self, before: Session, after: Session, ends: datetime) -> Session:
        """The session that is written for the one that was and the one that should be."""
        raise NotImplementedError


@turns_red(Cases.test_renewal_moves_both_leases)
class RenewsTheSessionAlone(_Rewrites):
    """Leaves the lease of the term to commits."""

    @override
    def rewritten(self, before: Session, after: Session, ends: datetime) -> Session:
        return evolve(after, term_expires_at=before.term_expires_at)


@turns_red(Cases.test_renewal_shortens_no_lease)
class ShortensLeases(_Rewrites):
    """Sets each lease to now and the group's lease, whatever was told before."""

    @override
    def rewritten(self, before: Session, after: Session, ends: datetime) -> Session:
        term = None if after.term_expires_at is None else ends
        return evolve(after, lease_expires_at=ends, term_expires_at=term)


@turns_red(Cases.test_handover_deadline_ends_the_extension)
class ExtendsPastTheDeadline(_Rewrites):
    """Renews the term with the session, for as long as it is held."""

    @override
    def rewritten(self, before: Session, after: Session, ends: datetime) -> Session:
        held = after.held_epoch is not None
        return evolve(after, term_expires_at=after.lease_expires_at if held else None)


@turns_red(Cases.test_revival_resumes_the_term, Cases.test_change_of_readiness_makes_the_group_due)
class ForgetsTheBreak(_Rewrites):
    """Dates the health of a session from its opening, whatever came between."""

    @override
    def rewritten(self, before: Session, after: Session, ends: datetime) -> Session:
        return evolve(after, healthy_since=before.healthy_since)


@turns_red(Cases.test_renewal_takes_no_part_in_compare_and_set)
class RaisesTheRevisionAlways(SharedMemoryStore):
    """Raises the revision of the group with each renewal."""

    @override
    def _renew(self, beat: Beat, at: datetime) -> Renewed:
        answer = super()._renew(beat, at)
        runner = self._runners.get(beat.runner_id)
        if runner is not None:
            row = self._groups[runner.group_id]
            self._groups[runner.group_id] = evolve(row, revision=row.revision + 1)
        return answer


@turns_red(Cases.test_slow_renewal_does_not_extend_trust)
class DatesItsAnswer(SharedMemoryStore):
    """Tells a whole lease from the time of the answer on, however long ago the write was."""

    @override
    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        answers = await super().beat(beats)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        at = self._at()
        return [
            evolve(answer, at=at, lease_expires_at=at + (answer.lease_expires_at - answer.at))
            if isinstance(answer, Pulse)
            else answer
            for answer in answers
        ]


@turns_red(Cases.test_older_renewal_changes_nothing, Cases.test_older_renewal_revives_nobody)
class IgnoresNumbers(SharedMemoryStore):
    """Takes renewals in the order in which they arrive."""

    @override
    def _renew(self, beat: Beat, at: datetime) -> Renewed:
        runner = self._runners.get(beat.runner_id)
        session = None if runner is None else runner.session
        if session is not None and beat.seq is not None:
            beat = evolve(beat, seq=max(beat.seq, session.seq))
        return super()._renew(beat, at)


@turns_red(
    Cases.test_revival_makes_the_group_due, Cases.test_change_of_readiness_makes_the_group_due
)
class RevivesQuietly(SharedMemoryStore):
    """Says that a group is due, and does not write it."""

    @override
    def _renew(self, beat: Beat, at: datetime) -> Renewed:
        groups = dict(self._groups)
        answer = super()._renew(beat, at)
        self._groups = groups
        return answer


@turns_red(Cases.test_who_leads_is_told_while_its_lease_lasts)
class NamesWhoHoldsTheTerm(SharedMemoryStore):
    """Tells who was elected, live or not."""

    @override
    async def pulse(self, runner_id: str, session_id: str) -> Beaten:
        pulse = await super().pulse(runner_id, session_id)
        if isinstance(pulse, Pulse):
            term = self._groups[pulse.group_id].group.term
            pulse = evolve(pulse, leader_runner_id=None if term is None else term.runner_id)
        return pulse


@turns_red(Cases.test_pulse_renews_nothing)
class RenewsWithEachLook(SharedMemoryStore):
    """Takes a look at a session for a sign of life."""

    @override
    async def pulse(self, runner_id: str, session_id: str) -> Beaten:
        (answer,) = await self.beat([Beat(runner_id=runner_id, session_id=session_id)])
        return evolve(answer, margin=None, due=False) if isinstance(answer, Pulse) else answer


# Batches.


@turns_red(Cases.test_answers_are_in_the_order_of_the_beats)
class AnswersInTheOrderOfIds(SharedMemoryStore):
    """Answers in the order in which it locks its rows."""

    @override
    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        return await super().beat(sorted(beats, key=lambda beat: beat.runner_id))


@turns_red(Cases.test_no_beats_are_no_error)
class NeedsOneBeat(SharedMemoryStore):
    """Puts a statement together that has no rows to insert."""

    @override
    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        if not beats:
            raise Invalid("a syntax error near the end")
        return await super().beat(beats)


@turns_red(Cases.test_each_answer_tells_what_the_whole_call_leaves)
class AnswersOneByOne(SharedMemoryStore):
    """Renews and answers, one beat after the other."""

    @override
    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        return [
            answer for beat in beats for answer in await super(AnswersOneByOne, self).beat([beat])
        ]


@turns_red(
    Cases.test_only_the_own_session_is_renewed,
    Cases.test_superseded_session_loses_everything,
)
class RenewsByRunner(SharedMemoryStore):
    """Finds the row to renew by the runner alone."""

    @override
    def _renew(self, beat: Beat, at: datetime) -> Renewed:
        runner = self._runners.get(beat.runner_id)
        if runner is not None and runner.session is not None:
            beat = evolve(beat, session_id=runner.session.id)
        return super()._renew(beat, at)


@turns_red(Cases.test_batches_and_commits_do_not_lock_each_other_out, hangs=True)
class LocksInTheOrderOfTheBeats(SharedMemoryStore):
    """Locks one row after the other, in the order in which they were given."""

    @override
    async def beat(self, beats: Sequence[Beat]) -> list[Beaten]:
        async with AsyncExitStack() as locks:
            for beat in beats:
                await locks.enter_async_context(self._lock(beat.runner_id))
                await anyio.lowlevel.checkpoint()
            return await super().beat(beats)

    @override
    async def commit(
        self, changes: Changes, *, expected_revision: int, commit_id: str
    ) -> Committed:
        async with AsyncExitStack() as locks:
            for runner in changes.runners:
                await locks.enter_async_context(self._lock(runner.id))
            return await super().commit(
                changes, expected_revision=expected_revision, commit_id=commit_id
            )

    def _lock(self, runner_id: str) -> anyio.Lock:
        locks: defaultdict[str, anyio.Lock] = self.__dict__.setdefault(
            "locks", defaultdict(anyio.Lock)
        )
        return locks[runner_id]
