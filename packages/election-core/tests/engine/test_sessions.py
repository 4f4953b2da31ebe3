"""Sessions through the engine: opening, renewing, waiting, releasing, leaving."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest
from attrs import evolve

from election_core import (
    Effect,
    Invalid,
    JobSpec,
    NewTaint,
    NotFound,
    PinLeader,
    Pulse,
    Role,
    SessionEnded,
    SessionSuperseded,
    Standing,
    standing_of,
)
from election_core.engine import Engine
from engine_fleet import GROUP, LEASE, a_fleet

LONG = timedelta(minutes=1)


async def test_the_first_to_come_leads() -> None:
    """Opening a session decides in the same step, and the answer is the outcome."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")

        assert (first.role, first.epoch, first.leader_runner_id) == (
            Role.LEADER,
            1,
            first.runner_id,
        )
        assert (second.role, second.leader_runner_id) == (Role.STANDBY, first.runner_id)


async def test_the_same_key_opens_the_same_session() -> None:
    """Repeating the call that opened a session gives it again (bug 39)."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("first")

        one = await fleet.engine.open_session(runner_id, session_key="k", session_id="s-1")
        two = await fleet.engine.open_session(runner_id, session_key="k", session_id="s-2")

        assert (one.session_id, two.session_id) == ("s-1", "s-1")
        assert one.epoch == two.epoch


async def test_a_superseded_session_is_refused_everything() -> None:
    """Once a later session was opened every call of the earlier one says so."""
    async with a_fleet() as fleet:
        old = await fleet.join("first", "old")
        await fleet.open(old.runner_id, "new")

        with pytest.raises(SessionSuperseded):
            await fleet.engine.beat(old.runner_id, old.session_id)
        with pytest.raises(SessionSuperseded):
            await fleet.engine.release(old.runner_id, old.session_id, 1)
        with pytest.raises(SessionSuperseded):
            await fleet.engine.leave(old.runner_id, old.session_id)
        with pytest.raises(SessionSuperseded):
            await fleet.engine.claim(old.runner_id, old.session_id, claim_id="c", epoch=1)
        with pytest.raises(SessionSuperseded):
            await fleet.open(old.runner_id, "old")


async def test_two_processes_of_one_identity_do_not_fight() -> None:
    """A superseded key never opens a session again, so the later process is left alone (bug 4)."""
    async with a_fleet() as fleet:
        old = await fleet.join("first", "old")
        new = await fleet.open(old.runner_id, "new")

        with pytest.raises(SessionSuperseded):
            await fleet.open(old.runner_id, "old")

        assert (await fleet.engine.beat(new.runner_id, new.session_id)).session_id == new.session_id


async def test_leaving_hands_on_and_may_be_repeated() -> None:
    """A session that left is over; leaving again is harmless, anything else is refused."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")

        await fleet.engine.leave(first.runner_id, first.session_id)
        await fleet.engine.leave(first.runner_id, first.session_id)

        assert await fleet.leader() == second.runner_id
        with pytest.raises(SessionEnded):
            await fleet.engine.beat(first.runner_id, first.session_id)
        with pytest.raises(SessionEnded):
            await fleet.open(first.runner_id)


async def test_a_release_may_be_repeated() -> None:
    """Giving up what is given up already changes nothing (bug 8)."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")

        one = await fleet.engine.release(first.runner_id, first.session_id, 1)
        two = await fleet.engine.release(first.runner_id, first.session_id, 1)

        assert (one.role, two.role) == (Role.STANDBY, Role.STANDBY)
        assert (two.epoch, two.leader_runner_id) == (2, second.runner_id)


async def test_what_never_was_is_not_found() -> None:
    """Unknown runners and sessions are told apart, whatever is asked of them."""
    async with a_fleet() as fleet:
        known = await fleet.join("first")
        for call in (
            fleet.engine.beat,
            lambda r, s: fleet.engine.release(r, s, 1),
            fleet.engine.leave,
        ):
            with pytest.raises(NotFound):
                await call("nobody", "session")
            with pytest.raises(SessionEnded):
                await call(known.runner_id, "session")
        with pytest.raises(NotFound):
            await fleet.open("nobody")


async def test_a_deleted_runners_session_has_ended() -> None:
    """A runner that was deleted is told that its session ended, not that it never was."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        await fleet.engine.delete_runner(first.runner_id)

        with pytest.raises(SessionEnded):
            await fleet.engine.beat(first.runner_id, first.session_id)
        await fleet.engine.leave(first.runner_id, first.session_id)


async def test_a_key_names_a_session() -> None:
    """An empty key would make every process the same."""
    async with a_fleet() as fleet:
        runner_id = await fleet.register("first")

        for key in ("", "k" * 201):
            with pytest.raises(Invalid):
                await fleet.open(runner_id, key)


# Renewals.


async def test_an_older_renewal_changes_nothing() -> None:
    """A renewal that arrives late, overtaken by another, is answered and not applied."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        await fleet.engine.beat(first.runner_id, first.session_id, seq=5, ready=True)
        await anyio.sleep(4)

        late = await fleet.engine.beat(first.runner_id, first.session_id, seq=4, ready=False)

        assert late.lease_remaining == LEASE - timedelta(seconds=4)
        runner = await fleet.engine.runner(first.runner_id)
        assert runner.ready


async def test_the_same_renewal_again_renews() -> None:
    """A repeated renewal is as good as the first."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        await fleet.engine.beat(first.runner_id, first.session_id, seq=5)
        await anyio.sleep(4)

        again = await fleet.engine.beat(first.runner_id, first.session_id, seq=5)

        assert again.lease_remaining == LEASE


async def test_a_lapsed_leader_that_nobody_replaced_resumes() -> None:
    """A renewal that comes late but first keeps the epoch."""
    async with a_fleet(tick=timedelta(hours=1)) as fleet:
        first = await fleet.join("first")
        await anyio.sleep(15)

        standing = await fleet.engine.beat(first.runner_id, first.session_id)

        assert (standing.role, standing.epoch, standing.lease_remaining) == (Role.LEADER, 1, LEASE)


async def test_readiness_is_decided_within_a_tick() -> None:
    """A leader that reports not ready steps down, and whoever is ready follows."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")

        await fleet.engine.beat(first.runner_id, first.session_id, ready=False)
        await anyio.sleep(1)

        standing = await fleet.engine.beat(first.runner_id, first.session_id)
        assert standing.role is Role.STEPPING_DOWN
        await fleet.engine.release(first.runner_id, first.session_id, 1)
        assert await fleet.leader() == second.runner_id


# Waiting.


async def test_a_change_of_leader_wakes_the_heartbeat() -> None:
    """A waiting heartbeat is answered with the new role at once, counted from its own write."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        answers: list[Standing] = []
        began = anyio.current_time()

        async def wait() -> None:
            answers.append(await fleet.engine.beat(second.runner_id, second.session_id, wait=LONG))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(2)
            await fleet.engine.release(first.runner_id, first.session_id, 1)

        (standing,) = answers
        assert anyio.current_time() == began + 2
        assert (standing.role, standing.epoch) == (Role.LEADER, 2)
        assert standing.lease_remaining == LEASE


@pytest.mark.parametrize("change", ["release", "taint", "drain", "pin", "leave"])
async def test_what_a_commit_tells_is_what_the_store_says(change: str) -> None:
    """Who waits is told from the commit, without another look, what that look would tell."""
    async with a_fleet() as fleet:
        engine = fleet.engine
        first, second = await fleet.join("first"), await fleet.join("second")
        answers: dict[str, Standing] = {}

        async def wait(who: Standing) -> None:
            try:
                answers[who.runner_id] = await engine.beat(
                    who.runner_id, who.session_id, wait=timedelta(seconds=3)
                )
            except SessionEnded:
                assert change == "leave"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, first)
            tasks.start_soon(wait, second)
            await anyio.sleep(1)
            match change:
                case "release":
                    await engine.release(first.runner_id, first.session_id, 1)
                case "taint":
                    await engine.taint(first.runner_id, NewTaint(key="k", effect=Effect.NO_LEAD))
                case "drain":
                    await engine.drain(first.runner_id, timeout=timedelta(seconds=30))
                case "pin":
                    await engine.pin(GROUP, PinLeader(runner_id=second.runner_id))
                case _:
                    await engine.leave(first.runner_id, first.session_id)
            looks = fleet.store.calls["pulse"]
        # Who left looks how its session ended.
        assert fleet.store.calls["pulse"] == looks + (change == "leave")
        assert answers
        for runner_id, told in answers.items():
            pulse = await fleet.store.pulse(runner_id, told.session_id)
            assert isinstance(pulse, Pulse)
            read = standing_of(pulse)
            same: dict[str, Any] = {
                "lease_remaining": told.lease_remaining,
                "store_time": told.store_time,
            }
            if read.step_down_in is not None:
                assert told.step_down_in is not None
                same["step_down_in"] = told.step_down_in
            assert told == evolve(read, **same)
            assert told.lease_remaining == LEASE


@pytest.mark.parametrize("cancelled", ["before", "while it waits"])
async def test_what_a_commit_cannot_tell_is_looked_up(cancelled: str) -> None:
    """A cancelled job of a standby is told along with its new role, whoever cancelled it."""
    async with a_fleet() as fleet:
        engine = fleet.engine
        first, second = await fleet.join("first"), await fleet.join("second")
        spec = JobSpec(kind="work", runner_id=second.runner_id)
        job = (await engine.enqueue(GROUP, spec)).job
        await engine.claim(second.runner_id, second.session_id, claim_id="c")
        if cancelled == "before":
            await engine.cancel(job.id)
        answers: list[Standing] = []

        async def wait() -> None:
            pulse = await fleet.store.pulse(second.runner_id, second.session_id)
            assert isinstance(pulse, Pulse)
            answers.append(
                await engine.beat(
                    second.runner_id,
                    second.session_id,
                    seen=pulse.standing_version,
                    wait=timedelta(seconds=3),
                )
            )

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            if cancelled != "before":
                await fleet.store.cancel(job.id)  # through another replica, whose news is late
            await engine.release(first.runner_id, first.session_id, 1)

        assert (answers[0].role, answers[0].cancel) == (Role.LEADER, (job.id,))


@pytest.mark.parametrize("slow", [0.7, 3])
async def test_leases_that_were_renewed_during_a_commit_are_looked_up(slow: float) -> None:
    """A commit takes long, until the lease it was planned from is over: what counts is the row."""
    async with a_fleet() as fleet:
        first, second = await fleet.join("first"), await fleet.join("second")
        answers: dict[str, Standing] = {}

        async def wait(who: Standing) -> None:
            answers[who.runner_id] = await fleet.engine.beat(
                who.runner_id, who.session_id, wait=timedelta(seconds=5)
            )

        async def release() -> None:
            await fleet.engine.release(first.runner_id, first.session_id, 1)

        async with anyio.create_task_group() as beating:
            beating.start_soon(fleet.keep_beating, first)
            await anyio.sleep(9)  # the second one's lease has a second left
            fleet.store.slow_commits = slow
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait, first)
                await anyio.sleep(0.1)
                tasks.start_soon(release)
                await anyio.sleep(0.5)
                tasks.start_soon(wait, second)
            beating.cancel_scope.cancel()

        new, old = answers[second.runner_id], answers[first.runner_id]
        assert (new.role, new.leader_runner_id) == (Role.LEADER, second.runner_id)
        assert new.lease_remaining == LEASE
        assert (old.role, old.leader_runner_id) == (Role.STANDBY, second.runner_id)


async def test_a_job_cancelled_during_a_commit_is_told_at_once_after_it() -> None:
    """What the commit could not know comes with the next answer, which does not wait."""
    async with a_fleet() as fleet:
        engine = fleet.engine
        first, second = await fleet.join("first"), await fleet.join("second")
        spec = JobSpec(kind="work", runner_id=second.runner_id)
        job = (await engine.enqueue(GROUP, spec)).job
        await engine.claim(second.runner_id, second.session_id, claim_id="c")
        answers: list[Standing] = []

        async def wait() -> None:
            for _ in range(2):
                seen = answers[-1].standing_version if answers else second.standing_version
                answers.append(
                    await engine.beat(second.runner_id, second.session_id, seen=seen, wait=LONG)
                )

        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            fleet.store.slow_commits = 0.5
            tasks.start_soon(engine.release, first.runner_id, first.session_id, 1)
            await anyio.sleep(0.1)
            await fleet.store.cancel(job.id)

        assert [answer.role for answer in answers] == [Role.LEADER] * 2
        assert answers[-1].cancel == (job.id,)
        assert anyio.current_time() == began + 1.5


async def test_what_a_commit_tells_of_another_session_is_looked_up() -> None:
    """Superseded elsewhere, a process is not told the role of the session that took its place."""
    async with a_fleet() as fleet:
        first, old = await fleet.join("first"), await fleet.join("second", "old")

        async def wait() -> None:
            with pytest.raises(SessionSuperseded):
                await fleet.engine.beat(old.runner_id, old.session_id, wait=LONG)

        async with Engine(fleet.store) as elsewhere, anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            new = await elsewhere.open_session(old.runner_id, session_key="new")
            assert new.standing_version == old.standing_version
            await fleet.engine.release(first.runner_id, first.session_id, 1)


async def test_without_news_a_heartbeat_waits_for_one_interval() -> None:
    """However long a caller would wait, the answer comes in time for the next renewal."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        began = anyio.current_time()

        standing = await fleet.engine.beat(first.runner_id, first.session_id, wait=LONG)

        assert anyio.current_time() - began == pytest.approx(10 / 3)
        assert standing.lease_remaining == LEASE


async def test_what_was_not_seen_is_news() -> None:
    """A heartbeat that knows an older standing is answered at once."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        began = anyio.current_time()

        standing = await fleet.engine.beat(
            first.runner_id, first.session_id, seen=first.standing_version - 1, wait=LONG
        )

        assert anyio.current_time() == began
        assert standing.standing_version == first.standing_version


async def test_another_leader_is_no_news() -> None:
    """A standby that stays one is not woken when others hand over (no herds)."""
    async with a_fleet() as fleet:
        first, _, third = [await fleet.join(name) for name in ("first", "second", "third")]
        began = anyio.current_time()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                lambda: fleet.engine.beat(
                    third.runner_id, third.session_id, seen=third.standing_version, wait=LONG
                )
            )
            await anyio.sleep(0.5)
            await fleet.engine.release(first.runner_id, first.session_id, 1)

        assert anyio.current_time() - began == pytest.approx(10 / 3)


async def test_supersession_wakes_the_heartbeat() -> None:
    """A process learns at once that another took its place."""
    async with a_fleet() as fleet:
        old = await fleet.join("first", "old")
        began = anyio.current_time()
        refused: list[type] = []

        async def wait() -> None:
            try:
                await fleet.engine.beat(old.runner_id, old.session_id, wait=LONG)
            except SessionSuperseded as error:
                refused.append(type(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            await fleet.open(old.runner_id, "new")

        assert (refused, anyio.current_time()) == ([SessionSuperseded], began + 1)


async def test_a_cancelled_job_wakes_its_holder() -> None:
    """A running job's cancellation reaches its runner with the heartbeat that waits."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        job = (await fleet.engine.enqueue(GROUP, JobSpec(kind="work"))).job
        await fleet.engine.claim(first.runner_id, first.session_id, claim_id="c", epoch=1)
        answers: list[Standing] = []

        async def wait() -> None:
            answers.append(await fleet.engine.beat(first.runner_id, first.session_id, wait=LONG))

        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            await fleet.engine.cancel(job.id)

        assert (answers[0].cancel, anyio.current_time()) == ((job.id,), began + 1)


async def test_stopping_answers_whoever_waits() -> None:
    """A server that stops lets every waiting call go, and makes nobody wait again."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        began = anyio.current_time()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                lambda: fleet.engine.beat(first.runner_id, first.session_id, wait=LONG)
            )
            await anyio.sleep(1)
            assert fleet.engine.waiting == 1
            fleet.engine.stop_waiting()
        await fleet.engine.beat(first.runner_id, first.session_id, wait=LONG)

        assert (anyio.current_time(), fleet.engine.waiting) == (began + 1, 0)


async def test_a_taint_is_learnt_at_once() -> None:
    """A leader that waits is told to step down the moment somebody taints it."""
    async with a_fleet() as fleet:
        first = await fleet.join("first")
        await fleet.join("second")
        answers: list[Standing] = []

        async def wait() -> None:
            answers.append(await fleet.engine.beat(first.runner_id, first.session_id, wait=LONG))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            await fleet.engine.taint(first.runner_id, NewTaint(effect=Effect.NO_LEAD))

        assert answers[0].role is Role.STEPPING_DOWN
        assert answers[0].step_down_in == timedelta(seconds=61)
