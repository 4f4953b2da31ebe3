"""What Prometheus is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
from prometheus_client.parser import text_string_to_metric_families

from api_world import World, listening, until
from election_core import Event
from election_ctl_api import Metrics

Sample = tuple[str, frozenset[tuple[str, str]]]


async def _scrape(world: World) -> dict[Sample, float]:
    text = (await world.call("GET", "/metrics")).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _of(name: str, **labels: str) -> Sample:
    return name, frozenset(labels.items())


async def test_groups_are_counted_as_led_and_vacant(world: World) -> None:
    """A group with a live leader is led, another vacant; jobs are counted by state."""
    await world.group("g")
    await world.group("h")
    await world.member()
    await world.job()

    found = await _scrape(world)

    assert found[_of("election_groups", state="led")] == 1
    assert found[_of("election_groups", state="vacant")] == 1
    assert found[_of("election_runners")] == 1
    assert found[_of("election_live_sessions")] == 1
    assert found[_of("election_jobs", state="queued")] == 1
    assert found[_of("election_jobs", state="running")] == 0


async def test_elections_and_handovers_are_measured(world: World) -> None:
    """Elections are counted by kind and reason, and a handover by its time from start to end."""
    await world.group()
    first, _ = await world.member("a"), await world.member("b")
    await world.ok("POST", f"/v1/runners/{first.id}/taint")
    await world.ok(
        "POST", f"/v1/runners/{first.id}/release", {"session_id": first.session_id, "epoch": 1}
    )

    found = await _scrape(world)

    kinds = {
        dict(labels)["kind"]: value
        for (name, labels), value in found.items()
        if name == "election_elections_total"
    }
    assert kinds == {"first": 1, "handover": 1}
    assert found[_of("election_handover_seconds_count")] == 1
    assert found[_of("election_failover_seconds_count")] == 0


def _event(name: str, second: float, /, **data: object) -> Event:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    return Event(group_id="g", at=at, kind=name, epoch=1, reason="oldest", data=data)


def test_failovers_and_handovers_are_told_apart() -> None:
    """A failover counts the time without a leader; a handover that is cancelled counts nothing."""
    metrics = Metrics()
    metrics.committed(
        [
            _event("elected", 0, kind="failover", leaderless_seconds=1.5),
            _event("handover-started", 1),
            _event("handover-cancelled", 2),
            _event("elected", 3, kind="handover", leaderless_seconds=0.0),
            _event("handover-started", 4),
            _event("tainted", 5),
            _event("elected", 6, kind="handover", leaderless_seconds=0.5),
            _event("handover-started", 7),
            _event("elected", 8, kind="failover", leaderless_seconds=None),
        ]
    )

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert value("election_leaderless_seconds_total") == 2
    assert value("election_failover_seconds_count") == 1
    assert value("election_failover_seconds_sum") == 1.5
    assert value("election_handover_seconds_count") == 1
    assert value("election_handover_seconds_sum") == 2
    assert value("election_elections_total", kind="failover", reason="oldest") == 2


async def test_heartbeats_and_their_margin_are_measured(world: World) -> None:
    """Heartbeats are counted by outcome, and what was left of the lease is measured."""
    await world.group()
    member = await world.member()
    path = f"/v1/runners/{member.id}/heart-beats"
    world.clock.advance(seconds=12)
    await world.beat(member)
    await world.refused("POST", path, {"session_id": "never"})
    old = member.session_id
    await world.ok("POST", f"/v1/runners/{member.id}/sessions", {"session_key": "k2"})
    await world.refused("POST", path, {"session_id": old})

    found = await _scrape(world)

    assert found[_of("election_heartbeats_total", outcome="renewed")] == 1
    assert found[_of("election_heartbeats_total", outcome="unknown")] == 1
    assert found[_of("election_heartbeats_total", outcome="superseded")] == 1
    assert found[_of("election_renewal_margin_seconds_count")] == 1
    assert found[_of("election_renewal_margin_seconds_bucket", le="3.0")] == 1
    assert found[_of("election_renewal_margin_seconds_bucket", le="2.0")] == 0


async def test_refusals_are_counted_by_code(world: World) -> None:
    """Every problem is counted by its code."""
    await world.refused("GET", "/v1/runner-groups/none")
    await world.refused("GET", "/nowhere")
    await world.refused("GET", "/v1/tokens", token=None)

    found = await _scrape(world)

    assert found[_of("election_refusals_total", code="not-found")] == 2
    assert found[_of("election_refusals_total", code="unauthenticated")] == 1


async def test_requests_are_counted_by_route_without_ids(world: World) -> None:
    """Requests are counted by the route's template, so that labels stay few."""
    await world.group("some-group")
    for path in ("some-group", "some-group", "another"):
        await world.call("GET", f"/v1/runner-groups/{path}")
    await world.call("GET", "/made/up")
    await world.call("BREW", "/v1/runner-groups/some-group")

    found = await _scrape(world)

    route = "/v1/runner-groups/{group}"
    name = "election_http_requests_total"
    assert found[_of(name, method="GET", route=route, status="200")] == 2
    assert found[_of(name, method="GET", route=route, status="404")] == 1
    assert found[_of(name, method="GET", route="none", status="404")] == 1
    assert found[_of(name, method="other", route="none", status="405")] == 1
    assert "some-group" not in (await world.call("GET", "/metrics")).text


async def _holds(world: World) -> bool:
    return (await _scrape(world))[_of("election_waiting_calls")] == 1


async def test_waiting_calls_are_counted_while_they_wait() -> None:
    """A call that is held shows until it is answered."""
    async with listening() as world:
        await world.group(lease_seconds=60)
        member = await world.member()

        async def hold() -> None:
            await world.call(
                "POST",
                f"/v1/runners/{member.id}/heart-beats",
                {"session_id": member.session_id},
                headers={"Prefer": "wait=30"},
            )

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hold)
                await until(lambda: _holds(world))
                await world.ok("POST", f"/v1/runners/{member.id}/taint")
            assert (await _scrape(world))[_of("election_waiting_calls")] == 0


async def test_the_format_is_the_one_that_is_asked_for(world: World) -> None:
    """A scraper that speaks OpenMetrics gets it."""
    plain = await world.call("GET", "/metrics")
    openmetrics = await world.call(
        "GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )

    assert plain.headers["content-type"].startswith("text/plain")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
