"""Sessions: what they lose when they end, and how their end is remembered."""

from __future__ import annotations

from datetime import timedelta

import pytest

from election_core import (
    DeleteGroup,
    DrainRunner,
    Ended,
    EndedSession,
    NotFound,
    Role,
    RunnerInfo,
    RunnerStatus,
    SessionSuperseded,
    TaintRunner,
    Undrain,
    runner_info,
)
from election_core.ports import Beat
from election_testkit._fleet import Fleet
from election_testkit._subject import Subject
from election_testkit._suite import Suite

__all__ = ["Sessions"]


class Sessions(Suite):
    """What the port promises of sessions beside their renewals."""

    async def test_superseded_session_loses_everything(self, subject: Subject) -> None:
        """Who was superseded renews nothing, leads nothing, claims nothing, and hears why."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.enqueue("x")
        old, trusted = fleet.session("a"), await fleet.renew("a")
        await subject.advance(1)
        await fleet.reopen("a")
        before = await fleet.load()
        answers = [await fleet.beat_as("a", old, seq=9, ready=True) for _ in range(2)]

        ended = answers[0]
        assert isinstance(ended, EndedSession)
        assert answers == [ended, ended]
        assert (ended.how, ended.session_id, ended.at) == (Ended.SUPERSEDED, old, before.at)
        assert await subject.store.pulse(fleet.runner("a"), old) == ended
        with pytest.raises(SessionSuperseded):
            await fleet.claim("a", session_id=old)
        assert await fleet.load() == before
        assert (before.group.term, before.group.epoch) == (None, 1)
        assert before.group.grant_not_before == trusted.term_expires_at
        assert (await fleet.pulse("a")).held_epoch is None

    async def test_session_that_left_loses_everything(self, subject: Subject) -> None:
        """Who left has no lease and no term any more, and no renewal brings it back."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.leave("a")
        before = await fleet.load()
        answer = await fleet.beat_as("a", fleet.session("a"))

        assert isinstance(answer, EndedSession)
        assert answer.how is Ended.LEFT
        assert await subject.store.pulse(fleet.runner("a"), fleet.session("a")) == answer
        assert await fleet.load() == before
        left = before.runner(fleet.runner("a"))
        assert left is not None
        assert left.session is None
        assert await fleet.leader() == "b"

    async def test_ends_are_remembered(self, subject: Subject) -> None:
        """How a session ended is told by its id and by its key, of deleted runners too."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.reopen("a")
        await fleet.leave("a")
        await fleet.do(fleet.deleting("b"))
        for name, number, how in (
            ("a", 1, Ended.SUPERSEDED),
            ("a", 2, Ended.LEFT),
            ("b", 1, Ended.DELETED),
        ):
            runner_id, session_id = fleet.runner(name), fleet.session(name, number)
            ended = await subject.store.ended_session(runner_id, session_id=session_id)
            assert ended is not None
            assert (ended.how, ended.session_id) == (how, session_id)
            key = f"key of {session_id}"
            assert await subject.store.ended_session(runner_id, key=key) == ended
            assert await subject.store.pulse(runner_id, session_id) == ended
            assert await fleet.beat_as(name, session_id) == ended

    async def test_ends_outlive_their_group(self, subject: Subject) -> None:
        """A process whose group was deleted learns that its session ended."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        await fleet.do(DeleteGroup(force=True))
        ended = await fleet.beat_as("a", fleet.session("a"))
        assert isinstance(ended, EndedSession)
        assert ended.how is Ended.DELETED

    async def test_only_ends_of_the_runners_own_are_told(self, subject: Subject) -> None:
        """A session that is current, of another runner or never was has no end to tell."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.reopen("a")
        store, first = subject.store, fleet.session("a", 1)

        assert await store.ended_session(fleet.runner("a"), session_id=fleet.session("a")) is None
        assert await store.ended_session(fleet.runner("a"), session_id="never") is None
        assert await store.ended_session(fleet.runner("a"), key="never") is None
        assert await store.ended_session(fleet.runner("a")) is None
        assert await store.ended_session(fleet.runner("b"), session_id=first) is None
        assert await store.ended_session(fleet.runner("b"), key=f"key of {first}") is None
        assert await store.pulse(fleet.runner("b"), first) is None
        assert await store.beat([Beat(runner_id=fleet.runner("b"), session_id=first)]) == [None]

    async def test_standing_rises_with_what_concerns_its_runner(self, subject: Subject) -> None:
        """A standing's version rises with each change of role, and with nothing of others."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b", "c")
        versions = {name: (await fleet.pulse(name)).standing_version for name in "abc"}

        async def risen() -> dict[str, int]:
            now = {name: (await fleet.pulse(name)).standing_version for name in "abc"}
            more = {name: now[name] - versions[name] for name in now if now[name] != versions[name]}
            versions.update(now)
            return more

        await fleet.beat("a", "b", "c")
        await fleet.do(TaintRunner(runner_id=fleet.runner("c")))
        assert await risen() == {}
        await fleet.do(DrainRunner(runner_id=fleet.runner("a")))
        assert (await fleet.pulse("a")).step_down_at is not None
        assert await risen() == {"a": 1}
        await fleet.do(Undrain(runner_id=fleet.runner("a")))
        assert (await fleet.pulse("a")).step_down_at is None
        assert await risen() == {"a": 1}
        await fleet.release("a")
        assert await risen() == {"a": 1, "b": 1}

    async def test_runner_is_told_as_it_is(self, subject: Subject) -> None:
        """A runner is found by its id, with the status and role of now."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")

        async def told(name: str) -> RunnerInfo:
            found = await subject.store.find_runner(fleet.runner(name))
            snapshot = await fleet.load()
            runner = snapshot.runner(fleet.runner(name))
            assert runner is not None
            assert found == runner_info(runner, snapshot.at)
            return found

        assert ((await told("a")).status, (await told("a")).role) == (
            RunnerStatus.ACTIVE,
            Role.LEADER,
        )
        await fleet.renew("b", ready=False)
        assert ((await told("b")).status, (await told("b")).role) == (
            RunnerStatus.UNREADY,
            Role.STANDBY,
        )
        await fleet.renew("b", ready=True)
        await fleet.do(DrainRunner(runner_id=fleet.runner("a"), reason="lunch"))
        assert ((await told("a")).status, (await told("a")).role) == (
            RunnerStatus.DRAINING,
            Role.STEPPING_DOWN,
        )
        await subject.advance(15)
        for name in ("a", "b"):
            assert ((await told(name)).status, (await told(name)).role) == (
                RunnerStatus.OFFLINE,
                Role.STANDBY,
            )

    async def test_runner_that_is_not_there_is_not_found(self, subject: Subject) -> None:
        """A runner that never was, or was deleted, is not found."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a")
        assert (await subject.store.find_runner(fleet.runner("a"))).name == "a"
        await fleet.do(fleet.deleting("a"))
        for name in ("a", "nobody"):
            with pytest.raises(NotFound):
                await subject.store.find_runner(fleet.runner(name))

    async def test_runner_may_be_registered_again(self, subject: Subject) -> None:
        """A deleted runner that comes back is a young one, and its old session stays ended."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.do(fleet.deleting("a"))
        await subject.advance(20)
        await fleet.join("a")

        found = await subject.store.find_runner(fleet.runner("a"))
        pulse = await fleet.pulse("a")
        assert found.created_at == pulse.at
        assert pulse.lease_expires_at == pulse.at + timedelta(seconds=15)
        old = await subject.store.pulse(fleet.runner("a"), fleet.session("a", 1))
        assert isinstance(old, EndedSession)
