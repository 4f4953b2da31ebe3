"""`election events`."""

from __future__ import annotations

import json
from pathlib import Path

from command_world import DEADLINE, Run, Server, environment, read_line, start
from election_cli._exits import ExitCode


def test_history_is_told_oldest_first(election: Run, server: Server, group: str) -> None:
    """As a table with names of runners, and as JSON."""
    server.group(group, "cloud")

    told = election("events", group)
    assert told.rows[0] == ["ID", "AT", "EVENT", "EPOCH", "RUNNER", "REASON", "BY"]
    kinds = [row[2] for row in told.rows[1:]]
    assert kinds[:2] == ["group-created", "runner-registered"]
    elected = next(row for row in told.rows if row[2] == "elected")
    assert elected[3:5] == ["1", "cloud"]

    found = election("events", group, "--json").json
    assert [event["kind"] for event in found["items"]] == kinds
    ids = [event["id"] for event in found["items"]]
    assert ids == sorted(ids)


def test_history_may_be_read_in_parts(election: Run, server: Server, group: str) -> None:
    """A limit alone gives the newest; behind an event, the next ones."""
    server.group(group, "a", "b")
    ids = [event["id"] for event in election("events", group, "--json").json["items"]]

    def part(*arguments: str) -> list[int]:
        found = election("events", group, "--json", *arguments).json
        return [event["id"] for event in found["items"]]

    assert part("--limit", "2") == ids[-2:]
    assert part("--after", str(ids[0]), "--limit", "2") == ids[1:3]
    assert part("--after", str(ids[0]), "--limit", "900") == ids[1:]
    assert part("--after", str(ids[-1])) == []
    assert election("events", group, "--limit", "0").code == ExitCode.USAGE


def test_following_tells_what_was_and_what_comes(
    election: Run, server: Server, group: str, tmp_path: Path
) -> None:
    """With --json each event is one line, past ones first, each once, as it happens."""
    ids = server.group(group, "cloud")
    kept = [event["id"] for event in election("events", group, "--json").json["items"]]
    follower = start(
        "events", group, "--follow", "--json",
        env=environment(tmp_path, ELECTION_URL=server.url, ELECTION_TOKEN=server.token),
    )  # fmt: skip

    past = [json.loads(read_line(follower))["id"] for _ in kept]
    election("taint", ids["cloud"], "--reason", "now")
    event = json.loads(read_line(follower))
    follower.terminate()
    follower.communicate(timeout=DEADLINE)

    assert past == kept
    assert (event["kind"], event["runner_id"], event["id"] > kept[-1]) == (
        "tainted",
        ids["cloud"],
        True,
    )


def test_following_may_be_limited(election: Run, server: Server, group: str) -> None:
    """Behind an event, a limit ends it; people get names, also of runners that are new."""
    server.group(group, "cloud")
    first = election("events", group, "--json").json["items"][0]["id"]

    told = election("events", group, "--follow", "--after", str(first), "--limit", "2")

    assert told.code == 0
    lines = told.out.splitlines()
    assert len(lines) == 2
    assert "runner-registered  epoch 0  cloud" in lines[0]
