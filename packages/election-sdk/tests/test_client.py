"""The operator's client: every call, and what it makes of answers and of none."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from election_core import (
    ConflictError,
    CursorExpired,
    DecisionInfo,
    ElectionError,
    Forbidden,
    InternalError,
    Invalid,
    JobState,
    NoLeader,
    NotEligible,
    NotFound,
    OutcomeUnknown,
    OwnedByOther,
    RunnerStatus,
    SessionEnded,
    StaleClaim,
    StaleEpoch,
    TokenKind,
    Unauthenticated,
    Unavailable,
)
from election_sdk import Client
from sdk_plane import DEADLINE, Plane, Proxy, until


async def test_groups(plane: Plane) -> None:
    """Groups are created once, read, listed page by page, changed and deleted."""
    async with plane.group(lease_seconds=20) as (group, client):
        again = await client.create_group(group, settings={"lease_seconds": 20})
        assert again.settings.lease == timedelta(seconds=20)
        with pytest.raises(ConflictError):
            await client.create_group(group, settings={"lease_seconds": 21})
        changed = await client.update_group(group, {"handover_timeout_seconds": 5})
        assert changed.settings.handover_timeout == timedelta(seconds=5)
        assert await client.group(group) == changed
        assert (await client.create_group()).id.startswith("g-")

        found, cursor = [], None
        while True:
            page = await client.groups(cursor=cursor, limit=2)
            found += [info.id for info in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert group in found
        assert len(found) == len(set(found))

        await client.delete_group(group)
        with pytest.raises(NotFound):
            await client.group(group)


async def test_leadership(plane: Plane) -> None:
    """Leaders are told, chosen, explained and imagined; refusals come with their facts."""
    async with plane.group() as (group, client):
        with pytest.raises(NoLeader):
            await client.leader(group)
        ids = [(await client.register(group, name)).runner.id for name in ("a", "b")]
        with pytest.raises(NotEligible):
            await client.pin(group, ids[1])
        standings = [await client.open_session(id_, session_key=id_) for id_ in ids]
        assert (await client.leader(group)).runner.id == ids[0]

        imagined = await client.what_if(group, [{"lose": {"runner_id": ids[0]}}])
        assert imagined.leader_runner_id == ids[1]
        pinned = await client.pin(group, ids[1], reason="a test", ttl=timedelta(hours=1))
        assert isinstance(pinned, DecisionInfo)
        assert pinned.successor_runner_id == ids[1]
        explained = await client.explain(group)
        assert (explained.outcome, explained.successor_runner_id) == ("hand-over", ids[1])
        assert {verdict.runner_id for verdict in explained.ballot} == set(ids)
        unpinned = await client.unpin(group)
        assert (unpinned.outcome, unpinned.leader_runner_id) == ("keep", ids[0])
        with pytest.raises(ConflictError):
            await client.delete_group(group)
        await client.delete_group(group, force=True)
        assert standings[0].epoch == 1


async def test_runners(plane: Plane) -> None:
    """Runners are registered, marked, and told."""
    async with plane.group() as (group, client):
        made = await client.register(
            group, "a", platform="linux", labels={"zone": "x"}, version="1", taints=[{"key": "new"}]
        )
        assert made.created
        assert made.token
        assert [taint.key for taint in made.runner.taints] == ["new"]
        assert not (await client.register(group, "a")).created
        runner = made.runner.id
        assert (await client.runner(runner)).status is RunnerStatus.PENDING
        tainted = await client.taint(runner, owner="me", ttl=timedelta(hours=1))
        assert {taint.key for taint in tainted.taints} == {"new", "manual"}
        with pytest.raises(OwnedByOther):
            await client.untaint(runner, key="manual", owner="you")
        assert (await client.untaint(runner, force=True)).taints == ()
        drained = await client.drain(runner, reason="rest", timeout=timedelta(seconds=3))
        assert drained.drain is not None
        assert (drained.drain.reason, drained.drain.timeout) == ("rest", timedelta(seconds=3))
        assert (await client.undrain(runner)).drain is None
        assert [found.id for found in (await client.runners(group)).items] == [runner]
        await client.delete_runner(runner)
        with pytest.raises(NotFound):
            await client.runner(runner)


async def test_sessions_and_jobs(plane: Plane) -> None:
    """A session by hand: it leads, claims, settles, releases and leaves; the late are refused."""
    async with plane.group() as (group, client):
        runner = (await client.register(group, "a")).runner.id
        session = (await client.open_session(runner, session_key="k")).session_id
        standing = await client.heartbeat(runner, session, seq=1, ready=True)
        assert standing.role == "leader"
        job = await client.enqueue(group, "work", {"n": 1}, priority=3, idempotency_key="once")
        assert (
            await client.enqueue(group, "work", {"n": 1}, priority=3, idempotency_key="once")
        ) == job
        with pytest.raises(ConflictError):
            await client.enqueue(group, "other", idempotency_key="once")
        with pytest.raises(StaleEpoch) as stale:
            await client.claim(runner, session, claim_id="c0", epoch=99)
        assert stale.value.facts["current_epoch"] == 1
        (claimed,) = await client.claim(runner, session, claim_id="c1", epoch=1)
        assert (await client.claim(runner, session, claim_id="c1", epoch=1)) == (claimed,)
        assert claimed.job.payload == {"n": 1}
        done = await client.settle(job.id, claimed.claim_token, "succeeded", result=[1, None])
        assert (done.state, done.result) == (JobState.SUCCEEDED, [1, None])
        with pytest.raises(StaleClaim):
            await client.settle(job.id, claimed.claim_token, "failed", error="no")
        queued = await client.enqueue(group, "work")
        assert (await client.cancel(queued.id)).state is JobState.CANCELLED
        assert [j.id for j in (await client.jobs(group, state="succeeded")).items] == [job.id]
        assert (await client.release(runner, session, 1, reason="enough")).epoch == 2
        await client.leave(runner, session)
        await client.leave(runner, session)
        with pytest.raises(SessionEnded):
            await client.heartbeat(runner, session)


async def test_a_waiting_heartbeat_wakes_on_news(plane: Plane) -> None:
    """The answer is held until the standing changes, and then comes at once."""
    async with plane.group(lease_seconds=600) as (group, client):
        runner = (await client.register(group, "a")).runner.id
        standing = await client.open_session(runner, session_key="k")
        told = []
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as tasks:

                async def wait() -> None:
                    told.append(
                        await client.heartbeat(
                            runner,
                            standing.session_id,
                            seen=standing.standing_version,
                            wait=timedelta(seconds=150),
                        )
                    )

                tasks.start_soon(wait)
                await client.taint(runner)
        assert told[0].role == "stepping-down"


async def test_tokens(plane: Plane) -> None:
    """Tokens are made, listed without secrets, valid for what they are for, and revoked."""
    async with plane.group() as (group, client):
        made = await client.create_token("viewer", ttl=timedelta(hours=1))
        assert made.token.kind is TokenKind.VIEWER
        assert made.secret not in repr(made)
        async with Client(plane.url, token=made.secret) as viewer:
            assert (await viewer.group(group)).id == group
            with pytest.raises(Forbidden):
                await viewer.delete_group(group)
        assert made.token.id in {token.id for token in (await client.tokens(limit=500)).items}
        await client.revoke_token(made.token.id)
        with pytest.raises(NotFound):
            await client.revoke_token(made.token.id)
        async with Client(plane.url) as nobody:
            with pytest.raises(Unauthenticated):
                await nobody.groups()


async def test_health(plane: Plane) -> None:
    """A server that runs is healthy, ready and measured; one that does not is neither."""
    async with plane.client() as client:
        assert await client.health()
        assert await client.ready()
        assert "election" in await client.metrics()
    async with Client("http://127.0.0.1:1", retries=0) as client:
        assert not await client.health()
        assert not await client.ready()
        with pytest.raises(Unavailable, match="does not answer"):
            await client.groups()


@pytest.mark.parametrize("part", ["", ".", ".."])
async def test_an_identifier_that_means_another_resource_is_refused(
    plane: Plane, part: str
) -> None:
    """No id can turn a call into another one."""
    async with plane.client() as client:
        with pytest.raises(Invalid):
            await client.delete_runner(part)


async def test_identifiers_are_quoted(plane: Plane) -> None:
    """What looks like a path is one identifier, which does not exist."""
    async with plane.group() as (group, client):
        with pytest.raises(ElectionError) as caught:
            await client.runner(f"../runner-groups/{group}?x=#")
        assert caught.value.code in ("not-found", "invalid")


@pytest.mark.parametrize("payload", [float("nan"), object(), "\ud800", {1, 2}])
async def test_a_payload_that_is_no_json_is_refused_here(plane: Plane, payload: object) -> None:
    """It is the caller's mistake, and named as one."""
    async with plane.group() as (group, client):
        with pytest.raises(Invalid):
            await client.enqueue(group, "work", payload)


# ------------------------------------------------------------------ other servers


@asynccontextmanager
async def answering(
    *answers: tuple[int, Mapping[str, str], bytes],
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives these answers, one per connection, the last again and again."""
    asked: list[bytes] = []

    async def handle(stream: SocketStream) -> None:
        async with stream:
            asked.append(await stream.receive())
            status, headers, body = answers[min(len(asked), len(answers)) - 1]
            lines = [f"HTTP/1.1 {status} X", "Connection: close", f"Content-Length: {len(body)}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            await stream.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}", asked
        tasks.cancel_scope.cancel()


HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}
PROBLEM = {"Content-Type": "application/problem+json"}


def problem(code: str, status: int, **facts: object) -> bytes:
    """The body of a problem."""
    return json.dumps({"code": code, "status": status, "detail": "no", **facts}).encode()


async def test_a_busy_server_is_asked_again_when_it_says(plane: Plane) -> None:
    """`Retry-After` is the least that a client waits."""
    busy = (503, {**PROBLEM, "Retry-After": "0.3"}, problem("store-unavailable", 503))
    fine = (200, JSON, b'{"items": []}')
    async with answering(busy, fine) as (url, asked), Client(url) as client:
        began = anyio.current_time()
        assert (await client.groups()).items == ()
        assert anyio.current_time() - began >= 0.3
        assert len(asked) == 2


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", None, None),
        ("soon", None, None),
        ("-3", 0, 0),
        ("2.5", 2.5, 2.5),
        ("86400", 60, 60),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 60, 60),
        ("Fri, 01 Jan 2100 00:00:00 -0000", 60, 60),
    ],
)
async def test_what_a_server_asks_to_wait(
    text: str, least: float | None, most: float | None
) -> None:
    """Seconds or a date; never negative, never so long that a client hangs on one server's word."""
    busy = (429, {**HTML, **({"Retry-After": text} if text else {})}, b"")
    async with answering(busy) as (url, _), Client(url, retries=0) as client:
        with pytest.raises(Unavailable) as caught:
            await client.groups()
    asked = caught.value.facts.get("retry_after_seconds")
    if least is None or most is None:
        assert asked is None
    else:
        assert isinstance(asked, float)
        assert least <= asked <= most


async def test_retries_come_to_an_end(plane: Plane) -> None:
    """After the last retry the error is raised, with its facts."""
    down = (500, PROBLEM, problem("internal", 500, where="store"))
    async with answering(down) as (url, asked), Client(url, retries=2) as client:
        with pytest.raises(InternalError) as caught:
            await client.groups()
        assert len(asked) == 3
        assert caught.value.facts["where"] == "store"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((404, HTML, b"<html>"), Unavailable),
        ((200, HTML, b"<html>"), Unavailable),
        ((200, JSON, b'{"id": 3}'), Unavailable),
        ((200, JSON, b"[]"), Unavailable),
        ((200, JSON, b"\xff"), Unavailable),
        ((409, PROBLEM, b"<html>"), Unavailable),
        ((409, PROBLEM, b"[]"), Unavailable),
    ],
)
async def test_a_server_that_is_no_control_plane_is_told(
    answer: tuple[int, Mapping[str, str], bytes], error: type[ElectionError]
) -> None:
    """A wrong address is no missing group: the text asks whether this is the control API."""
    async with answering(answer) as (url, asked), Client(url) as client:
        with pytest.raises(error, match="is this the control API"):
            await client.group("g")
        assert len(asked) == 1


async def test_a_gateway_that_failed_leaves_a_write_unknown() -> None:
    """A proxy's 502 does not say that nothing happened."""
    async with answering((502, HTML, b"")) as (url, _), Client(url, retries=0) as client:
        with pytest.raises(OutcomeUnknown):
            await client.cancel("job")
        with pytest.raises(Unavailable) as caught:
            await client.job("job")
        assert not isinstance(caught.value, OutcomeUnknown)


async def test_a_write_that_may_have_happened_stays_unknown() -> None:
    """That the server is away now does not say that the earlier attempt changed nothing."""
    away = (503, PROBLEM, problem("store-unavailable", 503))
    async with answering((502, HTML, b""), away) as (url, _), Client(url, retries=1) as client:
        with pytest.raises(OutcomeUnknown):
            await client.cancel("job")


async def test_a_code_of_a_later_version_is_an_error_all_the_same() -> None:
    """An unknown code keeps its text and its facts."""
    odd = (409, PROBLEM, problem("too-green", 409, shade=3))
    async with answering(odd) as (url, asked), Client(url) as client:
        with pytest.raises(ElectionError) as caught:
            await client.job("job")
        assert caught.value.facts == {"shade": 3, "code": "too-green"}
        assert len(asked) == 1


async def test_unknown_fields_and_values_are_ignored() -> None:
    """A newer server's answers can be read."""
    token = {"id": "t", "kind": "auditor", "created_at": "2026-01-01T00:00:00Z", "new": 1}
    body = json.dumps({"items": [token]}).encode()
    async with answering((200, JSON, body)) as (url, _), Client(url) as client:
        (found,) = (await client.tokens()).items
        assert found.kind == "auditor"


# ------------------------------------------------------------------ streams


def more_than(got: list[int], count: int) -> bool:
    """Whether there are more than so many."""
    return len(got) > count


async def test_a_stream_goes_on_where_it_broke(plane: Plane, proxy: Proxy) -> None:
    """Connections break again and again, and every event comes once, in order."""
    got: list[int] = []
    async with plane.group() as (group, client):
        runner = (await client.register(group, "a")).runner.id
        with anyio.fail_after(DEADLINE):
            async with anyio.create_task_group() as tasks:

                async def follow() -> None:
                    async with Client(proxy.url, token=plane.token) as through:
                        async for event in through.follow(group):
                            got.append(event.id)  # noqa: PERF401 - others look at it meanwhile

                tasks.start_soon(follow)
                for n in range(12):
                    await client.taint(runner, key=f"k{n}")
                    if n % 3 == 0:
                        await until(partial(more_than, got, n))
                        await proxy.refuse()
                        await client.untaint(runner, key=f"k{n}")
                        proxy.accept()
                kept = [event.id for event in (await client.events(group)).items]
                await until(lambda: len(got) >= len(kept))
                tasks.cancel_scope.cancel()
        assert got == kept


async def test_a_stream_begins_behind_an_event(plane: Plane) -> None:
    """`after` is where a program left off."""
    async with plane.group() as (group, client):
        await client.register(group, "a")
        first, second = (await client.events(group)).items
        with anyio.fail_after(DEADLINE):
            async for event in client.follow(group, after=first.id):
                assert event == second
                break
        assert (await client.events(group, after=first.id)).items == (second,)


async def test_a_stream_that_cannot_go_on_says_so() -> None:
    """Events that are no longer kept cannot be skipped in silence."""
    gone = (410, PROBLEM, problem("cursor-expired", 410))
    async with answering(gone) as (url, _), Client(url) as client:
        with pytest.raises(CursorExpired):
            await anext(aiter(client.follow("g", after=1)))


async def test_a_stream_of_something_else_is_no_stream() -> None:
    """A page in place of a stream is an error, not a stream without events."""
    async with answering((200, HTML, b"<html>")) as (url, _), Client(url) as client:
        with pytest.raises(Unavailable, match="cannot be read"):
            await anext(aiter(client.follow("g")))


# ------------------------------------------------------------------ secrets


SECRET = "s3cr3t-token"


async def test_no_text_holds_a_token(
    plane: Plane, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither objects, nor errors, nor logs of any level show what is sent as a token."""
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    async with Client(proxy.url, token=SECRET, retries=0) as client:
        texts.append(repr(client))
        with pytest.raises(ElectionError) as refused:
            await client.groups()
        await proxy.refuse()
        with pytest.raises(Unavailable) as away:
            await client.groups()
        errors: list[BaseException | None] = [refused.value, away.value]
        while errors:
            error = errors.pop()
            if error is not None:
                texts += [str(error), repr(error), str(getattr(error, "facts", ""))]
                errors += [error.__cause__]
    runner = plane.runner("g", token=SECRET, join_token=SECRET)
    texts += [repr(runner), caplog.text]
    assert not [text for text in texts if SECRET in text]


@pytest.mark.parametrize("token", ["", "a b", f"{SECRET}\n", f"{SECRET}é"])
def test_a_token_that_cannot_be_one_is_not_shown(token: str) -> None:
    """A token with a line break is refused before it can get into somebody's error."""
    with pytest.raises(ValueError, match="token") as caught:
        Client("http://localhost", token=token)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "ftp://x", "http://", f"http://me:{SECRET}@localhost"]
)
def test_a_url_that_cannot_be_one_is_refused(url: str) -> None:
    """At once, not with the first call."""
    with pytest.raises(ValueError, match="URL") as caught:
        Client(url)
    assert SECRET not in str(caught.value)


async def test_a_client_is_used_as_a_context(plane: Plane) -> None:
    """Forgetting `async with` is told in words."""
    with pytest.raises(RuntimeError, match="async with"):
        await Client(plane.url).groups()
