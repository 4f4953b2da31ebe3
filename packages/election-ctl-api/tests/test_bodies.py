"""What may come as a body, and that nothing that comes is an error of ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_world import Member, World, problem_of, running
from election_core import Invalid, encode
from election_ctl_api._examples import body_example
from election_ctl_api._operations import Operation
from election_ctl_api._reading import MAX_BODY_BYTES, read_document
from election_ctl_api._routes import OPERATIONS

WITH_BODY = [operation for operation in OPERATIONS if operation.body is not None]

BAD_BODIES = {
    "no JSON": b"{",
    "two values": b"{} {}",
    "a trailing comma": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "out of range": b'{"a": 1e400}',
    "too many digits": b'{"a": %s}' % (b"9" * 5000),
    "twice": b'{"a": 1, "a": 2}',
    "twice, deep": b'{"b": [{"a": 1, "a": 2}]}',
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a control character": b'{"a": "\n"}',
    "an array": b"[]",
    "a string": b'"a"',
    "null": b"null",
    "a number": b"1",
    "deep arrays": b'{"a": %s%s}' % (b"[" * 5000, b"]" * 5000),
    "deep objects": b'{"a":' * 500 + b"1" + b"}" * 500,
    "very deep": b"[" * 500_000,
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_body_that_is_no_strict_json_object_is_invalid(world: World, name: str) -> None:
    """Every such body is a problem with status 400, for operators and runners alike."""
    await world.group()
    member = await world.member()

    for path in ("/v1/runner-groups", f"/v1/runners/{member.id}/heart-beats"):
        problem = await world.refused("POST", path, content=BAD_BODIES[name])
        assert (problem["status"], problem["code"]) == (400, "invalid")


async def test_a_body_may_come_without_its_media_type(world: World) -> None:
    """What `curl -d` sends is read as JSON."""
    answer = await world.call(
        "POST",
        "/v1/runner-groups",
        content=b'{"id": "g"}',
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert answer.status_code == 201


async def test_a_large_body_is_refused_by_size(world: World) -> None:
    """A body over 1 MiB is 413, whether its length was announced or not."""
    content = b'{"id": "g", "x": "%s"}' % (b"x" * MAX_BODY_BYTES)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 65536):
            yield content[start : start + 65536]

    announced = await world.refused("POST", "/v1/runner-groups", content=content)
    async with world.client(world.operator) as client:
        streamed = problem_of(await client.post("/v1/runner-groups", content=chunks()))

    for problem in (announced, streamed):
        assert (problem["status"], problem["code"]) == (413, "payload-too-large")
        assert problem["limit"] == MAX_BODY_BYTES


async def test_an_endless_body_is_not_read_to_its_end(world: World) -> None:
    """Of a body without an end no more is taken than within reason."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * MAX_BODY_BYTES

    async with world.client(world.operator) as client:
        problem = problem_of(await client.post("/v1/runner-groups", content=endless()))

    assert problem["code"] == "payload-too-large"
    assert taken < 20


async def test_what_is_quoted_is_clipped(world: World) -> None:
    """A field name of a megabyte does not come back as one, and odd characters do no harm."""
    for name in ("x" * 500_000, "\\ud800"):
        answer = await world.call("POST", "/v1/runner-groups", content=b'{"%s": 1}' % name.encode())
        assert problem_of(answer)["code"] == "invalid"
        assert len(answer.content) < 5_000


def test_nesting_is_limited_at_any_place() -> None:
    """Up to 64 levels are read, one more is refused, wherever it stands."""
    for around in (b'{"a":%s}', b'{"a":{"b":[1,%s]}}'):
        outside = around.count(b"{") + around.count(b"[")
        fine, deep = (b"[" * depth + b"]" * depth for depth in (64 - outside, 65 - outside))
        read_document(around % fine)
        with pytest.raises(Invalid):
            read_document(around % deep)


# Whatever is sent.

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def _bodies(draw: st.DrawFn, operation: Operation) -> bytes:
    """A body that is close to what the operation takes, or far from it."""
    assert operation.body is not None
    example = encode(body_example(operation.body))
    assert isinstance(example, dict)
    body = dict(example)
    for name in draw(st.lists(st.sampled_from(sorted(body)), max_size=2)) if body else []:
        if draw(st.booleans()):
            body.pop(name, None)
        else:
            body[name] = draw(JSON)
    if draw(st.booleans()):
        body[draw(st.text())] = draw(JSON)
    content = json.dumps(body).encode()
    if draw(st.integers(0, 9)) == 0:
        cut = draw(st.integers(0, len(content)))
        content = content[:cut] + draw(st.binary(max_size=4)) + content[cut + 1 :]
    return content


@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda operation: operation.name)
async def test_no_body_is_an_error_of_ours(operation: Operation) -> None:
    """Whatever is sent to a route, the answer is a success or a problem below 500."""
    sent: list[bytes] = []

    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
    @given(_bodies(operation))
    def collect(content: bytes) -> None:
        sent.append(content)

    collect()
    async with running() as world:
        await world.group()
        member = await world.member()
        job = await world.job()
        path = operation.path.format(group="g", runner_id=member.id, job_id=job["id"])
        async with world.client(world.operator) as client:
            for content in sent:
                answer = await client.request(operation.method, path, content=content)
                _check(answer, content, member)


def _check(answer: httpx.Response, content: bytes, member: Member) -> None:
    if answer.is_success:
        return
    problem = problem_of(answer)
    assert problem["status"] < 500, (content, problem)
