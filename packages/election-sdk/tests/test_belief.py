"""The arithmetic of trust, on a clock that is only numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from election_core import Role, Standing
from election_sdk._belief import Belief, window

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def standing(
    role: Role = Role.LEADER,
    *,
    epoch: int = 1,
    lease: float = 15,
    version: int = 1,
    step_down_in: float | None = None,
) -> Standing:
    """An answer."""
    return Standing(
        runner_id="r",
        session_id="s",
        role=role,
        epoch=epoch,
        leader_runner_id="r",
        lease_remaining=timedelta(seconds=lease),
        heartbeat=timedelta(seconds=5),
        step_down_in=None if step_down_in is None else timedelta(seconds=step_down_in),
        standing_version=version,
        store_time=NOW,
    )


def test_trust_counts_from_the_start_of_the_attempt() -> None:
    """An answer opens a window from when it was asked for, whenever it arrives."""
    belief = Belief(standing(lease=15), started=100.0)

    assert belief.window.ends_at < 115.0
    assert belief.leads(100.0) == 1
    assert belief.leads(115.0) is None


@given(
    lease=st.floats(0, 3600),
    started=st.floats(0, 1e6),
    clean_up=st.none() | st.floats(0, 7200).map(lambda s: timedelta(seconds=s)),
)
def test_work_stops_before_trust_ends_and_trust_before_the_lease(
    lease: float, started: float, clean_up: timedelta | None
) -> None:
    """Whatever the lease, handlers are told to stop first, and the lease is never used up."""
    found = window(started, timedelta(seconds=lease), clean_up)

    assert found.stop_at <= found.ends_at < started + lease


@pytest.mark.parametrize(("lease", "clean_up"), [(1, 0.1), (15, 1.5), (60, 6), (3600, 10)])
def test_a_tenth_of_the_lease_is_left_for_cleaning_up(lease: float, clean_up: float) -> None:
    """Handlers have a tenth of the lease to stop in, and never more than ten seconds."""
    found = window(0.0, timedelta(seconds=lease))

    assert found.ends_at - found.stop_at == pytest.approx(clean_up)


def test_a_renewal_moves_the_window_on() -> None:
    """The newest renewal of the same epoch counts."""
    belief = Belief(standing(lease=15), started=100.0)
    told = belief.apply(standing(lease=15), started=105.0)

    assert not told
    assert 115.0 < belief.window.ends_at < 120.0


def test_an_answer_that_was_overtaken_is_ignored() -> None:
    """A slow answer from before a change of role does not bring the old role back."""
    belief = Belief(standing(version=1), started=100.0)
    belief.apply(standing(Role.STANDBY, epoch=2, version=2), started=101.0)
    belief.apply(standing(version=1), started=102.0)

    assert belief.epoch is None
    assert belief.leads(102.0) is None


def test_an_older_attempt_does_not_shorten_the_window() -> None:
    """Answers of the same epoch may come in any order; what was granted stays granted."""
    belief = Belief(standing(), started=105.0)
    before = belief.window
    belief.apply(standing(), started=100.0)

    assert belief.window == before


def test_a_new_epoch_has_a_window_of_its_own() -> None:
    """What was believed of an old epoch says nothing about a new one."""
    belief = Belief(standing(epoch=1, lease=60), started=100.0)
    belief.apply(standing(epoch=2, lease=5, version=2), started=101.0)

    assert belief.leads(101.0) == 2
    assert belief.window.ends_at < 106.0


def test_a_standby_leads_nothing() -> None:
    """The group's epoch in a standby's answer is not the standby's."""
    belief = Belief(standing(Role.STANDBY, epoch=7), started=100.0)

    assert belief.epoch is None
    assert belief.leads(100.0) is None


def test_who_steps_down_begins_nothing_and_knows_its_deadline() -> None:
    """The handover deadline counts from the start of the attempt as well."""
    belief = Belief(standing(Role.STEPPING_DOWN, step_down_in=30), started=100.0)

    assert belief.epoch == 1
    assert belief.leads(100.0) is None
    assert belief.step_down_at == 130.0


def test_a_role_of_a_later_version_leads_nothing() -> None:
    """An unknown role is not taken for leadership."""
    belief = Belief(standing("acting-leader"), started=100.0)  # type: ignore[arg-type]

    assert belief.epoch is None
