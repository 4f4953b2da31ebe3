"""The logs are structured and hold no secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from api_world import World
from election_ctl_api import configure_logging
from election_ctl_api._logging import log, without_secrets


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the logs go, for this test alone."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    levels = {
        name: logging.getLogger(name).level
        for name in ("election_cli", "election_core", "election_ctl_api", "election_sqlite")
    }
    found = io.StringIO()
    yield found
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in before:
        root.addHandler(handler)
    root.setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)


async def test_no_secret_is_ever_logged(world: World, stream: io.StringIO) -> None:
    """At the finest level, neither tokens nor keys nor claim tokens are in the logs."""
    configure_logging(as_json=True, level="debug", stream=stream)
    await world.group()
    join = (await world.ok("POST", "/v1/tokens", {"kind": "join", "group_id": "g"}))["token"]
    body = {"name": "a", "instance_key": "the-instance-key"}
    answer = await world.ok("POST", "/v1/runner-groups/g/runners", body, token=join)
    path = f"/v1/runners/{answer['runner']['id']}"
    standing = await world.ok("POST", f"{path}/sessions", {"session_key": "the-session-key"})
    await world.job()
    claim = {"session_id": standing["session_id"], "claim_id": "c", "epoch": 1}
    ((item),) = (await world.ok("POST", f"{path}/jobs/claim", claim))["items"]
    settle = {"claim_token": item["claim_token"], "outcome": "nonsense"}
    await world.refused("POST", f"/v1/jobs/{item['job']['id']}/settle", settle)
    await world.refused("GET", "/v1/tokens", token="elt_a-wrong-one-that-was-tried")

    text = stream.getvalue()

    lines = [json.loads(line) for line in text.splitlines()]
    assert {"event": "answered", "route": "/v1/jobs/{job_id}/settle", "status": 400}.items() <= {
        key: value for line in lines if line.get("status") == 400 for key, value in line.items()
    }.items()
    for secret in (
        world.operator,
        join,
        answer["token"],
        item["claim_token"],
        "the-instance-key",
        "the-session-key",
        "a-wrong-one",
    ):
        assert secret not in text


def test_fields_that_hold_secrets_are_hidden(stream: io.StringIO) -> None:
    """Whoever logs a secret by mistake logs that there was one."""
    configure_logging(as_json=True, level="info", stream=stream)

    log.info(
        "careless",
        token="t0",
        Authorization="Bearer t1",
        body={"claim_token": "t2", "more": ["Bearer t3", "elt_t4-t4-t4-t4"]},
        fine="yes",
    )
    logging.getLogger("election_core.engine").warning("by %s", "Bearer t5")

    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["fine"] == "yes"
    assert first["body"]["more"] == ["[hidden]", "[hidden]"]
    assert second["event"] == "by [hidden]"
    assert not any(f"t{number}" in stream.getvalue() for number in range(6))


def test_people_get_lines_of_text(stream: io.StringIO) -> None:
    """Without JSON a line says when, how grave, what and with which facts."""
    configure_logging(level="INFO", stream=stream)

    log.info("listening", port=7)
    log.debug("not shown")
    logging.getLogger("somebody.else").info("not shown either")

    (line,) = stream.getvalue().splitlines()
    assert "listening" in line
    assert "port=7" in line


def test_known_secrets_are_taken_out_of_a_text() -> None:
    """A text loses the secrets that are named, and what looks like a token."""
    assert without_secrets("a s3cret b", ["s3cret", ""]) == "a [hidden] b"
    assert without_secrets("bearer abc.def") == "[hidden]"
