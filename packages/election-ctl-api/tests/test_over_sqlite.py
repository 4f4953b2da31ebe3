"""The same contract over a store in a file, across a restart."""

from __future__ import annotations

from pathlib import Path

from api_world import listening
from election_sqlite import SqliteStore


async def test_a_restart_keeps_what_was_told(tmp_path: Path) -> None:
    """Tokens, leadership, claims and history go on after a restart on the same file."""
    path = tmp_path / "election.db"
    async with SqliteStore.open(path) as store, listening(store) as world:
        await world.group(lease_seconds=60)
        leader, standby = await world.member("a"), await world.member("b")
        assert (await world.beat(leader))["role"] == "leader"
        await world.job(payload={"größe": ["☃", None, 0.5]})
        (item,) = await world.claim(leader, epoch=1)
        viewer = await world.ok("POST", "/v1/tokens", {"kind": "viewer", "ttl_seconds": 600})
        history = await world.ok("GET", "/v1/runner-groups/g/events")

    async with SqliteStore.open(path) as store, listening(store) as world:
        again = await world.ok("GET", "/v1/runner-groups/g/events", token=viewer["token"])
        standing = await world.ok(
            "POST",
            f"/v1/runners/{leader.id}/heart-beats",
            {"session_id": leader.session_id},
            token=leader.token,
        )
        settled = await world.ok(
            "POST",
            f"/v1/jobs/{item['job']['id']}/settle",
            {"claim_token": item["claim_token"], "outcome": "succeeded"},
            token=leader.token,
        )
        released = await world.ok(
            "POST",
            f"/v1/runners/{leader.id}/release",
            {"session_id": leader.session_id, "epoch": 1},
        )
        metrics = (await world.call("GET", "/metrics")).text

    assert again["items"][: len(history["items"])] == history["items"]
    assert (standing["role"], standing["epoch"]) == ("leader", 1)
    assert (settled["state"], settled["payload"]) == ("succeeded", {"größe": ["☃", None, 0.5]})
    assert (released["leader_runner_id"], released["epoch"]) == (standby.id, 2)
    assert 'election_groups{state="led"} 1.0' in metrics
