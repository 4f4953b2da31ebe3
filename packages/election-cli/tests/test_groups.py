"""`election groups`."""

from __future__ import annotations

import json
from pathlib import Path

from command_world import Run, Server
from election_cli._exits import ExitCode


def test_a_group_is_created_shown_and_listed(election: Run, group: str) -> None:
    """What was asked for is what the group has, in words and in JSON."""
    made = election("groups", "create", group, "--lease", "30s", "--retention", "12h")
    assert made.code == 0
    assert "lease             30s" in made.out
    assert "retention         12h" in made.out
    assert "leader            nobody" in made.out

    shown = election("groups", "show", group, "--json").json
    assert shown["settings"]["lease_seconds"] == 30
    assert shown["settings"]["retention_days"] == 0.5

    listed = election("groups")
    assert listed.rows[0] == ["GROUP", "LEADER", "EPOCH", "LEASE", "PINNED", "HANDOVER", "CREATED"]
    assert [row[:4] for row in listed.rows if row[0] == group] == [[group, "-", "0", "30s"]]
    assert group in [found["id"] for found in election("groups", "list", "--json").json["items"]]


def test_creating_it_again_is_no_error(election: Run, group: str) -> None:
    """The same settings again are fine, others are refused."""
    assert election("groups", "create", group, "--lease", "30s").code == 0
    assert election("groups", "create", group, "--lease", "30s").code == 0
    assert election("groups", "create", group, "--lease", "31s").code == ExitCode.REFUSED


def test_every_setting_has_an_option(election: Run, group: str) -> None:
    """All that a group may be given can be given without writing JSON."""
    made = election(
        "groups", "create", group, "--json",
        "--lease", "20s", "--heartbeat", "4s", "--handover-timeout", "2m", "--retry-backoff", "0.5",
        "--policy", "oldest-active", "--preempt", "--stable-for", "1m", "--prefer-label", "zone=a",
        "--require-label", "disk=ssd", "--tolerate", "maintenance",
        "--tolerate", "spot=yes:no-lead", "--tolerate", "*:no-elect",
    )  # fmt: skip

    settings = made.json["settings"]
    assert settings["heartbeat_seconds"] == 4
    assert settings["handover_timeout_seconds"] == 120
    assert settings["retry_backoff_seconds"] == 0.5
    assert settings["policy"] == {
        "name": "oldest-active",
        "preempt": True,
        "stable_for_seconds": 60,
        "prefer_labels": {"zone": "a"},
        "require_labels": {"disk": "ssd"},
    }
    given = [{k: v for k, v in each.items() if v is not None} for each in settings["tolerations"]]
    assert given == [
        {"key": "maintenance", "operator": "exists"},
        {"key": "spot", "operator": "equal", "value": "yes", "effect": "no-lead"},
        {"operator": "exists", "effect": "no-elect"},
    ]
    shown = election("groups", "show", group).out
    assert "preempt=true prefer_labels=zone=a require_labels=disk=ssd stable_for=1m" in shown
    assert "key=spot operator=equal value=yes effect=no-lead" in shown


def test_settings_may_be_json(election: Run, group: str, tmp_path: Path) -> None:
    """Settings as JSON, also of a file; other options go on top."""
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"lease_seconds": 9, "policy": {"preempt": True}}))

    made = election(
        "groups", "create", group, "--settings", f"@{path}", "--stable-for", "5s", "--json"
    )

    assert made.json["settings"]["lease_seconds"] == 9
    assert made.json["settings"]["policy"]["preempt"] is True
    assert made.json["settings"]["policy"]["stable_for_seconds"] == 5


def test_setting_one_thing_leaves_the_rest(election: Run, group: str) -> None:
    """An option of the policy keeps the policy's other options."""
    election("groups", "create", group, "--lease", "20s", "--prefer-label", "zone=a")

    changed = election("groups", "set", group, "--preempt", "--json").json["settings"]
    assert changed["lease_seconds"] == 20
    assert changed["policy"]["prefer_labels"] == {"zone": "a"}
    assert changed["policy"]["preempt"] is True

    changed = election("groups", "set", group, "--lease", "25s", "--json").json["settings"]
    assert (changed["lease_seconds"], changed["policy"]["preempt"]) == (25, True)


def test_a_group_is_deleted(election: Run, server: Server, group: str) -> None:
    """A group with live runners is deleted by force only."""
    server.group(group, "a")

    assert election("groups", "delete", group).code == ExitCode.REFUSED
    assert election("groups", "delete", group, "--force", "--json").json == {"deleted": group}
    assert election("groups", "show", group).code == ExitCode.NOT_FOUND
    assert election("groups", "delete", group).code == ExitCode.NOT_FOUND


def test_the_list_names_leaders_pins_and_handovers(
    election: Run, server: Server, group: str
) -> None:
    """The list shows leaders by name, and what is going on."""
    server.group(group, "cloud", "laptop")
    election("pin", group, "laptop")

    row = next(row for row in election("groups").rows if row[0] == group)

    assert row[:6] == [group, "cloud", "1", "10m", "yes", "pinned"]
    shown = election("groups", "show", group).out
    assert "leader            cloud (runner-" in shown
    assert "pin               laptop (runner-" in shown
    assert "handover          pinned, to laptop (runner-" in shown


def test_the_group_may_come_from_the_environment(election: Run, server: Server, group: str) -> None:
    """A group that is named nowhere else is that of ELECTION_GROUP."""
    server.group(group, "a")

    assert election("leader", "--json", ELECTION_GROUP=group).json["runner"]["name"] == "a"
    assert election("runners", "show", "a", ELECTION_GROUP=group).code == 0
    assert election("jobs", "add", "k", "--json", ELECTION_GROUP=group).json["group_id"] == group
