"""What is allowed in a group's settings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from election_cases import span
from election_core import (
    Invalid,
    OldestActive,
    PolicySpec,
    Settings,
    Toleration,
    check_group_id,
    check_settings,
    default_policies,
    encode,
    merge_settings,
    same_settings,
)

POLICIES = default_policies()


@given(group_id=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True))
def test_a_slug_is_a_group_id(group_id: str) -> None:
    """Lower-case letters, digits, dots, underscores and dashes, up to 63 of them."""
    assert check_group_id(group_id) == group_id


@pytest.mark.parametrize(
    "group_id", ["", "A", "-a", ".a", "a b", "a/b", "a" * 64, "é", "a\n"], ids=repr
)
def test_anything_else_is_no_group_id(group_id: str) -> None:
    """An id has to fit into an address as it is."""
    with pytest.raises(Invalid):
        check_group_id(group_id)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (Settings(lease=span(0.999)), "lease_seconds"),
        (Settings(lease=span(3600.001)), "lease_seconds"),
        (Settings(heartbeat=span(0)), "heartbeat_seconds"),
        (Settings(heartbeat=span(15)), "heartbeat_seconds"),
        (Settings(handover_timeout=span(-1)), "handover_timeout_seconds"),
        (Settings(retry_backoff=span(-1)), "retry_backoff_seconds"),
        (Settings(retry_backoff=span(300.5)), "retry_backoff_seconds"),
        (Settings(retention=span(0)), "retention_days"),
    ],
    ids=[
        "lease-short",
        "lease-long",
        "heartbeat-none",
        "heartbeat-lease",
        "handover",
        "backoff-negative",
        "backoff-long",
        "retention",
    ],
)
def test_each_setting_has_its_bounds(settings: Settings, field: str) -> None:
    """What is out of range is refused by its name on the wire."""
    with pytest.raises(Invalid) as caught:
        check_settings(settings, POLICIES)

    assert caught.value.facts["field"] == f"settings.{field}"


@pytest.mark.parametrize(
    "settings",
    [
        Settings(lease=span(1), heartbeat=span(0.5)),
        Settings(lease=span(3600)),
        Settings(heartbeat=span(14.9)),
        Settings(handover_timeout=span(0), retry_backoff=span(0)),
        Settings(retry_backoff=span(300)),
        Settings(retention=timedelta(microseconds=1)),
    ],
    ids=["short", "long", "slow", "none", "patient", "forgetful"],
)
def test_bounds_are_inclusive(settings: Settings) -> None:
    """Fractions and the bounds themselves are allowed."""
    assert same_settings(check_settings(settings, POLICIES), _spelled_out(settings))


def _spelled_out(settings: Settings) -> Settings:
    options = {"preempt": False, "stable_for_seconds": 30.0, "prefer_labels": {}}
    return evolve(settings, policy=PolicySpec(options=options))


def test_a_policys_options_are_filled_in() -> None:
    """What a person left out is shown with its default, and an unused selector is not."""
    checked = check_settings(Settings(), POLICIES)
    selecting = evolve(Settings(), policy=PolicySpec(options={"require_labels": {"zone": "1"}}))

    assert encode(checked.policy) == {
        "name": "oldest-active",
        "preempt": False,
        "stable_for_seconds": 30.0,
        "prefer_labels": {},
    }
    assert check_settings(selecting, POLICIES).policy.options["require_labels"] == {"zone": "1"}


def test_checking_twice_is_checking_once() -> None:
    """Checked settings are a fixed point, so that creating a group twice finds it the same."""
    once = check_settings(Settings(), POLICIES)

    assert check_settings(once, POLICIES) == once


def test_a_hosts_policy_keeps_its_options() -> None:
    """The options of a policy that the core does not know stay as they were given."""

    class Other:
        """A policy of another kind, by duck typing."""

        def __getattr__(self, name: str) -> object:
            return getattr(OldestActive(), name)

    def factory(options: Mapping[str, object]) -> OldestActive:
        assert options == {"weight": 3}
        return Other()  # type: ignore[return-value]

    policies = default_policies()
    policies.register("mine", factory)
    settings = Settings(policy=PolicySpec(name="mine", options={"weight": 3}))

    assert check_settings(settings, policies) == settings


def test_a_patch_replaces_top_level_fields() -> None:
    """What a patch does not name stays; what it names is replaced whole."""
    current = evolve(
        Settings(),
        tolerations=(Toleration(key="gpu"),),
        policy=PolicySpec(options={"preempt": True}),
    )

    merged = merge_settings(
        current, {"lease_seconds": 30, "tolerations": [], "policy": {"name": "oldest-active"}}
    )

    assert merged == Settings(lease=span(30))


def test_a_patch_can_give_a_default_back() -> None:
    """A heartbeat that is patched to null follows the lease again."""
    merged = merge_settings(Settings(heartbeat=span(1)), {"heartbeat_seconds": None})

    assert merged.heartbeat_interval == span(5)


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"leases": 3}, "settings.leases"),
        ({"lease_seconds": "3"}, "settings.lease_seconds"),
        ({"tolerations": [{"key": 1}]}, "settings.tolerations[0].key"),
        ({"policy": "oldest"}, "settings.policy"),
    ],
    ids=["unknown", "type", "nested", "policy"],
)
def test_a_wrong_patch_is_refused_by_name(patch: dict[str, object], field: str) -> None:
    """Nothing of a patch that is wrong somewhere is taken."""
    with pytest.raises(Invalid) as caught:
        merge_settings(Settings(), patch)

    assert caught.value.facts["field"] == field


def test_a_default_that_is_spelled_out_is_the_same() -> None:
    """A heartbeat of a third of the lease is the default, said or not."""
    assert same_settings(Settings(), Settings(heartbeat=span(5)))
    assert not same_settings(Settings(), Settings(heartbeat=span(4)))
