"""`election runners`, `taint`, `untaint`, `drain`, `undrain`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from command_world import Run, Server
from election_cli._exits import ExitCode


def test_runners_are_registered_and_listed(election: Run, server: Server, group: str) -> None:
    """A runner is registered with a token that is good, and listed, the oldest first."""
    server.group(group)
    made = election(
        "runners", "register", group, "cloud", "--platform", "linux", "--label", "zone=a",
        "--runner-version", "7", "--json",
    ).json  # fmt: skip
    assert made["runner"]["labels"] == {"zone": "a"}
    assert election("runners", group, ELECTION_TOKEN=made["token"]).code == 0
    told = election("runners", "register", group, "laptop")
    assert "token (shown once)  elt_" in told.out

    listed = election("runners", group)
    assert listed.rows[0][:4] == ["RUNNER", "STATUS", "ROLE", "TAINTS"]
    assert [row[:6] for row in listed.rows[1:]] == [
        ["cloud", "pending", "standby", "-", "zone=a", "7"],
        ["laptop", "pending", "standby", "-", "-", "-"],
    ]
    found = election("runners", "list", group, "--json").json
    assert [runner["name"] for runner in found["items"]] == ["cloud", "laptop"]
    assert found["next_cursor"] is None


@pytest.mark.parametrize("how", ["id", "group/name", "--group name", "--group id", "variable"])
def test_a_runner_may_be_named_in_many_ways(
    how: str, election: Run, server: Server, group: str
) -> None:
    """An id, GROUP/NAME, or either with a group named beside it."""
    runner_id = server.group(group, "cloud")["cloud"]
    arguments = {
        "id": [runner_id],
        "group/name": [f"{group}/cloud"],
        "--group name": ["cloud", "--group", group],
        "--group id": [runner_id, "-g", group],
        "variable": ["cloud"],
    }[how]
    variables = {"ELECTION_GROUP": group} if how == "variable" else {}

    found = election("runners", "show", *arguments, "--json", **variables)

    assert found.json["id"] == runner_id


def test_a_name_that_is_not_there_is_told_with_its_group(
    election: Run, server: Server, group: str
) -> None:
    """Where a name was looked for, and how to see those that are there."""
    server.group(group, "cloud")

    found = election("taint", f"{group}/clod")

    assert found.code == ExitCode.NOT_FOUND
    assert (
        f"no runner 'clod' in group '{group}'; `election runners {group}` lists them" in found.err
    )


def test_a_runner_is_deleted(election: Run, server: Server, group: str) -> None:
    """A deleted runner is told by name, and is gone."""
    server.group(group, "a", "b")

    assert "Deleted runner a (runner-" in election("runners", "delete", f"{group}/a").out
    assert set(election("runners", "delete", f"{group}/b", "--json").json) == {"deleted"}
    found = election("runners", group)
    assert found.rows[1:] == []
    assert "There are no runners" in found.err


def test_a_tainted_leader_steps_down(election: Run, server: Server, group: str) -> None:
    """A taint has an owner, a reason and an end, and shows in everything."""
    runner_id = server.group(group, "cloud", "laptop")["cloud"]

    tainted = election(
        "taint", f"{group}/cloud", "--owner", "ada", "--reason", "debugging", "--ttl", "8h"
    )
    assert tainted.code == 0
    assert "role         stepping-down" in tainted.out
    assert "taint        manual (no-lead) by ada until " in tainted.out
    assert tainted.out.count("debugging") == 1

    shown = election("runners", "show", f"{group}/cloud", "--json").json["taints"][0]
    assert (shown["key"], shown["effect"], shown["owner"]) == ("manual", "no-lead", "ada")
    left = datetime.fromisoformat(shown["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=7) < left <= timedelta(hours=8, seconds=5)
    assert "manual:no-lead" in election("runners", group).out
    assert server.standing(runner_id).role == "stepping-down"


def test_taints_are_removed_by_their_owner_or_by_force(
    election: Run, server: Server, group: str
) -> None:
    """Another's taint stays unless forced; one's own goes, with the owner from the environment."""
    server.group(group, "cloud")
    name = f"{group}/cloud"
    election("taint", name, "--key", "a", "--value", "1", "--effect", "no-elect", "--owner", "ada")
    election("taint", name, "--key", "b", "--effect", "prefer-no-elect", ELECTION_OWNER="bob")

    assert "taint 2" in election("runners", "show", name).out
    refused = election("untaint", name, "--key", "a", "--owner", "bob")
    assert refused.code == ExitCode.REFUSED
    assert "(owned-by-other); give --owner its owner's name, or --force" in refused.err

    left = election("untaint", name, "--json", ELECTION_OWNER="bob").json["taints"]
    assert [(taint["key"], taint["value"]) for taint in left] == [("a", "1")]
    assert election("untaint", name, "--force", "--json").json["taints"] == []


def test_a_drained_runner_finishes_and_comes_back(
    election: Run, server: Server, group: str
) -> None:
    """A drain is told with its reason, and lasts until it is ended."""
    server.group(group, "cloud", "laptop")
    name = f"{group}/cloud"

    drained = election("drain", name, "--reason", "upgrade", "--timeout", "5m")
    assert "status       draining" in drained.out
    assert ": upgrade" in drained.out
    found = election("drain", name, "--timeout", "5m", "--json").json
    assert found["drain"]["timeout_seconds"] == 300

    assert election("undrain", name, "--json").json["drain"] is None
    assert "status       active" in election("undrain", name).out
