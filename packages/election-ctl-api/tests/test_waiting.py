"""Calls that wait for news, over real connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from api_world import Member, World, listening
from election_ctl_api._reading import preferred_wait


async def _while(held: Callable[[], Awaitable[Any]], then: Callable[[], Awaitable[Any]]) -> Any:
    """What a held call answers once something else was done; not before, and at once after it."""
    answers: list[Any] = []

    async def hold() -> None:
        answers.append(await held())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            await anyio.sleep(0.2)
            assert answers == []
            await then()
    return answers[0]


def _beat(world: World, member: Member, **fields: object) -> Callable[[], Awaitable[Any]]:
    return lambda: world.call(
        "POST",
        f"/v1/runners/{member.id}/heart-beats",
        {"session_id": member.session_id, **fields},
        headers={"Prefer": "wait=60"},
    )


async def test_a_held_heartbeat_is_woken_by_becoming_leader() -> None:
    """A standby's waiting heartbeat answers as soon as it leads."""
    async with listening() as world:
        await world.group()
        first, second = await world.member("a"), await world.member("b")

        answer = await _while(
            _beat(world, second),
            lambda: world.ok(
                "POST",
                f"/v1/runners/{first.id}/release",
                {"session_id": first.session_id, "epoch": 1},
            ),
        )

        assert answer.headers["preference-applied"] == "wait"
        assert (answer.json()["role"], answer.json()["epoch"]) == ("leader", 2)


async def test_a_held_heartbeat_is_woken_by_having_to_go() -> None:
    """A leader's waiting heartbeat answers as soon as it has to step down."""
    async with listening() as world:
        await world.group()
        first, _ = await world.member("a"), await world.member("b")

        answer = await _while(
            _beat(world, first), lambda: world.ok("POST", f"/v1/runners/{first.id}/taint")
        )

        assert answer.json()["role"] == "stepping-down"


async def test_a_held_heartbeat_is_refused_once_superseded() -> None:
    """A waiting heartbeat of a session that another supersedes is told so at once."""
    async with listening() as world:
        await world.group()
        member = await world.member()

        answer = await _while(
            _beat(world, member),
            lambda: world.ok("POST", f"/v1/runners/{member.id}/sessions", {"session_key": "k2"}),
        )

        assert (answer.status_code, answer.json()["code"]) == (409, "session-superseded")


async def test_a_heartbeat_that_knows_less_is_not_held() -> None:
    """With a `seen` that is older than the standing there is nothing to wait for."""
    async with listening() as world:
        await world.group()
        member = await world.member()

        with anyio.fail_after(2):
            answer = await _beat(world, member, seen=0)()

        assert answer.json()["role"] == "leader"


async def test_waiting_ends_with_the_heartbeat_interval() -> None:
    """However long a caller would wait, the answer comes within the heartbeat interval."""
    async with listening() as world:
        await world.group(lease_seconds=1, heartbeat_seconds=0.3)
        member = await world.member()

        with anyio.fail_after(3):
            began = anyio.current_time()
            answer = await _beat(world, member)()
            took = anyio.current_time() - began

        assert took >= 0.25
        assert answer.json()["lease_remaining_seconds"] == 1


async def test_without_the_preference_nothing_is_held(world: World) -> None:
    """Without `Prefer` the answer is immediate, and says nothing of it."""
    await world.group()
    member = await world.member()

    with anyio.fail_after(2):
        answer = await world.call(
            "POST",
            f"/v1/runners/{member.id}/heart-beats",
            {"session_id": member.session_id},
            headers={"Prefer": "return=minimal"},
        )

    assert "preference-applied" not in answer.headers


async def test_a_held_claim_is_woken_by_a_job() -> None:
    """A leader's waiting claim answers with the job as soon as there is one."""
    async with listening() as world:
        await world.group()
        member = await world.member()

        answer = await _while(
            lambda: world.call(
                "POST",
                f"/v1/runners/{member.id}/jobs/claim",
                {"session_id": member.session_id, "claim_id": "c", "epoch": 1},
                headers={"Prefer": 'respond-async, Wait="30"; foo'},
            ),
            world.job,
        )

        assert answer.headers["preference-applied"] == "wait"
        assert len(answer.json()["items"]) == 1


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([], 0),
        ([""], 0),
        (["wait=5"], 5),
        (["WAIT = 5"], 5),
        (['wait="5"'], 5),
        (["wait=0.25"], 0.25),
        (["return=minimal, wait=7; x=y"], 7),
        (["handling=lenient", "wait=3"], 3),
        (["wait=3, wait=9"], 3),
        (["wait=-1"], 0),
        (["wait=soon"], 0),
        (["wait"], 0),
        (["wait=1e9"], 0),
        (["wait=99999999999999999999"], 3600),
        (["wait=" + "9" * 400], 3600),
        (['for="a, wait=9", wait=2'], 2),
        (['for="a; b", wait=2'], 2),
        (['for="wait=9'], 0),
        (["await=5"], 0),
    ],
)
def test_preferences_are_read_leniently(values: list[str], seconds: float) -> None:
    """The first `wait` that makes sense counts; what does not is ignored, as RFC 7240 asks."""
    assert preferred_wait(values) == timedelta(seconds=seconds)
