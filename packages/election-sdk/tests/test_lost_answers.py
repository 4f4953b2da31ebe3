"""Answers that are lost: what was asked for has come about, and is asked for again."""

from __future__ import annotations

import anyio
import pytest

from election_core import Job, JobState, OutcomeUnknown
from election_sdk import Client
from sdk_plane import DEADLINE, Plane, Proxy, Rule, until, until_told


def once(proxy: Proxy, end: str, method: str = "POST") -> Rule:
    """Lose the first answer to a call whose path ends so."""

    def rule(line: str) -> bool:
        return proxy.cut == 0 and line.startswith(method) and line.endswith(end)

    return rule


async def finished(client: Client, job: Job) -> bool:
    """Whether a job is finished."""
    return (await client.job(job.id)).state.finished


async def kinds(client: Client, group: str) -> list[str]:
    """What happened in a group."""
    return [event.kind for event in (await client.events(group)).items]


@pytest.mark.parametrize("call", ["/runners", "/sessions", "/heart-beats", "/claim", "/settle"])
async def test_a_lost_answer_doubles_nothing(plane: Plane, proxy: Proxy, call: str) -> None:
    """One registration, one session, one claim and one settlement, whichever answer is lost."""
    seen: list[Job] = []

    async def handler(job: Job) -> object:
        seen.append(job)
        return "done"

    proxy.lose_answers(once(proxy, call))
    async with plane.group(lease_seconds=15, heartbeat_seconds=0.5) as (group, client):
        runner = plane.runner(group, url=proxy.url)
        job = await client.enqueue(group, "work")
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runner.run, handler)
                await until(lambda: proxy.cut)
                await until_told(lambda: finished(client, job))
                runner.stop()
        done = await client.job(job.id)
        assert (done.state, done.attempts, done.result) == (JobState.SUCCEEDED, 1, "done")
        assert len(seen) == 1
        happened = await kinds(client, group)
        assert happened.count("session-opened") == 1
        assert happened.count("runner-registered") == 1
        assert happened.count("elected") == 1
        assert not runner.refused


async def test_a_lost_release_is_repeated(plane: Plane, proxy: Proxy) -> None:
    """Leadership that was given up is not held by renewals."""
    proxy.lose_answers(once(proxy, "/release"))
    async with plane.group() as (group, client), plane.runner(group, url=proxy.url) as runner:
        with anyio.fail_after(DEADLINE):
            async for term in runner.terms():
                async with term:
                    pass
                if term.epoch == 2:
                    break
        assert proxy.cut == 1
        assert (await kinds(client, group)).count("released") == 2


async def test_what_was_given_up_is_not_taken_up_again(plane: Plane, proxy: Proxy) -> None:
    """While a release does not get through, renewals do, and yet the term is over."""
    attempts: list[str] = []

    def release(line: str) -> bool:
        if not line.endswith("/release") or len(attempts) >= 5:
            return False
        attempts.append(line)
        return True

    proxy.drop_calls(release)
    async with (
        plane.group(lease_seconds=1) as (group, _),
        plane.runner(group, url=proxy.url) as runner,
    ):
        epochs: list[int] = []
        with anyio.fail_after(DEADLINE):
            async for term in runner.terms():
                async with term:
                    epochs.append(term.epoch)
                if len(epochs) == 2:
                    break
        assert epochs == [1, 2]
        assert len(attempts) == 5


async def test_a_lost_answer_to_enqueueing_makes_one_job(plane: Plane, proxy: Proxy) -> None:
    """The client makes a key of its own, so a repeated call is the same job."""
    proxy.lose_answers(once(proxy, "/jobs"))
    async with plane.group() as (group, client), plane.client() as _:
        client_through = type(client)(proxy.url, token=plane.token)
        async with client_through as through:
            job = await through.enqueue(group, "work")
        assert proxy.cut == 1
        assert [found.id for found in (await client.jobs(group)).items] == [job.id]


async def test_a_lost_answer_to_a_deletion_is_no_error(plane: Plane, proxy: Proxy) -> None:
    """What is gone after a deletion whose answer was lost was deleted by it."""
    async with plane.group() as (group, client):
        runner = (await client.register(group, "a")).runner
        proxy.lose_answers(once(proxy, runner.id, "DELETE"))
        async with type(client)(proxy.url, token=plane.token) as through:
            await through.delete_runner(runner.id)
        assert proxy.cut == 1
        assert (await client.runners(group)).items == ()


async def test_an_outcome_that_stays_unknown_is_said_to_be(plane: Plane, proxy: Proxy) -> None:
    """Nobody is told that nothing happened when something may have."""
    proxy.lose_answers(lambda line: line.endswith("/jobs"))
    async with plane.group() as (group, client):
        async with type(client)(proxy.url, token=plane.token, retries=1) as through:
            with pytest.raises(OutcomeUnknown):
                await through.enqueue(group, "work")
        assert proxy.cut == 2
        assert len((await client.jobs(group)).items) == 1
