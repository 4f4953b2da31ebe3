"""What is told to callers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from election_cases import LEASE, NOW, a_runner, a_session, a_snapshot, a_taint, at, span
from election_core import (
    Drain,
    Pin,
    Pulse,
    Role,
    Runner,
    RunnerStatus,
    Settings,
    group_info,
    runner_info,
    standing_of,
)


def a_pulse(**changes: Any) -> Pulse:
    """The pulse of a standby, renewed just now."""
    pulse = Pulse(
        runner_id="a",
        session_id="s",
        group_id="g",
        at=NOW,
        lease_expires_at=NOW + LEASE,
        held_epoch=None,
        term_expires_at=None,
        step_down_at=None,
        standing_version=3,
        group_epoch=7,
        leader_runner_id="b",
        heartbeat=span(5),
    )
    return evolve(pulse, **changes)


def leading(**changes: Any) -> Pulse:
    """The pulse of the leader."""
    lead = {"held_epoch": 7, "term_expires_at": NOW + LEASE, "leader_runner_id": "a"}
    return a_pulse(**{**lead, **changes})


def test_a_standby_is_told_who_leads() -> None:
    """A standby learns the group's epoch and leader, and what is left of its session."""
    standing = standing_of(a_pulse())

    assert (standing.role, standing.epoch, standing.leader_runner_id) == (Role.STANDBY, 7, "b")
    assert (standing.lease_remaining, standing.step_down_in) == (LEASE, None)


def test_a_leader_is_told_its_terms_lease() -> None:
    """Trust ends with the term, not with the session."""
    standing = standing_of(leading(term_expires_at=at(4)))

    assert (standing.role, standing.epoch, standing.leader_runner_id) == (Role.LEADER, 7, "a")
    assert standing.lease_remaining == span(4)


def test_who_steps_down_is_told_until_when() -> None:
    """A leader in a handover learns its deadline; past it there is nothing left."""
    assert standing_of(leading(step_down_at=at(9))).step_down_in == span(9)
    late = standing_of(leading(step_down_at=at(-9), term_expires_at=at(-1)))
    assert (late.role, late.step_down_in) == (Role.STEPPING_DOWN, span(0))
    assert (late.lease_remaining, late.leader_runner_id) == (span(0), None)


def test_a_role_comes_from_the_runners_own_row() -> None:
    """A group's row that still names the runner does not make it a leader (bug 33)."""
    standing = standing_of(a_pulse(leader_runner_id="a"))

    assert (standing.role, standing.leader_runner_id) == (Role.STANDBY, None)


def test_a_held_answer_counts_from_its_own_write() -> None:
    """An answer that waited tells what was left when the write took effect (bug 7)."""
    written = a_pulse()
    elected = leading(at=at(4), term_expires_at=NOW + LEASE)

    standing = standing_of(elected, written=written)

    assert (standing.role, standing.lease_remaining) == (Role.LEADER, LEASE)
    assert standing.store_time == NOW


@given(
    waited=st.integers(0, 20).map(span),
    left=st.integers(-5, 20).map(span),
    term=st.none() | st.integers(-5, 20).map(span),
    renewed=st.integers(0, 20).map(span),
)
def test_trust_never_outlasts_a_lease(
    waited: timedelta, left: timedelta, term: timedelta | None, renewed: timedelta
) -> None:
    """Counted from the write, what is told ends with the lease of the term, or before (I4)."""
    written = a_pulse(lease_expires_at=NOW + left)
    now = a_pulse(at=NOW + waited, lease_expires_at=NOW + left + renewed)
    if term is not None:
        now = evolve(now, held_epoch=7, term_expires_at=min(NOW + term, now.lease_expires_at))

    trusted_until = written.at + standing_of(now, written=written).lease_remaining

    ends = now.lease_expires_at if now.term_expires_at is None else now.term_expires_at
    assert trusted_until <= max(ends, written.at)
    assert trusted_until <= max(written.lease_expires_at, written.at)


@pytest.mark.parametrize(
    ("runner", "status"),
    [
        (a_runner("a", offline=True), RunnerStatus.PENDING),
        (evolve(a_runner("a", offline=True), opened=1), RunnerStatus.OFFLINE),
        (a_runner("a"), RunnerStatus.ACTIVE),
        (a_runner("a", session=a_session("a", left=0)), RunnerStatus.OFFLINE),
        (a_runner("a", session=a_session("a", ready=False)), RunnerStatus.UNREADY),
        (a_runner("a", drain=Drain(at=NOW)), RunnerStatus.DRAINING),
    ],
    ids=["pending", "ended", "active", "lapsed", "unready", "draining"],
)
def test_a_runners_status(runner: Runner, status: RunnerStatus) -> None:
    """A person sees at a glance how a runner is."""
    assert runner_info(runner, NOW).status is status


@pytest.mark.parametrize(
    ("session", "role"),
    [
        (a_session("a"), Role.STANDBY),
        (a_session("a", epoch=7), Role.LEADER),
        (a_session("a", epoch=7, step_down=9), Role.STEPPING_DOWN),
        (a_session("a", epoch=7, term_left=0), Role.STANDBY),
    ],
    ids=["standby", "leader", "stepping-down", "lapsed"],
)
def test_a_runners_role(session: Any, role: Role) -> None:
    """A runner leads while its term's lease runs."""
    assert runner_info(a_runner("a", session=session), NOW).role is role


def test_expired_taints_are_not_shown() -> None:
    """What does not count any more is not told, although nobody has removed it yet."""
    runner = a_runner("a", taints=(a_taint(until=0), a_taint(key="gpu")))

    assert [taint.key for taint in runner_info(runner, NOW).taints] == ["gpu"]


def test_a_group_without_a_live_term_has_no_leader() -> None:
    """From the end of a lease until a decision a group has no leader, and keeps its epoch."""
    group = a_snapshot(a_runner("a"), leader="a").group

    assert group_info(group, at(1), NOW).leader_runner_id == "a"
    for ends in (NOW, None):
        info = group_info(group, ends, NOW)
        assert (info.leader_runner_id, info.epoch) == (None, 7)
    assert group_info(evolve(group, term=None), at(1), NOW).leader_runner_id is None


def test_what_is_over_is_not_shown() -> None:
    """A pin and a barrier whose time has passed are not told."""
    pin = Pin(runner_id="a", created_at=at(-9), expires_at=NOW)
    group = a_snapshot(pin=pin, barrier=0).group

    info = group_info(group, None, NOW)
    earlier = group_info(group, None, at(-1))

    assert (info.pin, info.grant_not_before) == (None, None)
    assert (earlier.pin, earlier.grant_not_before) == (pin, NOW)


def test_a_group_tells_its_heartbeat_in_full() -> None:
    """A default heartbeat is shown as what it comes to."""
    group = a_snapshot(settings=Settings(lease=span(30))).group

    assert group_info(group, None, NOW).settings.heartbeat == span(10)
