"""Stores that give jobs wrongly: twice, to whom they should not, or never again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import anyio
import anyio.lowlevel
from attrs import define, evolve, field, frozen
from typing_extensions import override

from election_core import Claimed, Kind, NotFound, NotLeader, Session, SessionEnded, Term
from election_core.memory import SharedMemoryStore
from election_core.memory._kept import Given
from election_testkit import JobStoreConformance as Cases
from wrong_stores import turns_red


@frozen(kw_only=True)
class Ask:
    """A claim as it is asked for."""

    runner_id: str
    session_id: str
    claim_id: str
    epoch: int | None
    limit: int
    tokens: Sequence[str]


class Claiming(SharedMemoryStore):
    """What all of them are made of; as it stands it is right."""

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
        ask = Ask(
            runner_id=runner_id,
            session_id=session_id,
            claim_id=claim_id,
            epoch=epoch,
            limit=limit,
            tokens=tokens,
        )
        return await self.give(ask)

    async def give(self, ask: Ask) -> Claimed:
        """Give what was asked for."""
        return await super().claim(
            ask.runner_id,
            ask.session_id,
            claim_id=ask.claim_id,
            epoch=ask.epoch,
            limit=ask.limit,
            tokens=ask.tokens,
        )

    async def give_as_if(self, ask: Ask, session: Session) -> Claimed:
        """Give what was asked for as if the runner's session were this one."""
        runner = self._runners[ask.runner_id]
        self._runners[runner.id] = evolve(runner, session=session)
        try:
            return await Claiming.give(self, ask)
        finally:
            self._runners[runner.id] = runner

    def session_of(self, ask: Ask) -> Session | None:
        """The session of who asks, if it is the runner's."""
        runner = self._runners.get(ask.runner_id)
        session = None if runner is None else runner.session
        return session if session is not None and session.id == ask.session_id else None


# What is given, and how often.


@turns_red(
    Cases.test_each_job_is_given_once,
    Cases.test_same_claim_twice_at_once_is_one,
)
class ReadsBeforeItLocks(Claiming):
    """Chooses jobs in one statement and takes them in another, with no lock in between."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        jobs, given = dict(self._jobs), dict(self._given)
        await anyio.lowlevel.checkpoint()
        self._jobs, self._given = jobs, given
        return await super().give(ask)


@turns_red(
    Cases.test_repeated_claim_is_answered_again,
    Cases.test_lost_answer_of_claim_is_recognised,
    Cases.test_cancelled_claim_gives_each_job_once,
)
class ForgetsClaimIds(Claiming):
    """Keeps no claim id, so that a claim that is made again is another one."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        return await super().give(evolve(ask, claim_id=str(len(self._given))))


@turns_red(Cases.test_repeated_claim_is_answered_again)
class TellsOfLaterCancelling(Claiming):
    """Forgets that a job may have been cancelled since its claim was answered."""

    changed = "cancel_requested"

    @override
    async def give(self, ask: Ask) -> Claimed:
        claimed = await super().give(ask)
        items = []
        for item in claimed.items:
            now = getattr(self._jobs[item.job.id].job, self.changed)
            items.append(evolve(item, job=evolve(item.job, **{self.changed: now})))
        return evolve(claimed, items=tuple(items))


@turns_red(Cases.test_repeated_claim_is_answered_again)
class TellsOfLaterResults(TellsOfLaterCancelling):
    """Forgets that a job may have brought a result since its claim was answered."""

    changed = "result"


@turns_red(Cases.test_repeated_claim_is_answered_again)
class TellsOfLaterErrors(TellsOfLaterCancelling):
    """Forgets that a job may have failed since its claim was answered."""

    changed = "error"


@turns_red(Cases.test_repeated_claim_is_answered_again)
class RemembersOneEpochForAll(Claiming):
    """Answers a claim that is made again with its epoch, for addressed jobs too."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        known = (ask.session_id, ask.claim_id) in self._given
        claimed = await super().give(ask)
        if not known:
            return claimed
        items = [evolve(item, job=evolve(item.job, epoch=ask.epoch)) for item in claimed.items]
        return evolve(claimed, items=tuple(items))


@turns_red(Cases.test_cancelled_claim_gives_each_job_once, hangs=True)
@define(kw_only=True, slots=False)
class KeepsItsLockWhenCancelled(Claiming):
    """Gives its lock back after the call, and not if the call is cancelled."""

    _lock: anyio.Semaphore = field(factory=lambda: anyio.Semaphore(1), init=False)

    @override
    async def give(self, ask: Ask) -> Claimed:
        await self._lock.acquire()
        await anyio.lowlevel.checkpoint()
        claimed = await super().give(ask)
        self._lock.release()
        return claimed


@turns_red(Cases.test_claim_id_is_the_sessions_own)
class SharesClaimIds(Claiming):
    """Looks for a claim id without asking whose it is."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        for (_, claim_id), given in self._given.items():
            if claim_id == ask.claim_id:
                return Claimed(items=given.items, at=self._at())
        return await super().give(ask)


@turns_red(Cases.test_empty_claim_is_not_remembered)
class RemembersEmptyClaims(Claiming):
    """Keeps the answer to a claim that found nothing, and gives it again."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        claimed = await super().give(ask)
        if not claimed.items:
            group_id = self._runners[ask.runner_id].group_id
            self._given[ask.session_id, ask.claim_id] = Given(group_id, self._at(), ())
        return claimed


@turns_red(Cases.test_empty_claim_says_when_there_is_more)
class NeverSaysWhenThereIsMore(Claiming):
    """Leaves it to the caller to ask again and again."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        return evolve(await super().give(ask), next_at=None)


@turns_red(Cases.test_claimed_job_says_by_whom)
class AnswersJobsAsTheyWereQueued(Claiming):
    """Answers the rows that it chose, instead of those that its update returned."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        before = dict(self._jobs)
        claimed = await super().give(ask)
        items = tuple(evolve(item, job=before[item.job.id].job) for item in claimed.items)
        return evolve(claimed, items=items)


@turns_red(Cases.test_addressed_job_needs_no_leadership)
class GivesAddressedJobsToLeadersAlone(Claiming):
    """Asks for the epoch before it looks what the claim is for."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        session = self.session_of(ask)
        if session is not None and session.held_epoch is None:
            raise NotLeader("this session holds no epoch")
        return await super().give(ask)


# Who is refused.


@turns_red(Cases.test_stranger_is_not_found)
class TakesStrangersForEnded(Claiming):
    """Tells a runner that never was that its session has ended."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        try:
            return await super().give(ask)
        except NotFound:
            raise SessionEnded("this session has ended") from None


@turns_red(
    Cases.test_superseded_session_claims_nothing,
    Cases.test_ended_session_claims_nothing,
)
class AsksForTheRunnerAlone(Claiming):
    """Does not look which of the runner's sessions it is that claims."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        runner = self._runners.get(ask.runner_id)
        if runner is not None and runner.session is not None:
            ask = evolve(ask, session_id=runner.session.id)
        return await super().give(ask)


@turns_red(Cases.test_stale_epoch_claims_nothing)
class IgnoresTheEpoch(Claiming):
    """Asks who leads, and not under which epoch the caller believes it does."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        if self.session_of(ask) is not None and ask.epoch is not None:
            group = self._groups[self._runners[ask.runner_id].group_id].group
            ask = evolve(ask, epoch=group.epoch)
        return await super().give(ask)


@turns_red(Cases.test_stale_epoch_claims_nothing)
class BelievesWhoLeads(Claiming):
    """Does not ask the holder of a live term under which epoch it claims."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        session = self.session_of(ask)
        ends = None if session is None else session.term_expires_at
        if session is not None and ends is not None and ends > self._at():
            ask = evolve(ask, epoch=session.held_epoch)
        return await super().give(ask)


@turns_red(
    Cases.test_standby_claims_nothing_of_the_group,
    Cases.test_vacant_epoch_claims_nothing,
)
class AsksForTheEpochAlone(Claiming):
    """Takes whoever knows the current epoch for its holder."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        session = self.session_of(ask)
        if session is None or ask.epoch is None:
            return await super().give(ask)
        group_id = self._runners[ask.runner_id].group_id
        row = self._groups[group_id]
        term = Term(
            epoch=row.group.epoch,
            runner_id=ask.runner_id,
            session_id=ask.session_id,
            elected_at=self._at(),
            kind=Kind.FIRST,
            reason="",
        )
        self._groups[group_id] = evolve(row, group=evolve(row.group, term=term))
        ends = self._at() + timedelta(seconds=1)
        try:
            return await self.give_as_if(
                ask, evolve(session, term_expires_at=ends, step_down_at=None)
            )
        finally:
            self._groups[group_id] = row


@turns_red(Cases.test_addressed_job_outlives_the_term)
class BindsAddressedJobsToTheTerm(Claiming):
    """Keeps the epoch of a leader with the claims of its addressed jobs too."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        claimed = await super().give(ask)
        for item in claimed.items:
            record = self._jobs[item.job.id]
            if record.claim is not None:
                claim = evolve(record.claim, epoch=ask.epoch)
                self._jobs[item.job.id] = evolve(record, claim=claim)
        return claimed


@turns_red(Cases.test_lease_that_is_over_claims_nothing)
class LooksAtNoLease(Claiming):
    """Gives jobs to the holder of the term, however long it has been silent."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        session = self.session_of(ask)
        if session is None:
            return await super().give(ask)
        ends = self._at() + timedelta(seconds=1)
        term_ends = None if session.term_expires_at is None else ends
        return await self.give_as_if(
            ask, evolve(session, lease_expires_at=ends, term_expires_at=term_ends)
        )


@turns_red(Cases.test_who_steps_down_claims_nothing_of_the_group)
class FeedsWhoStepsDown(Claiming):
    """Gives new jobs to a leader that is handing over."""

    @override
    async def give(self, ask: Ask) -> Claimed:
        session = self.session_of(ask)
        if session is None:
            return await super().give(ask)
        return await self.give_as_if(ask, evolve(session, step_down_at=None))
