"""Claims: who is given which jobs, and that each is given once."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import anyio
import pytest

from election_core import (
    Claimed,
    JobOutcome,
    JobState,
    OutcomeUnknown,
    Settings,
)
from election_testkit._cancellation import everywhere
from election_testkit._faults import After, FaultyStore
from election_testkit._fleet import Fleet, fresh
from election_testkit._subject import Subject
from election_testkit._suite import Suite

__all__ = ["Claims", "job_names"]


def job_names(fleet: Fleet, claimed: Claimed) -> list[str]:
    """The short names of the jobs that were given."""
    return [item.job.id.removeprefix(fleet.job("")) for item in claimed.items]


class Claims(Suite):
    """What the port promises of `claim`."""

    async def test_highest_priority_first_then_the_oldest(self, subject: Subject) -> None:
        """Jobs are given by priority, and among equals in order of enqueueing."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.enqueue("z", "b")
        await fleet.enqueue("low", priority=-1)
        await fleet.enqueue("high", priority=7)
        await fleet.enqueue("mine", runner="a")
        await fleet.enqueue("a")

        assert job_names(fleet, await fleet.claim("a", limit=2)) == ["high", "z"]
        assert job_names(fleet, await fleet.claim("a", limit=9)) == ["b", "mine", "a", "low"]

    async def test_claimed_job_says_by_whom(self, subject: Subject) -> None:
        """A claim counts the attempt and tells its holder, its epoch and the store's time."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.enqueue("x")
        await subject.advance(2)
        at = (await fleet.load()).at
        claimed = await fleet.claim("a")

        (item,) = claimed.items
        assert claimed.at == at
        assert item.job == await fleet.look("x")
        assert item.job.state is JobState.RUNNING
        assert (item.job.claimed_by, item.job.epoch) == (fleet.runner("a"), 1)
        assert (item.job.attempts, item.job.started_at) == (1, at)

    async def test_each_job_is_given_once(self, subject: Subject) -> None:
        """However many claims are made at once, no job is in two answers, and none is left."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        names = [str(number) for number in range(30)]
        await fleet.enqueue(*names)
        given: Counter[str] = Counter()

        async def claim() -> None:
            given.update(job_names(fleet, await fleet.claim("a", limit=4)))

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(claim)
            while left := job_names(fleet, await fleet.claim("a", limit=4)):
                given.update(left)
        assert given == dict.fromkeys(names, 1)

    async def test_addressed_job_needs_no_leadership(self, subject: Subject) -> None:
        """A runner is given what is addressed to it, whoever leads, and nothing else."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.enqueue("any")
        await fleet.enqueue("for-a", runner="a")
        await fleet.enqueue("for-b", runner="b")

        claimed = await fleet.claim("b", epoch=None, limit=9)
        assert job_names(fleet, claimed) == ["for-b"]
        assert claimed.items[0].job.epoch is None
        claimed = await fleet.claim("a", epoch=1, limit=9)
        assert job_names(fleet, claimed) == ["any", "for-a"]
        assert [item.job.epoch for item in claimed.items] == [1, None]

    async def test_repeated_claim_is_answered_again(self, subject: Subject) -> None:
        """A claim that is made again is answered with the jobs and tokens of then."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.enqueue("done", "back", "broken")
        await fleet.enqueue("mine", runner="a")
        await fleet.enqueue("z")
        first = await fleet.claim("a", limit=4, claim_id="c")

        assert (await fleet.claim("a", limit=4, claim_id="c")).items == first.items
        done, back, broken, _ = (item.claim_token for item in first.items)
        await fleet.settle("done", done, result=1)
        await fleet.settle("back", back, JobOutcome.RELEASED)
        await fleet.settle("broken", broken, JobOutcome.FAILED, error="broken")
        await subject.store.cancel(fleet.job("mine"))
        assert (await fleet.claim("a", limit=1, claim_id="c")).items == first.items
        await subject.advance(1)
        await fleet.release("a")
        assert job_names(fleet, await fleet.claim("b", epoch=2, limit=2)) == ["back", "broken"]
        await subject.advance(20)
        assert (await fleet.claim("a", claim_id="c")).items == first.items
        assert (await fleet.look("z")).attempts == 0

    async def test_claim_id_is_the_sessions_own(self, subject: Subject) -> None:
        """Another session that uses the same claim id is given jobs of its own."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.enqueue("for-a", runner="a")
        await fleet.enqueue("for-b", runner="b")
        for name in ("a", "b"):
            claimed = await fleet.claim(name, epoch=None, claim_id="same")
            assert job_names(fleet, claimed) == [f"for-{name}"]

    async def test_same_claim_twice_at_once_is_one(self, subject: Subject) -> None:
        """A claim that is made twice at the same time is answered alike and takes jobs once."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.enqueue("x", "y", "z")
        answers: list[Claimed] = []

        async def claim() -> None:
            answers.append(await fleet.claim("a", claim_id="same"))

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(claim)
        assert [job_names(fleet, answer) for answer in answers] == [["x"]] * 3
        assert len({answer.items[0].claim_token for answer in answers}) == 1
        assert (await fleet.look("y")).state is JobState.QUEUED

    async def test_empty_claim_is_not_remembered(self, subject: Subject) -> None:
        """A claim that found nothing may be made again under its id, and then finds."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        empty = await fleet.claim("a", claim_id="c")
        assert (empty.items, empty.next_at) == ((), None)
        await fleet.enqueue("x")

        assert job_names(fleet, await fleet.claim("a", claim_id="c")) == ["x"]

    async def test_empty_claim_says_when_there_is_more(self, subject: Subject) -> None:
        """A claim that finds nothing tells when a job of its kind will be there."""
        fleet = Fleet(subject.store)
        await fleet.create(Settings(retry_backoff=timedelta(seconds=10)))
        await fleet.join("a", "b")
        await fleet.enqueue("x")
        at = (await fleet.load()).at
        await fleet.settle("x", await fleet.claim_one("a"), JobOutcome.FAILED)

        assert (await fleet.claim("a")).next_at == at + timedelta(seconds=10)
        assert (await fleet.claim("b", epoch=None)).next_at is None
        await fleet.enqueue("y")
        assert (await fleet.claim("a")).next_at is None
        await subject.advance(9)
        assert (await fleet.claim("a")).items == ()
        await subject.advance(1)
        assert job_names(fleet, await fleet.claim("a")) == ["x"]

    async def test_lost_answer_of_claim_is_recognised(self, subject: Subject) -> None:
        """A claim whose answer was lost is answered with the same jobs when it is made again."""
        store = FaultyStore(subject.store)
        fleet = Fleet(store)
        await fleet.create()
        await fleet.join("a")
        await fleet.enqueue("x", "y")
        store.plan("claim", After())
        with pytest.raises(OutcomeUnknown):
            await fleet.claim("a", claim_id="lost")

        again = await fleet.claim("a", claim_id="lost")
        assert job_names(fleet, again) == ["x"]
        await fleet.settle("x", again.items[0].claim_token)
        assert (await fleet.look("y")).state is JobState.QUEUED

    async def test_cancelled_claim_gives_each_job_once(self, subject: Subject) -> None:
        """Wherever a claim is cancelled, it was made or not, and made again it is answered."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        for cancel in everywhere():
            name = fresh("x")
            await fleet.enqueue(name, "spare-" + name)
            with anyio.fail_after(self.patience):
                await cancel(fleet.claim("a", claim_id=name))
                claimed = await fleet.claim("a", claim_id=name)
                spare = await fleet.claim("a")
            assert job_names(fleet, claimed) == [name]
            assert job_names(fleet, spare) == ["spare-" + name]
            assert (await fleet.look(name)).attempts == 1
            await fleet.settle(name, claimed.items[0].claim_token)
