"""The demo's stage works with a real server and real runners, and its waits always end."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from rich.console import Console

from command_world import Server
from election_cli.demo._journal import Journal, Journals
from election_cli.demo._processes import Processes
from election_cli.demo._stage import BrokenPromise, Stage
from election_cli.demo._timeline import Timeline
from election_cli.demo._worker import Witness
from election_core import Job, StaleClaim
from election_sdk import Client


@pytest.fixture
def anyio_backend() -> str:
    """The demo runs on asyncio, as its store's driver does."""
    return "asyncio"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Processes that are ended with the test."""
    with Processes(tmp_path) as processes:
        yield processes


@pytest.fixture
async def stage(
    server: Server, group: str, processes: Processes, tmp_path: Path
) -> AsyncIterator[Stage]:
    """A stage in a group of this test's own."""
    async with Client(server.url, token=server.token) as client:
        await client.create_group(group, settings={"lease_seconds": 30})
        yield Stage(
            client=client,
            url=server.url,
            group=group,
            folder=tmp_path,
            journals=Journals(tmp_path),
            processes=processes,
            timeline=Timeline(Console(file=io.StringIO())),
        )


async def test_a_runner_comes_up_works_and_leaves(stage: Stage) -> None:
    """A runner joins and leads, does the jobs that keep coming, is caught at work, and leaves."""
    async with stage.alive(), anyio.create_task_group() as tasks:
        member = await stage.register("cloud-a", "cloud")
        stage.start(member)
        assert await stage.led_by([member], after=0, within=30) is member
        await stage.joined(member, within=30)

        enough = anyio.Event()
        tasks.start_soon(stage.enqueue_until, enough)
        await stage.flow(member, 2, within=30)
        enough.set()

    async with stage.alive():
        await stage.until("the history is read", lambda: stage.epoch == 1, within=30)
        job_id = await stage.busy(member, seconds=1.0, within=30)
        assert stage.at_work(member, job_id)
        await stage.all_done(within=30)
        assert not stage.at_work(member, job_id)

        assert await member.process.stop(within=30)

    jobs = {job.id: job for job in (await stage.client.jobs(stage.group)).items}
    settled = {execution.job_id: execution for execution in stage.executions()}
    assert set(stage.enqueued) == jobs.keys() == settled.keys()
    assert jobs[job_id].result == {"execution": settled[job_id].name}
    assert all(execution.finished and execution.settled for execution in settled.values())


async def test_another_leader_than_promised_is_noticed(stage: Stage) -> None:
    """When another runner leads than the script says, that breaks a promise, by name."""
    leader = await stage.register("cloud-a", "cloud")
    other = await stage.register("cloud-b", "cloud")
    await stage.client.open_session(leader.runner_id, session_key="1")

    async with stage.alive():
        with pytest.raises(
            BrokenPromise, match="cloud-a leads under epoch 1; it should be cloud-b"
        ):
            await stage.led_by([other], after=0, within=30)


async def test_taints_have_an_owner_a_reason_and_an_end(stage: Stage) -> None:
    """The stage taints as a person does: with owner and reason, and for a while."""
    member = await stage.register("cloud-a", "cloud")

    await stage.taint([member], owner="ada", reason="debugging", ttl=60)

    (taint,) = (await stage.client.runner(member.runner_id)).taints
    assert (taint.key, taint.owner, taint.reason) == ("laptop", "ada", "debugging")
    assert taint.expires_at is not None


async def test_what_does_not_come_true_is_told(stage: Stage) -> None:
    """A wait that ends in vain says for what, and what processes wrote that ended meanwhile."""
    member = await stage.register("cloud-a", "cloud")
    member.child = stage.processes.start("cloud-a", ["no_such_module_at_all"])
    await stage.until("it ends", lambda: not member.process.running, within=20)

    with pytest.raises(BrokenPromise) as broken:
        await stage.until("the moon is full", lambda: False, within=0.1)

    assert "it did not come true that the moon is full" in str(broken.value)
    assert "No module named no_such_module_at_all" in str(broken.value)


async def test_a_runner_that_was_not_started_has_no_process(stage: Stage) -> None:
    """To kill a runner that was never started is a defect of the script."""
    member = await stage.register("cloud-a", "cloud")

    with pytest.raises(RuntimeError, match="cloud-a was not started"):
        _ = member.process


async def test_a_refusal_is_waited_for(stage: Stage, tmp_path: Path) -> None:
    """The code with which a runner's settlement was refused comes from the runner's journal."""
    member = await stage.register("cloud-a", "cloud")
    job_id = await stage.enqueue(seconds=0.1)
    job: Job = await stage.client.job(job_id)
    witness = Witness(Journal(tmp_path / "cloud-a.jsonl"), member.runner_id)
    witness.started(job)
    witness.finished(job)
    witness.refused(job, StaleClaim("too late"))

    assert await stage.refusal(member, job_id) == "stale-claim"


async def test_a_journal_is_read_line_by_line(stage: Stage, tmp_path: Path) -> None:
    """A line counts once it is whole; one that its process was killed in never does."""
    job = await stage.client.job(await stage.enqueue(seconds=0.1))
    path = tmp_path / "cloud-a.jsonl"
    witness = Witness(Journal(path), "runner-1")
    witness.started(job)
    witness.finished(job)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])

    (execution,) = stage.executions()
    assert not execution.finished

    path.write_bytes(whole)
    (execution,) = stage.executions()
    assert execution.finished
