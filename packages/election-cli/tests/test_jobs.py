"""`election jobs`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from command_world import Run, Server
from election_cli._exits import ExitCode
from election_core import ClaimedJob
from election_sdk import Client


def test_a_job_is_added_shown_and_listed(election: Run, server: Server, group: str) -> None:
    """What was asked for is what the job has."""
    server.group(group)
    made = election(
        "jobs", "add", group, "compile", "--payload", '{"target": "ä"}', "--priority", "5",
        "--max-attempts", "2", "--json",
    ).json  # fmt: skip
    assert (made["kind"], made["payload"], made["priority"]) == ("compile", {"target": "ä"}, 5)

    told = election("jobs", "show", made["id"]).out
    assert "state      queued" in told
    assert "attempts   0 of 2" in told
    assert 'payload    {"target": "ä"}' in told

    listed = election("jobs", group)
    assert listed.rows[0][:5] == ["JOB", "KIND", "STATE", "TRIES", "PRIORITY"]
    assert listed.rows[1][:5] == [made["id"], "compile", "queued", "0/2", "5"]
    assert [job["id"] for job in election("jobs", group, "--json").json["items"]] == [made["id"]]


def test_a_payload_may_come_from_a_file_or_a_pipe(
    election: Run, server: Server, group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`@FILE` and `-` are read; without a payload it is null."""
    server.group(group)
    (tmp_path / "payload.json").write_text("[1, 2]")
    monkeypatch.setattr("sys.stdin", io.StringIO('"piped"'))

    def payload(*arguments: str) -> object:
        return election("jobs", "add", group, "k", "--json", *arguments).json["payload"]

    assert payload("--payload", f"@{tmp_path / 'payload.json'}") == [1, 2]
    assert payload("--payload", "-") == "piped"
    assert payload() is None


def test_the_same_key_is_the_same_job(election: Run, server: Server, group: str) -> None:
    """Repeating a command with its key adds nothing; with another body it is refused."""
    server.group(group)

    def add(kind: str) -> object:
        found = election("jobs", "add", group, kind, "--key", "once", "--json")
        return found.json["id"] if found.code == 0 else found.code

    assert add("a") == add("a")
    assert add("b") == ExitCode.REFUSED


def test_a_list_goes_on_where_it_ended(election: Run, server: Server, group: str) -> None:
    """A list that was cut says how to see the rest, and a program gets the cursor."""
    server.group(group)
    made = [election("jobs", "add", group, f"k{n}", "--json").json["id"] for n in range(5)]

    first = election("jobs", group, "--limit", "3", "--json").json
    rest = election("jobs", group, "--cursor", first["next_cursor"], "--json").json
    assert [job["id"] for job in first["items"] + rest["items"]] == made
    assert rest["next_cursor"] is None
    told = election("jobs", group, "--limit", "3")
    assert len(told.rows) == 4
    assert "There are more: --cursor " in told.err
    assert [row[1] for row in election("jobs", group, "--state", "failed").rows[1:]] == []


def test_a_job_is_cancelled(election: Run, server: Server, group: str) -> None:
    """A queued one at once; of a running one, its runner is asked."""
    ids = server.group(group, "cloud")
    queued, running = (
        election("jobs", "add", group, "k", "--json", "--priority", priority).json["id"]
        for priority in ("0", "1")
    )

    async def claim(client: Client) -> tuple[ClaimedJob, ...]:
        session_id = (await client.runner(ids["cloud"])).session_id or ""
        return await client.claim(ids["cloud"], session_id, claim_id="c1", epoch=1)

    assert [claimed.job.id for claimed in server.do(claim)] == [running]
    assert election("jobs", group).rows[2][:6] == [running, "k", "running", "1/3", "1", "cloud"]

    assert election("jobs", "cancel", queued).out == f"Job {queued} is cancelled.\n"
    assert election("jobs", "cancel", running).out == (
        f"Job {running} is running; its runner is asked to stop.\n"
    )
    assert election("jobs", "cancel", running, "--json").json["cancel_requested"] is True
    assert "running, to be cancelled" in election("jobs", "show", running).out


def test_a_job_may_be_for_one_runner(election: Run, server: Server, group: str) -> None:
    """An addressed job names its runner, by name or id."""
    ids = server.group(group, "cloud")

    made = election("jobs", "add", group, "shutdown", "--runner", "cloud", "--json").json

    assert (made["runner_id"], made["max_attempts"]) == (ids["cloud"], 1)
    assert election("jobs", group).rows[1][5] == "for cloud"


def test_a_large_payload_is_refused(election: Run, server: Server, group: str) -> None:
    """What the server does not keep is told with its code."""
    server.group(group)

    found = election("jobs", "add", group, "k", "--payload", json.dumps("x" * 70_000))

    assert found.code == ExitCode.USAGE
    assert "(payload-too-large)" in found.err
