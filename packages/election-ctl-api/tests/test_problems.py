"""How errors are told."""

from __future__ import annotations

import logging

import pytest
from typing_extensions import override

from api_world import World, problem_of, running
from election_core import (
    CODES,
    ElectionError,
    GroupInfo,
    OutcomeUnknown,
    Page,
    SchemaMismatch,
    Unavailable,
)
from election_core.memory import MemoryStore
from election_ctl_api._answers import problem
from election_ctl_api._examples import problem_example


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/events", "/v1/nothing", "/v1/runner-groups/g/nothing", "/V1/tokens"]
)
@pytest.mark.parametrize("token", [None, ""])
async def test_an_unknown_address_is_a_problem(world: World, path: str, token: str | None) -> None:
    """What is not there is 404 as a problem, to anybody."""
    found = await world.refused("GET", path, token=token)

    assert (found["status"], found["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/tokens", {"GET", "HEAD", "POST"}),
        ("PATCH", "/v1/runners/r", {"GET", "HEAD", "DELETE"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("TRACE", "/v1/runner-groups/g", {"GET", "HEAD", "PATCH", "DELETE"}),
    ],
)
async def test_another_method_is_a_problem_that_names_those_allowed(
    world: World, method: str, path: str, allowed: set[str]
) -> None:
    """A method that an address does not take is 405 with `Allow`."""
    answer = await world.call(method, path)

    assert problem_of(answer)["code"] == "method-not-allowed"
    assert set(answer.headers["allow"].split(", ")) == {*allowed, "OPTIONS"}


async def test_options_tells_what_is_allowed(world: World) -> None:
    """`OPTIONS` is answered without a token."""
    answer = await world.call("OPTIONS", "/v1/runner-groups/g", token=None)

    assert answer.status_code == 204
    assert answer.headers["allow"] == "GET, HEAD, PATCH, DELETE, OPTIONS"


class BrokenStore(MemoryStore):
    """Raises what it is told to."""

    error: Exception = Unavailable("the disk is away")

    @override
    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        """See the port."""
        raise self.error

    @override
    async def ready(self) -> None:
        """See the port."""
        raise self.error


@pytest.mark.parametrize(
    "error", [Unavailable("away"), OutcomeUnknown("lost"), SchemaMismatch("schema 9 is newer")]
)
async def test_a_store_that_is_away_is_503(
    error: ElectionError, caplog: pytest.LogCaptureFixture
) -> None:
    """A store's trouble is `store-unavailable` with `Retry-After`, for calls and readiness.

    What is the matter with it, and where it is, the log tells and not the answer.
    """
    store = BrokenStore()
    store.error = error
    async with running(store) as world:
        for path in ("/v1/runner-groups", "/readyz"):
            answer = await world.call("GET", path)
            found = problem_of(answer)
            assert (found["status"], found["code"]) == (503, "store-unavailable")
            assert found["title"] == error.title
            assert str(error) not in answer.text
            assert caplog.records[-1].__dict__["detail"] == str(error)
            assert int(answer.headers["retry-after"]) >= 1
        assert (await world.call("GET", "/healthz")).status_code == 200


async def test_an_unexpected_error_is_told_without_its_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A fault of ours is 500 `internal`; the log says where, the answer does not."""
    store = BrokenStore()
    store.error = KeyError("elt_not-for-the-log-at-all")
    async with running(store) as world:
        with caplog.at_level(logging.ERROR):
            answer = await world.call("GET", "/v1/runner-groups")

    assert problem_of(answer)["code"] == "internal"
    assert "Traceback" not in answer.text
    assert "KeyError" not in answer.text
    (record,) = [record for record in caplog.records if record.name == "election_ctl_api"]
    assert record.__dict__["error"] == "KeyError"
    assert "test_problems.py" in record.__dict__["traceback"]
    assert "not-for-the-log" not in repr(record.__dict__)


async def test_readiness_and_health(world: World) -> None:
    """A service that is well says so."""
    for path in ("/healthz", "/readyz"):
        assert await world.ok("GET", path, token=None) == {"status": "ok"}


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_problem(code: str) -> None:
    """Each code of the contract is told with type, title, status, detail and itself."""
    found = problem(problem_example(CODES[code]))

    assert found["code"] == code
    assert found["type"] == f"urn:election:problem:{code}"
    assert found["status"] == CODES[code].status
    assert {"title", "detail"} <= set(found)
