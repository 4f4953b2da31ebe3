"""A runner with a handler."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import pytest

from election_core import (
    ElectionError,
    Job,
    JobState,
    Role,
    SessionEnded,
    SessionSuperseded,
    Unauthenticated,
)
from election_sdk import Client, JobFailed, Runner
from sdk_plane import DEADLINE, Plane, Proxy, until, until_role, until_told


@asynccontextmanager
async def running(
    *runners: Runner, handler: Callable[[Job], Awaitable[object]], concurrency: int = 1
) -> AsyncIterator[None]:
    """Runners at work for as long as the block lasts; then they are told to stop."""
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as tasks:
            for runner in runners:

                async def run(runner: Runner = runner) -> None:
                    await runner.run(handler, concurrency=concurrency)

                tasks.start_soon(run)
            yield
            for runner in runners:
                runner.stop()


async def finished(client: Client, *jobs: Job) -> list[Job]:
    """Wait until jobs are finished."""
    while True:
        found = [await client.job(job.id) for job in jobs]
        if all(job.state.finished for job in found):
            return found
        await anyio.sleep(0.01)


async def is_running(client: Client, job: Job, *, no: bool = False) -> bool:
    """Whether a job is running, or is not."""
    return ((await client.job(job.id)).state is JobState.RUNNING) is not no


class Gate:
    """A handler that tells when it began and ends when it is let."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.cancelled: list[str] = []
        self.opened = anyio.Event()

    async def __call__(self, job: Job) -> object:
        """Handle a job."""
        self.began.append(job.id)
        try:
            await self.opened.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(job.id)
            raise
        return "done"


async def test_jobs_of_the_group_are_worked_on(plane: Plane) -> None:
    """A runner alone in its group leads, and works on each job once under its epoch."""
    seen: list[Job] = []

    async def handler(job: Job) -> object:
        seen.append(job)
        return {"doubled": job.payload * 2}  # type: ignore[operator]

    async with plane.group() as (group, client):
        runner = plane.runner(group)
        jobs = [await client.enqueue(group, "double", n) for n in range(5)]
        async with running(runner, handler=handler):
            await finished(client, *jobs)
            jobs.append(await client.enqueue(group, "double", 21))
            done = await finished(client, *jobs)
        assert [job.state for job in done] == [JobState.SUCCEEDED] * 6
        assert done[-1].result == {"doubled": 42}
        assert {job.epoch for job in seen} == {1}
        assert (await client.runner(runner.runner_id or "")).status == "offline"


async def test_as_many_jobs_at_once_as_allowed(plane: Plane) -> None:
    """With a concurrency of three, three handlers run and a fourth job waits."""
    gate = Gate()
    async with plane.group() as (group, client):
        jobs = [await client.enqueue(group, "wait") for _ in range(4)]
        async with running(plane.runner(group), handler=gate, concurrency=3):
            await until(lambda: len(gate.began) == 3)
            states = [(await client.job(job.id)).state for job in jobs]
            assert states.count(JobState.RUNNING) == 3
            gate.opened.set()
            await finished(client, *jobs)


async def test_a_standby_leaves_the_queue_alone_and_does_its_own(plane: Plane) -> None:
    """Only the leader works on the group's jobs; a job addressed to a standby is done by it."""
    done: dict[str, str | None] = {}

    async def handler(job: Job) -> object:
        done[job.kind] = job.claimed_by
        return None

    async with plane.group() as (group, client):
        first, second = plane.runner(group, "a"), plane.runner(group, "b")
        async with running(first, handler=handler):
            await until_role(first, Role.LEADER)
            async with running(second, handler=handler):
                await until(lambda: second.standing)
                mine = await client.enqueue(group, "mine", runner_id=second.runner_id)
                shared = await client.enqueue(group, "shared")
                await finished(client, mine, shared)
        assert done == {"mine": second.runner_id, "shared": first.runner_id}


async def test_an_addressed_job_gets_past_a_busy_handler(plane: Plane) -> None:
    """A leader with all hands full still takes a job that is addressed to it."""
    gate = Gate()

    async def handler(job: Job) -> object:
        return "hello" if job.kind == "ping" else await gate(job)

    async with plane.group() as (group, client):
        runner = plane.runner(group)
        long = await client.enqueue(group, "long")
        async with running(runner, handler=handler):
            await until(lambda: gate.began)
            ping = await client.enqueue(group, "ping", runner_id=runner.runner_id)
            assert (await finished(client, ping))[0].result == "hello"
            gate.opened.set()
            await finished(client, long)


async def test_handover_loses_no_job_and_runs_none_twice(plane: Plane) -> None:
    """Jobs flow while leadership goes back and forth; each is run once, with one attempt."""
    runs: Counter[str] = Counter()

    async def handler(job: Job) -> object:
        runs[job.id] += 1
        await anyio.sleep(0.005)
        return None

    async with plane.group() as (group, client):
        first, second = plane.runner(group, "a"), plane.runner(group, "b")
        jobs: list[Job] = []
        async with running(first, second, handler=handler):
            await until(lambda: first.standing and second.standing)
            for turn in range(3):
                jobs += [await client.enqueue(group, "work") for _ in range(20)]
                leader = (await client.leader(group)).runner.id
                mine, other = (first, second) if leader == first.runner_id else (second, first)
                await client.taint(leader, key=f"turn-{turn}")
                await until_role(other, Role.LEADER)
                await client.untaint(mine.runner_id or "")
            done = await finished(client, *jobs)
        assert {job.state for job in done} == {JobState.SUCCEEDED}
        assert {job.attempts for job in done} == {1}
        assert set(runs.values()) == {1}
        assert len({job.claimed_by for job in done}) == 2
        assert not first.refused
        assert not second.refused


async def test_who_steps_down_finishes_and_claims_nothing_more(plane: Plane) -> None:
    """The job in hand is finished under the old epoch; the next is the successor's."""
    gate = Gate()
    async with plane.group() as (group, client):
        first, second = plane.runner(group, "a"), plane.runner(group, "b")
        async with running(first, handler=gate):
            await until_role(first, Role.LEADER)
            in_hand = await client.enqueue(group, "work")
            await until(lambda: gate.began)
            async with running(second, handler=gate):
                await until(lambda: second.standing)
                waiting = await client.enqueue(group, "work")
                await client.taint(first.runner_id or "")
                await until_role(first, Role.STEPPING_DOWN)
                assert (await client.leader(group)).runner.id == first.runner_id
                gate.opened.set()
                one, two = await finished(client, in_hand, waiting)
        assert (one.claimed_by, one.epoch) == (first.runner_id, 1)
        assert (two.claimed_by, two.epoch) == (second.runner_id, 2)


async def test_at_the_deadline_the_job_is_handed_back(plane: Plane) -> None:
    """A handler that needs longer is cancelled; the successor gets its job, no attempt lost."""
    gate = Gate()
    async with plane.group(lease_seconds=600, handover_timeout_seconds=0.3) as (group, client):
        first, second = plane.runner(group, "a"), plane.runner(group, "b")
        async with running(first, second, handler=gate):
            await until(lambda: first.standing and second.standing)
            job = await client.enqueue(group, "work")
            await until(lambda: gate.began)
            leader = (await client.leader(group)).runner.id
            await client.taint(leader)
            await until(lambda: len(gate.began) == 2)
            assert gate.cancelled == [job.id]
            gate.opened.set()
            done = (await finished(client, job))[0]
        assert (done.state, done.attempts) == (JobState.SUCCEEDED, 1)
        assert done.claimed_by != leader


async def test_a_cancelled_job_stops(plane: Plane) -> None:
    """Cancelling a running job cancels its handler, within a round trip."""
    gate = Gate()
    async with plane.group(lease_seconds=600) as (group, client):
        async with running(plane.runner(group), handler=gate):
            job = await client.enqueue(group, "work")
            await until(lambda: gate.began)
            await client.cancel(job.id)
            done = (await finished(client, job))[0]
        assert gate.cancelled == [job.id]
        assert done.state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("error", "attempts", "said"),
    [
        (JobFailed("no such colour", retry=False), 1, "no such colour"),
        (JobFailed("later"), 2, "later"),
        (ValueError("a \x00 and a \ud800"), 2, "ValueError: a \ufffd and a ?"),
    ],
)
async def test_a_handler_that_fails_fails_the_attempt(
    plane: Plane, error: Exception, attempts: int, said: str
) -> None:
    """The text arrives, and the job is tried again unless the handler says that it is no use."""

    async def handler(job: Job) -> object:
        raise error

    async with plane.group(retry_backoff_seconds=0) as (group, client):
        async with running(plane.runner(group), handler=handler):
            job = await client.enqueue(group, "work", max_attempts=2)
            done = (await finished(client, job))[0]
        assert (done.state, done.attempts, done.error) == (JobState.FAILED, attempts, said)


@pytest.mark.parametrize("result", [object(), "x" * 70_000, float("nan"), "\ud800"])
async def test_a_result_that_cannot_be_kept_fails_the_job(plane: Plane, result: object) -> None:
    """The job does not stay running for ever because of what its handler returned."""

    async def handler(job: Job) -> object:
        return result

    async with plane.group() as (group, client):
        async with running(plane.runner(group), handler=handler):
            job = await client.enqueue(group, "work")
            done = (await finished(client, job))[0]
        assert (done.state, done.attempts) == (JobState.FAILED, 1)
        assert "result" in (done.error or "")


async def test_a_late_settlement_is_refused_and_told(plane: Plane, proxy: Proxy) -> None:
    """Work that was done after the claim was over is reported, and the runner goes on."""
    refused: list[tuple[str, str]] = []
    release = anyio.Event()

    async def handler(job: Job) -> object:
        if job.attempts == 1:
            with anyio.CancelScope(shield=True):
                await release.wait()
        return job.attempts

    def on_refused(job: Job, error: ElectionError) -> None:
        refused.append((job.id, error.code))

    async with plane.group(lease_seconds=2) as (group, client):
        runner = plane.runner(group, url=proxy.url, on_refused=on_refused)
        async with running(runner, handler=handler):
            job = await client.enqueue(group, "work")
            await until_told(lambda: is_running(client, job))
            proxy.freeze()
            await until_told(lambda: is_running(client, job, no=True))
            proxy.thaw()
            release.set()
            done = (await finished(client, job))[0]
        assert refused == [(job.id, "stale-claim")]
        assert runner.refused == {"stale-claim": 1}
        assert (done.result, done.attempts) == (2, 2)


async def test_a_handler_has_stopped_before_another_leads(plane: Plane, proxy: Proxy) -> None:
    """When the control plane falls silent, handlers are cancelled while nobody else can lead."""
    gate = Gate()
    async with plane.group(lease_seconds=6) as (group, client):
        cut_off = plane.runner(group, "a", url=proxy.url)
        async with running(cut_off, handler=gate):
            job = await client.enqueue(group, "work")
            await until(lambda: gate.began)
            proxy.freeze()
            await until(lambda: gate.cancelled)
            # The store has not given the job to anybody, nor the term.
            assert (await client.job(job.id)).state is JobState.RUNNING
            assert (await client.leader(group)).epoch == 1
            proxy.thaw()
            gate.opened.set()
            await finished(client, job)


async def test_a_superseded_runner_stops(plane: Plane) -> None:
    """Another process of the same identity takes over; this one cancels its work and says so."""
    gate = Gate()
    async with plane.group(lease_seconds=6, heartbeat_seconds=0.3) as (group, client):
        runner = plane.runner(group)
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as tasks:

                async def supersede() -> None:
                    await client.enqueue(group, "work")
                    await until(lambda: gate.began)
                    await client.open_session(runner.runner_id or "", session_key="another")

                tasks.start_soon(supersede)
                with pytest.raises(SessionSuperseded):
                    await runner.run(gate)
        assert len(gate.cancelled) == 1
        opened = [e for e in (await client.events(group)).items if e.kind == "session-opened"]
        assert len(opened) == 2


async def test_a_session_that_ended_is_opened_anew(plane: Plane) -> None:
    """A session that somebody else ended is replaced once everything under it has stopped."""
    gate = Gate()
    async with plane.group(lease_seconds=600) as (group, client):
        runner = plane.runner(group)
        async with running(runner, handler=gate):
            job = await client.enqueue(group, "work")
            await until(lambda: gate.began)
            assert runner.standing is not None
            before = runner.standing.session_id
            await client.leave(runner.runner_id or "", before)
            runner.set_ready(False)
            runner.set_ready(True)
            await until(lambda: runner.standing and runner.standing.session_id != before)
            assert gate.cancelled == [job.id]
            gate.opened.set()
            done = (await finished(client, job))[0]
        assert (done.attempts, done.epoch) == (1, 2)


async def test_no_session_is_opened_while_something_still_acts(plane: Plane) -> None:
    """A handler that takes its time to stop is waited for before a session is opened anew."""
    opened: list[int] = []

    async with plane.group(lease_seconds=1) as (group, client):
        runner = plane.runner(group)

        async def count() -> int:
            kinds = [event.kind for event in (await client.events(group)).items]
            return kinds.count("session-opened")

        async def handler(job: Job) -> object:
            if not opened:
                assert runner.standing is not None
                try:
                    await client.leave(runner.runner_id or "", runner.standing.session_id)
                    await anyio.sleep(DEADLINE)
                finally:
                    with anyio.CancelScope(shield=True):
                        opened.extend([await count() for _ in range(30)])
            return None

        async with running(runner, handler=handler):
            await finished(client, await client.enqueue(group, "work"))
        assert set(opened) == {1}
        assert await count() == 2


async def test_a_runner_that_was_deleted_stops(plane: Plane) -> None:
    """There is nothing to go on with, so `run` raises; its token may be known to be gone first."""
    gate = Gate()
    async with plane.group(lease_seconds=1) as (group, client):
        runner = plane.runner(group)
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as tasks:

                async def delete() -> None:
                    await until(lambda: runner.standing)
                    await client.delete_runner(runner.runner_id or "")

                tasks.start_soon(delete)
                with pytest.raises((SessionEnded, Unauthenticated)):
                    await runner.run(gate)


async def test_a_wedged_handler_lets_another_lead(plane: Plane) -> None:
    """Heartbeats are fine and nothing gets on: the runner says not ready, and another leads."""
    gate = Gate()
    async with plane.group(lease_seconds=600, handover_timeout_seconds=0.2) as (group, client):
        limit = timedelta(seconds=0.3)
        first = plane.runner(group, "a", progress_timeout=limit)
        second = plane.runner(group, "b")
        async with running(first, handler=gate):
            await until_role(first, Role.LEADER)
            async with running(second, handler=gate):
                await until(lambda: second.standing)
                await client.enqueue(group, "work")
                await until_role(second, Role.LEADER)
                gate.opened.set()


async def test_a_handler_that_says_so_gets_on(plane: Plane) -> None:
    """`progress` keeps a long handler from counting as wedged."""
    limit = timedelta(seconds=0.5)
    told: list[bool] = []
    async with plane.group() as (group, client):
        runner = plane.runner(group, progress_timeout=limit)

        async def handler(job: Job) -> object:
            end = anyio.current_time() + 2 * limit.total_seconds()
            while anyio.current_time() < end:
                runner.progress()
                await anyio.sleep(0.01)
                told.append((await client.runner(runner.runner_id or "")).ready)
            return None

        async with running(runner, handler=handler):
            await finished(client, await client.enqueue(group, "work"))
    assert set(told) == {True}


async def test_bulk_traffic_does_not_starve_renewals(plane: Plane, proxy: Proxy) -> None:
    """With every settlement stuck, the lease is renewed as if nothing were."""
    gate = Gate()
    gate.opened.set()
    proxy.hold_answers(lambda line: "/jobs/" in line and line.endswith("/settle"))
    async with plane.group(lease_seconds=3, heartbeat_seconds=0.3) as (group, client):
        runner = plane.runner(group, url=proxy.url)
        async with running(runner, handler=gate, concurrency=20):
            jobs = [await client.enqueue(group, "work") for _ in range(20)]
            await until(lambda: sum(line.endswith("/settle") for line in proxy.seen) >= 20)
            beats = sum(line.endswith("/heart-beats") for line in proxy.seen)
            await until(
                lambda: sum(line.endswith("/heart-beats") for line in proxy.seen) > beats + 12
            )
            assert (await client.leader(group)).epoch == 1
            proxy.let_go()
            await finished(client, *jobs)


async def test_a_settlement_waits_for_a_renewal(plane: Plane, proxy: Proxy) -> None:
    """Refused because the lease is over, a settlement is sent again once it has been renewed."""
    gate = Gate()
    async with plane.group(lease_seconds=1) as (group, client):
        runner = plane.runner(group, url=proxy.url)
        async with running(runner, handler=gate):
            await until(lambda: runner.standing)
            job = await client.enqueue(group, "work", runner_id=runner.runner_id)
            await until(lambda: gate.began)
            proxy.drop_calls(lambda line: line.endswith("/heart-beats"))
            await until_told(lambda: is_offline(client, runner))
            gate.opened.set()
            await until(lambda: any(line.endswith("/settle") for line in proxy.seen))
            assert (await client.job(job.id)).state is JobState.RUNNING
            proxy.drop_calls(None)
            done = (await finished(client, job))[0]
        assert (done.state, done.attempts) == (JobState.SUCCEEDED, 1)
        assert not runner.refused


async def is_offline(client: Client, runner: Runner) -> bool:
    """Whether a runner's lease is over."""
    return (await client.runner(runner.runner_id or "")).status == "offline"


async def test_an_outage_shorter_than_the_lease_changes_nothing(plane: Plane, proxy: Proxy) -> None:
    """The leader works on while the control plane is away, and settles when it is back."""
    gate = Gate()
    async with plane.group(lease_seconds=30) as (group, client):
        runner = plane.runner(group, url=proxy.url)
        async with running(runner, handler=gate):
            job = await client.enqueue(group, "work")
            await until(lambda: gate.began)
            await proxy.refuse()
            gate.opened.set()
            proxy.accept()
            done = (await finished(client, job))[0]
        assert (done.state, done.attempts, done.epoch) == (JobState.SUCCEEDED, 1, 1)
        assert gate.cancelled == []


async def test_stop_finishes_what_is_in_hand(plane: Plane) -> None:
    """Told to stop, a runner claims nothing more, finishes, settles, leaves and returns."""
    gate = Gate()
    async with plane.group() as (group, client):
        runner = plane.runner(group)
        async with running(runner, handler=gate):
            job = await client.enqueue(group, "work")
            await until(lambda: gate.began)
            more = await client.enqueue(group, "work")
            runner.stop()
            gate.opened.set()
        assert (await client.job(job.id)).state is JobState.SUCCEEDED
        assert (await client.job(more.id)).state is JobState.QUEUED
        assert (await client.group(group)).leader_runner_id is None


async def test_stop_hands_back_what_takes_too_long(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the shutdown limit the handler is cancelled and its job is queued again, uncounted."""
    monkeypatch.setattr("election_sdk._runner._CUT_LIMIT", 1e6)
    gate = Gate()
    async with plane.group() as (group, client):
        runner = plane.runner(group)
        job = await client.enqueue(group, "work")
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as tasks:

                async def stop() -> None:
                    await until(lambda: gate.began)
                    runner.stop()

                tasks.start_soon(stop)
                await runner.run(gate, shutdown_limit=timedelta(seconds=0.1))
        now = await client.job(job.id)
        assert gate.cancelled == [job.id]
        assert (now.state, now.attempts) == (JobState.QUEUED, 0)


async def test_a_runner_waits_for_a_control_plane_that_is_away(plane: Plane, proxy: Proxy) -> None:
    """It starts before the control plane does, and is there when that is."""
    await proxy.refuse()
    async with plane.group() as (group, client):
        runner = plane.runner(group, url=proxy.url)

        async def handler(job: Job) -> object:
            return None

        async with running(runner, handler=handler):
            job = await client.enqueue(group, "work")
            proxy.accept()
            await finished(client, job)


async def test_stop_ends_a_runner_that_is_still_waiting_to_start(
    proxy: Proxy, plane: Plane
) -> None:
    """Nothing has been begun, so there is nothing to finish."""
    await proxy.refuse()
    async with plane.group() as (group, _):
        runner = plane.runner(group, url=proxy.url)
        async with running(runner, handler=Gate()):
            await anyio.sleep(0.05)
        assert runner.standing is None
