"""`election tokens`."""

from __future__ import annotations

from command_world import Run, Server
from election_cli._exits import ExitCode


def test_a_token_is_made_listed_and_revoked(election: Run) -> None:
    """Its secret is shown once and is good until it is revoked."""
    made = election("tokens", "create", "--kind", "viewer", "--ttl", "7d", "--json").json
    assert made["token"].startswith("elt_")
    assert made["expires_at"] is not None
    assert election("groups", ELECTION_TOKEN=made["token"]).code == 0

    listed = election("tokens")
    assert listed.rows[0] == ["TOKEN", "KIND", "GROUP", "RUNNER", "CREATED", "EXPIRES"]
    assert next(row for row in listed.rows if row[0] == made["id"])[1] == "viewer"
    assert made["token"] not in listed.out
    assert made["token"] not in election("tokens", "list", "--json").out

    assert election("tokens", "revoke", made["id"]).out == f"Revoked token {made['id']}.\n"
    assert election("groups", ELECTION_TOKEN=made["token"]).code == ExitCode.DENIED
    assert election("tokens", "revoke", made["id"]).code == ExitCode.NOT_FOUND


def test_a_token_of_a_group_or_a_runner_is_bound_to_it(
    election: Run, server: Server, group: str
) -> None:
    """A join token is of a group, a runner token of a runner."""
    ids = server.group(group, "cloud")

    join = election("tokens", "create", "--kind", "join", "--group", group, "--json").json
    runner = election("tokens", "create", "--kind", "runner", "--runner", f"{group}/cloud")
    revoked = election("tokens", "revoke", join["id"], "--json")

    assert (join["group_id"], join["runner_id"]) == (group, None)
    assert f"runner              {ids['cloud']}" in runner.out
    assert "expires             never" in runner.out
    assert "token (shown once)  elt_" in runner.out
    assert revoked.json == {"revoked": join["id"]}
