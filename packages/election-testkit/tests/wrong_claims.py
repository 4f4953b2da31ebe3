"""Stores that give jobs wrongly: twice, not as they are, or never again."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import anyio.lowlevel
from attrs import define, evolve, field, frozen
from typing_extensions import override

from election_core import Claimed, NotLeader, Session
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
class TellsOfLaterHolders(TellsOfLaterCancelling):
    """Forgets that another runner may hold a job since its claim was answered."""

    changed = "claimed_by"


@turns_red(Cases.test_repeated_claim_is_answered_again)
class TellsOfLaterAttempts(TellsOfLaterCancelling):
    """Forgets that a job may have been claimed again since its claim was answered."""

    changed = "started_at"


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
