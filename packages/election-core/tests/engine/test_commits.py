"""Load, plan, commit: conflicts, lost answers and cancellation."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from election_core import (
    Event,
    NewTaint,
    NoLeader,
    OutcomeUnknown,
    Role,
    SessionEnded,
    Settings,
    Unavailable,
)
from election_core.ports import Beaten
from engine_fleet import GROUP, Fleet, a_fleet


async def kinds(fleet: Fleet) -> list[str]:
    """The history so far."""
    return [event.kind for event in await fleet.engine.events(GROUP, limit=1000)]


async def test_a_conflict_is_decided_again() -> None:
    """Whoever loses compare-and-set loads and decides anew, unseen by its caller."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("first")
        fleet.store.faults.extend(["conflict"] * 5)

        standing = await fleet.open(runner_id)

        assert standing.role is Role.LEADER
        assert len(set(fleet.store.commit_ids[-6:])) == 6


async def test_conflicts_without_end_are_given_up() -> None:
    """A group that changes too fast makes the call fail after a while, and it may be repeated."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("first")
        fleet.store.faults.extend(["conflict"] * 10_000)

        with pytest.raises(Unavailable, match="changes too fast"):
            await fleet.open(runner_id)

        assert 9 < anyio.current_time() < 12
        fleet.store.faults.clear()
        assert (await fleet.open(runner_id)).role is Role.LEADER


@pytest.mark.parametrize("fault", ["lost-before", "lost-after"])
async def test_a_lost_answer_is_asked_for_again(fault: str) -> None:
    """A commit whose answer was lost is repeated under its id and takes effect once (bug 20)."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("first")
        fleet.store.faults.extend([fault, fault])  # type: ignore[list-item]

        standing = await fleet.open(runner_id)

        assert (standing.role, standing.epoch) == (Role.LEADER, 1)
        assert len(set(fleet.store.commit_ids[-3:])) == 1
        assert (await kinds(fleet)).count("session-opened") == 1


async def test_an_answer_lost_for_good_is_told_as_unknown() -> None:
    """Who cannot learn the outcome is told that it is unknown, not that nothing happened."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("first")
        fleet.store.faults.append("lost-after")
        fleet.store.faults.extend(["unavailable"] * 10_000)

        with pytest.raises(OutcomeUnknown):
            await fleet.open(runner_id)

        fleet.store.faults.clear()
        standing = await fleet.engine.open_session(runner_id, session_key="key", session_id="late")
        assert standing.epoch == 1
        assert standing.session_id != "late"


async def test_a_store_that_is_away_is_told_at_once() -> None:
    """A commit that took no effect is not repeated by the engine."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("first")
        before = len(fleet.store.commit_ids)
        fleet.store.faults.append("unavailable")

        with pytest.raises(Unavailable):
            await fleet.open(runner_id)

        assert len(fleet.store.commit_ids) == before + 1


async def test_a_lost_answer_still_wakes_who_waits() -> None:
    """Whether or not anybody learns of a commit, those whom it concerns look for themselves."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        roles: list[Role] = []

        async def wait() -> None:
            answer = await fleet.engine.beat(
                second.runner_id, second.session_id, wait=timedelta(minutes=1)
            )
            roles.append(answer.role)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            fleet.store.faults.append("lost-after")
            fleet.store.faults.extend(["unavailable"] * 10_000)
            with pytest.raises(OutcomeUnknown):
                await fleet.engine.release(first.runner_id, first.session_id, 1)

        assert roles == [Role.LEADER]


@pytest.mark.parametrize("after", [0.5, 1.5], ids=["during-commit", "after-commit"])
async def test_a_cancelled_call_is_wholly_done_or_not_at_all(after: float) -> None:
    """A commit that has begun is finished and announced although its caller is gone."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        fleet.store.slow_commits = 1
        fleet.store.entered = anyio.Event()

        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                tasks.start_soon(
                    lambda: fleet.engine.beat(
                        second.runner_id, second.session_id, wait=timedelta(minutes=1)
                    )
                )

                async def cancel() -> None:
                    assert fleet.store.entered is not None
                    await fleet.store.entered.wait()
                    await anyio.sleep(after)
                    scope.cancel()

                tasks.start_soon(cancel)
                await anyio.sleep(1)
                await fleet.engine.release(first.runner_id, first.session_id, 1)
        fleet.store.slow_commits = 0

        assert await fleet.leader() == second.runner_id
        assert (await kinds(fleet)).count("released") == 1


async def test_a_call_cancelled_before_its_commit_changes_nothing() -> None:
    """A caller that goes while the group is loaded leaves it as it was."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        before = await kinds(fleet)

        with anyio.CancelScope() as scope:
            scope.cancel()
            await fleet.engine.release(first.runner_id, first.session_id, 1)

        assert await kinds(fleet) == before


class Watching:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.answers: list[Beaten] = []

    def committed(self, events: object) -> None:
        """Remember the events' kinds."""
        assert isinstance(events, tuple)
        self.kinds += [event.kind for event in events if isinstance(event, Event)]

    def beaten(self, answers: object) -> None:
        """Remember the answers."""
        assert isinstance(answers, list)
        self.answers += answers


async def test_an_observer_hears_of_what_is_durable() -> None:
    """Metrics count what was committed, once, however often the answer was lost (bug 9)."""
    watching = Watching()
    async with a_fleet(observer=watching) as fleet:
        fleet.store.faults.append("lost-after")
        first = await fleet.join("first")
        fleet.store.faults.append("unavailable")
        with pytest.raises(Unavailable):
            await fleet.engine.taint(first.runner_id, NewTaint())
        await fleet.engine.beat(first.runner_id, first.session_id)

        assert watching.kinds == await kinds(fleet)
        assert [type(answer).__name__ for answer in watching.answers] == ["Pulse"]


async def test_an_error_in_the_block_is_the_one_that_comes_out() -> None:
    """A program sees its own error, not a group with its error in it."""
    with pytest.raises(KeyError, match="mine"):
        async with a_fleet():
            raise KeyError("mine")


async def test_an_engine_that_has_stopped_refuses_renewals() -> None:
    """Nobody waits for ever for an engine that does not run."""
    async with a_fleet(Settings()) as fleet:
        first = await fleet.join("first")

    with pytest.raises(Unavailable):
        await fleet.engine.beat(first.runner_id, first.session_id)


async def test_a_release_lost_twice_gives_up_one_epoch() -> None:
    """However often it is repeated, a release ends the one term it names (bug 25)."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        fleet.store.faults.extend(["lost-after", "lost-after"])

        standing = await fleet.engine.release(first.runner_id, first.session_id, 1)
        again = await fleet.engine.release(first.runner_id, first.session_id, 1)

        assert (standing.epoch, again.epoch) == (2, 2)
        with pytest.raises(SessionEnded):
            await fleet.engine.release(first.runner_id, "other", 2)
        await fleet.engine.leave(first.runner_id, first.session_id)
        with pytest.raises(NoLeader):
            await fleet.engine.leader(GROUP)
