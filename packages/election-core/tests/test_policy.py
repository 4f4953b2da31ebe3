"""The registry of policies."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from election_core import (
    Invalid,
    OldestActive,
    Policies,
    Policy,
    PolicySpec,
    Settings,
    default_policies,
    preferences,
)


def named(name: str, **options: object) -> Settings:
    """Settings with that policy."""
    return Settings(policy=PolicySpec(name=name, options=options))


def test_the_policy_that_ships_is_registered() -> None:
    """`oldest-active` takes its options from the group's settings."""
    policy = default_policies().of(named("oldest-active", preempt=True))

    assert policy == OldestActive(preempt=True)


def test_an_unknown_policy_is_refused_with_those_known() -> None:
    """The refusal names the field and what could stand there."""
    with pytest.raises(Invalid, match="known: oldest-active") as caught:
        default_policies().of(named("newest"))

    assert caught.value.facts["field"] == "policy.name"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"pre-empt": True}, "settings.policy.pre-empt"),
        ({"preempt": "yes"}, "settings.policy.preempt"),
        ({"stable_for_seconds": -1}, "settings.policy.stable_for_seconds"),
        ({"prefer_labels": {"zone": 1}}, "settings.policy.prefer_labels.zone"),
    ],
    ids=["unknown", "type", "range", "nested"],
)
def test_wrong_options_are_refused_by_name(options: dict[str, object], field: str) -> None:
    """A policy says which of its options it does not take."""
    with pytest.raises(Invalid) as caught:
        default_policies().of(named("oldest-active", **options))

    assert caught.value.facts["field"] == field


def test_a_host_may_add_a_policy() -> None:
    """A registered factory is given the options, and may be replaced."""

    def factory(options: Mapping[str, object]) -> Policy:
        return OldestActive(preempt=bool(options.get("eager")))

    policies = Policies()
    policies.register("mine", factory)
    settings = named("mine", eager=True)
    assert policies.of(settings) == OldestActive(preempt=True)

    policies.register("mine", lambda _: OldestActive())

    assert policies.of(settings) == OldestActive()


def test_a_policy_is_built_once_per_settings() -> None:
    """Deciding often does not read the options each time, and what is remembered is bounded."""
    policies = default_policies()
    settings = named("oldest-active", preempt=True)

    assert policies.of(settings) is policies.of(settings)
    first = policies.of(settings)
    for number in range(5000):
        policies.of(named("oldest-active", stable_for_seconds=number))
    assert policies.of(settings) == first
    assert len(policies._built) <= 4096


def test_preferences_are_told_in_order() -> None:
    """What a person says comes before the policy, and the id comes last."""
    assert preferences(OldestActive()) == (
        "pinned",
        "not-released",
        "incumbent",
        "fewest-prefer-no-elect-taints",
        "preferred-labels",
        "oldest",
        "id",
    )
    assert preferences(OldestActive(preempt=True))[2] == "steady"
