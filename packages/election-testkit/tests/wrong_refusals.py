"""Stores that give jobs to whom they should not, or tell a wrong reason why they do not."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve
from typing_extensions import override

from election_core import Claimed, Kind, NotFound, SessionEnded, Term
from election_testkit import JobStoreConformance as Cases
from wrong_claims import Ask, Claiming
from wrong_stores import turns_red


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
