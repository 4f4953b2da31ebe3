"""Batches: renewals that are made together, and beside commits."""

from __future__ import annotations

from datetime import timedelta

import anyio

from election_core import DeleteRunner, EndedSession, Pulse, TaintRunner
from election_core.ports import Beat, Beaten
from election_testkit._fleet import Fleet
from election_testkit._subject import Subject
from election_testkit._suite import Suite

__all__ = ["Batches"]

_LEASE = timedelta(seconds=15)


def _beats(fleet: Fleet, *names: str) -> list[Beat]:
    return [Beat(runner_id=fleet.runner(name), session_id=fleet.session(name)) for name in names]


def _pulses(answers: list[Beaten]) -> list[Pulse]:
    """The answers, of which each must be a pulse."""
    pulses = [answer for answer in answers if isinstance(answer, Pulse)]
    assert len(pulses) == len(answers)
    return pulses


class Batches(Suite):
    """What the port promises of `beat` to several sessions."""

    async def test_answers_are_in_the_order_of_the_beats(self, subject: Subject) -> None:
        """Each renewal is answered in its place: a pulse, how it ended, or nothing."""
        fleet, other = Fleet(subject.store), Fleet(subject.store)
        for each in (fleet, other):
            await each.create()
            await each.join("a", "b")
        superseded = fleet.session("b")
        await fleet.reopen("b")
        gone = _beats(other, "b")
        await other.do(DeleteRunner(runner_id=other.runner("b")))
        await subject.advance(1)
        answers = await subject.store.beat(
            [
                *_beats(other, "a"),
                Beat(runner_id=fleet.runner("b"), session_id=superseded),
                Beat(runner_id=fleet.runner("nobody"), session_id="never"),
                *gone,
                *_beats(fleet, "a"),
            ]
        )

        kinds = [type(answer) for answer in answers]
        assert kinds == [Pulse, EndedSession, type(None), EndedSession, Pulse]
        told = [
            answer.session_id if isinstance(answer, Pulse | EndedSession) else answer
            for answer in answers
        ]
        assert told == [
            other.session("a"),
            superseded,
            None,
            other.session("b"),
            fleet.session("a"),
        ]
        first, last = answers[0], answers[-1]
        assert isinstance(first, Pulse)
        assert isinstance(last, Pulse)
        assert first.lease_expires_at == last.lease_expires_at == first.at + _LEASE
        assert (first.group_id, last.group_id) == (other.group_id, fleet.group_id)

    async def test_no_beats_are_no_error(self, subject: Subject) -> None:
        """Nothing to renew is answered with nothing."""
        assert await subject.store.beat([]) == []

    async def test_each_answer_tells_what_the_whole_call_leaves(self, subject: Subject) -> None:
        """A leader that revives leads for whoever renews with it, in whatever order."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b", "c")
        await subject.advance(20)
        answers = _pulses(await subject.store.beat(_beats(fleet, "b", "a", "c")))

        assert [answer.leader_runner_id for answer in answers] == [fleet.runner("a")] * 3
        assert all(answer.due for answer in answers)

    async def test_only_the_own_session_is_renewed(self, subject: Subject) -> None:
        """A session of another runner, an earlier one and an invented one renew nothing."""
        fleet, other = Fleet(subject.store), Fleet(subject.store)
        for each in (fleet, other):
            await each.create()
            await each.join("a", "b")
        earlier = fleet.session("a")
        await fleet.reopen("a")
        await subject.advance(1)
        before = [await each.load() for each in (fleet, other)]
        answers = await subject.store.beat(
            [
                Beat(runner_id=fleet.runner("a"), session_id=earlier),
                Beat(runner_id=fleet.runner("b"), session_id=fleet.session("a")),
                Beat(runner_id=other.runner("a"), session_id=fleet.session("b")),
                Beat(runner_id=other.runner("b"), session_id=""),
            ]
        )

        assert answers[1:] == [None] * 3
        assert isinstance(answers[0], EndedSession)
        assert [await each.load() for each in (fleet, other)] == before

    async def test_batches_and_commits_do_not_lock_each_other_out(self, subject: Subject) -> None:
        """Batches in any order and commits to their groups, all at once, are all answered."""
        fleets = [Fleet(subject.store) for _ in range(3)]
        for each in fleets:
            await each.create()
            await each.join("a", "b")
        beats = [beat for each in fleets for beat in _beats(each, "a", "b")]
        answered: list[list[Pulse]] = []

        async def renew(turn: int) -> None:
            for _ in range(5):
                order = beats[turn:] + beats[:turn]
                batch = order[::-1] if turn % 2 else order
                answers = _pulses(await subject.store.beat(batch))
                assert [a.session_id for a in answers] == [beat.session_id for beat in batch]
                answered.append(answers)

        async def change(fleet: Fleet) -> None:
            for _ in range(5):
                await fleet.do(TaintRunner(runner_id=fleet.runner("b")))

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                for turn in range(len(beats)):
                    tasks.start_soon(renew, turn)
                for each in fleets:
                    tasks.start_soon(change, each)
        assert len(answered) == 5 * len(beats)
        assert [await each.leader() for each in fleets] == ["a"] * len(fleets)
        for each in fleets:
            assert (await each.load()).runners[1].taints != ()
