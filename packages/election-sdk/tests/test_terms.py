"""Terms: a scope that is over before the runner may no longer lead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest

from election_core import NoLeader, Role
from election_sdk import Client, Runner, Term
from election_sdk._clock import trust_clock
from sdk_plane import DEADLINE, Plane, Proxy, until, until_role, until_told


async def first_term(runner: Runner) -> Term:
    """The next term of a runner."""
    with anyio.fail_after(DEADLINE):
        return await anext(aiter(runner.terms()))


async def is_ready(client: Client, runner: Runner, *, ready: bool) -> bool:
    """Whether the control plane was told that a runner is ready, or that it is not."""
    return (await client.runner(runner.runner_id or "")).ready is ready


async def test_a_runner_becomes_leader(plane: Plane) -> None:
    """Whoever is alone gets a term with the group's epoch, trusted for less than the lease."""
    async with plane.group() as (group, client), plane.runner(group) as runner:
        term = await first_term(runner)
        async with term:
            leader = await client.leader(group)
            assert (leader.epoch, leader.runner.id) == (term.epoch, runner.runner_id)
            assert timedelta() < term.trusted_for() < timedelta(seconds=15)


async def test_trust_counts_from_the_start_of_the_attempt(plane: Plane, proxy: Proxy) -> None:
    """The answer that makes a leader comes late, and is trusted for that much less."""
    proxy.hold_answers(lambda line: line.endswith("/sessions"))
    async with plane.group(lease_seconds=30) as (group, _), anyio.create_task_group() as tasks:
        began: list[float] = []

        async def let_go_later() -> None:
            await until(lambda: any(line.endswith("/sessions") for line in proxy.seen))
            began.append(trust_clock())
            await until(lambda: trust_clock() > began[0] + 1.0)
            proxy.let_go()

        tasks.start_soon(let_go_later)
        async with plane.runner(group, url=proxy.url) as runner:
            # Before a renewal can have moved it on.
            session = runner._session
            assert session is not None
            assert session.belief is not None
            assert session.belief.window.ends_at < began[0] + 30.0
            assert session.belief.leads(began[0]) is not None


async def test_a_block_has_stopped_before_the_lease_ends(plane: Plane, proxy: Proxy) -> None:
    """When the control plane falls silent, the block is cancelled and has cleaned up in time.

    In time: while the store still holds the lease, so that nobody else can lead.
    """
    async with (
        plane.group(lease_seconds=6) as (group, client),
        plane.runner(group, url=proxy.url, clean_up=timedelta(seconds=3)) as runner,
    ):
        stopped: list[datetime] = []
        async with await first_term(runner) as term:
            proxy.freeze()
            try:
                await anyio.sleep(DEADLINE)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.05)
                    assert term.trusted_for() > timedelta()
                    stopped.append(datetime.now(UTC))
        lease = (await client.runner(runner.runner_id or "")).lease_expires_at
        assert lease is not None
        assert stopped[0] < lease
        proxy.thaw()


async def test_leading_goes_on_under_the_same_epoch(plane: Plane, proxy: Proxy) -> None:
    """A leader that lost trust, and whose lease nobody took, has a term of the same epoch again."""
    async with plane.group(lease_seconds=4) as (group, _):
        clean_up = timedelta(seconds=2)
        async with plane.runner(group, url=proxy.url, clean_up=clean_up) as runner:
            epochs: list[int] = []
            with anyio.fail_after(DEADLINE):
                async for term in runner.terms():
                    async with term:
                        epochs.append(term.epoch)
                        if len(epochs) == 2:
                            runner.stop()
                            break
                        proxy.freeze()
                        await anyio.sleep(DEADLINE)
                    proxy.thaw()
            assert epochs == [1, 1]


async def test_a_renewal_that_hangs_is_left_behind(plane: Plane, proxy: Proxy) -> None:
    """One connection that is stuck does not cost the term: the next renewal takes a fresh one."""
    stuck: list[str] = []

    def first_beat(line: str) -> bool:
        if line.endswith("/heart-beats") and not stuck:
            stuck.append(line)
            return True
        return False

    proxy.hold_answers(first_beat)
    async with (
        plane.group(lease_seconds=12, heartbeat_seconds=1) as (group, client),
        plane.runner(group, url=proxy.url) as runner,
    ):
        async with await first_term(runner) as term:
            await until(lambda: sum(line.endswith("/heart-beats") for line in proxy.seen) > 5)
            assert stuck
            assert (await client.leader(group)).epoch == term.epoch == 1
        assert not term.cancelled


async def test_a_renewal_counts_from_its_start(plane: Plane, proxy: Proxy) -> None:
    """The answer to a renewal was held by the server, and is trusted for that much less."""
    began: list[float] = []

    def all_but_the_first(line: str) -> bool:
        if not line.endswith("/heart-beats"):
            return False
        began.append(trust_clock())
        return len(began) > 1

    proxy.drop_calls(all_but_the_first)
    async with (
        plane.group(lease_seconds=40, heartbeat_seconds=4) as (group, _),
        plane.runner(group, url=proxy.url) as runner,
    ):
        session = runner._session
        assert session is not None
        assert session.belief is not None
        opened = session.belief.window
        await until(lambda: session.belief and session.belief.window != opened)
        # It was held for more than a second.
        assert trust_clock() > began[0] + 1.0
        assert opened.ends_at < session.belief.window.ends_at < began[0] + 40.0


async def test_a_clock_that_jumped_ends_the_term(plane: Plane) -> None:
    """After a suspend, which only the trust clock counts, the term is over though no timer rang."""
    ahead = [0.0]
    async with (
        plane.group(lease_seconds=3600) as (group, _),
        plane.runner(group, clock=lambda: trust_clock() + ahead[0]) as runner,
    ):
        async with await first_term(runner) as term:
            assert term.trusted
            ahead[0] = 3 * 3600.0
            assert not term.trusted
            with anyio.fail_after(DEADLINE):
                await anyio.sleep_forever()
        assert term.trusted_for() == timedelta()


async def test_a_watch_sees_the_jump_too(plane: Plane) -> None:
    """Without anybody asking, a term is cancelled soon after the clock jumped."""
    ahead = [0.0]
    async with (
        plane.group(lease_seconds=3600) as (group, _),
        plane.runner(group, clock=lambda: trust_clock() + ahead[0]) as runner,
    ):
        async with await first_term(runner) as term:
            ahead[0] = 3 * 3600.0
            with anyio.fail_after(DEADLINE):
                await anyio.sleep_forever()
        assert term.cancelled


async def test_leaving_the_block_gives_leadership_up(plane: Plane) -> None:
    """The block ended by itself: the epoch is released, and the next grant is a new epoch."""
    async with plane.group() as (group, client), plane.runner(group) as runner:
        epochs: list[int] = []
        with anyio.fail_after(DEADLINE):
            async for term in runner.terms():
                async with term:
                    epochs.append(term.epoch)
                if len(epochs) == 2:
                    break
        assert epochs == [1, 2]
        kinds = [event.kind for event in (await client.events(group)).items]
        assert "released" in kinds


async def test_nothing_is_released_before_the_block_has_stopped(plane: Plane) -> None:
    """A block that takes its time to stop still has the epoch while it does."""
    async with plane.group() as (group, client), plane.runner(group) as runner:
        async with await first_term(runner) as term:
            try:
                await term.release("enough")
            finally:
                with anyio.CancelScope(shield=True):
                    for _ in range(20):
                        assert (await client.leader(group)).epoch == term.epoch
        group_now = await client.group(group)
        assert group_now.epoch > term.epoch or group_now.leader_runner_id is None


async def test_a_block_that_is_told_to_step_down_is_cancelled(plane: Plane) -> None:
    """A taint cancels the block at once, and the epoch is released when it has stopped."""
    async with plane.group() as (group, client), plane.runner(group) as runner:
        async with await first_term(runner):
            await client.taint(runner.runner_id or "")
            await anyio.sleep(DEADLINE)
        with pytest.raises(NoLeader):
            await client.leader(group)


async def test_a_block_may_finish_when_told_to_step_down(plane: Plane) -> None:
    """With `finish` the block goes on until it ends by itself."""
    async with plane.group() as (group, client), plane.runner(group) as runner:
        finished = False
        with anyio.fail_after(DEADLINE):
            async with await anext(aiter(runner.terms(finish=True))) as term:
                await client.taint(runner.runner_id or "")
                await term.step_down()
                assert term.stepping_down
                assert term.trusted_for() > timedelta()
                await anyio.lowlevel.checkpoint()
                finished = True
        assert finished
        with pytest.raises(NoLeader):
            await client.leader(group)


async def test_a_block_that_does_not_stop_is_reported(plane: Plane, proxy: Proxy) -> None:
    """Past its trust a block that ignores its cancellation is told of, and its runner not ready."""
    overran: list[Term] = []
    async with plane.group(lease_seconds=1) as (group, client):
        runner = plane.runner(group, url=proxy.url, on_overrun=overran.append)
        async with runner:
            async with await first_term(runner) as term:
                proxy.freeze()
                with anyio.CancelScope(shield=True):
                    await until(lambda: overran)
                    assert term.trusted_for() == timedelta()
                    proxy.thaw()
                    await until_told(lambda: is_ready(client, runner, ready=False))
            assert overran == [term]
            await until_told(lambda: is_ready(client, runner, ready=True))


async def test_a_term_that_is_not_entered_is_declined(plane: Plane) -> None:
    """Whoever asks for the next term without entering this one has given it up."""
    async with plane.group() as (group, _), plane.runner(group) as runner:
        terms = aiter(runner.terms())
        with anyio.fail_after(DEADLINE):
            first = await anext(terms)
            second = await anext(terms)
        assert second.epoch > first.epoch


async def test_an_exception_leaves_the_block_as_it_is(plane: Plane) -> None:
    """What is raised in a block comes out of it, alone, and leadership is given up."""
    async with plane.group() as (group, client):
        with pytest.raises(ZeroDivisionError):
            async with plane.runner(group) as runner, await first_term(runner):
                raise ZeroDivisionError
        with pytest.raises(NoLeader):
            await client.leader(group)


async def test_a_change_of_role_arrives_in_a_round_trip(plane: Plane) -> None:
    """The successor knows long before its next renewal would be due."""
    async with (
        plane.group(lease_seconds=600) as (group, _),
        plane.runner(group, "a") as first,
        plane.runner(group, "b") as second,
    ):
        await until_role(first, Role.LEADER)
        began = anyio.current_time()
        async with await first_term(first):
            pass
        await until_role(second, Role.LEADER)
        assert anyio.current_time() - began < 60


async def test_wishes_for_a_renewal_do_not_starve_renewals(plane: Plane, proxy: Proxy) -> None:
    """However often a renewal is asked for at once, the one under way is left to come back."""

    def beats() -> int:
        return sum(line.endswith("/heart-beats") for line in proxy.seen)

    async with (
        plane.group(lease_seconds=600) as (group, client),
        plane.runner(group, url=proxy.url) as runner,
    ):
        await until(lambda: beats() == 1)
        proxy.hold_answers(lambda line: line.endswith("/heart-beats"))
        runner.set_ready(False)
        await until(lambda: beats() == 2)
        for turn in range(20):
            runner.set_ready(turn % 2 == 0)
            await client.group(group)
        assert beats() == 2
        proxy.let_go()
        await until_told(lambda: is_ready(client, runner, ready=False))
