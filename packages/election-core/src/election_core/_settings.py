"""What is allowed in a group's settings, and the policies that ship."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from attrs import evolve

from election_core._codec import decode, encode
from election_core._errors import Invalid
from election_core._policy import OldestActive, Policies, Policy
from election_core._state import LONGEST_LEASE, PolicySpec, Settings

__all__ = [
    "check_group_id",
    "check_settings",
    "default_policies",
    "merge_settings",
    "same_settings",
]

_GROUP_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def check_group_id(group_id: str) -> str:
    """The id, if it is a slug.

    Raises:
        Invalid: It is not.
    """
    if not _GROUP_ID.fullmatch(group_id):
        raise Invalid(
            "id: 1 to 63 of a-z, 0-9, '.', '_' and '-' are wanted, a letter or digit first",
            field="id",
        )
    return group_id


def check_settings(settings: Settings, policies: Policies) -> Settings:
    """The settings with the policy's options filled in.

    Raises:
        Invalid: A value is out of its range, or the policy refuses its options.
    """
    _within("lease_seconds", settings.lease, timedelta(seconds=1), LONGEST_LEASE)
    heartbeat = settings.heartbeat
    if heartbeat is not None and not timedelta() < heartbeat < settings.lease:
        raise Invalid(
            "settings.heartbeat_seconds: more than 0 and less than the lease is wanted",
            field="settings.heartbeat_seconds",
        )
    _within("handover_timeout_seconds", settings.handover_timeout, timedelta(), _YEAR)
    _within("retry_backoff_seconds", settings.retry_backoff, timedelta(), timedelta(seconds=300))
    _within("retention_days", settings.retention, timedelta.resolution, 100 * _YEAR)
    policy = policies.of(settings)
    if isinstance(policy, OldestActive):
        return evolve(settings, policy=_oldest_active_spec(settings.policy.name, policy))
    return settings


_YEAR = timedelta(days=365)


def _within(name: str, value: timedelta, least: timedelta, most: timedelta) -> None:
    if not least <= value <= most:
        unit = timedelta(days=1) if name.endswith("_days") else timedelta(seconds=1)
        field = f"settings.{name}"
        raise Invalid(f"{field}: {least / unit:g} to {most / unit:g} is wanted", field=field)


def merge_settings(current: Settings, patch: Mapping[str, object]) -> Settings:
    """The settings with the given top-level fields, in their JSON form, replaced.

    Raises:
        Invalid: A field is unknown or of the wrong type.
    """
    document = encode(current)
    assert isinstance(document, dict)  # noqa: S101 - settings are an object
    return decode(Settings, {**document, **patch}, path="settings")


def same_settings(one: Settings, other: Settings) -> bool:
    """Whether two settings mean the same, a default heartbeat that is spelled out included."""
    return evolve(one, heartbeat=one.heartbeat_interval) == evolve(
        other, heartbeat=other.heartbeat_interval
    )


def default_policies() -> Policies:
    """A registry with the policies that ship: `oldest-active`."""
    policies = Policies()
    policies.register("oldest-active", _oldest_active)
    return policies


def _oldest_active(options: Mapping[str, object]) -> Policy:
    policy = decode(OldestActive, options, path="settings.policy")
    if policy.stable_for < timedelta():
        raise Invalid(
            "settings.policy.stable_for_seconds: 0 or more is wanted",
            field="settings.policy.stable_for_seconds",
        )
    return policy


def _oldest_active_spec(name: str, policy: OldestActive) -> PolicySpec:
    options = encode(policy)
    assert isinstance(options, dict)  # noqa: S101 - a policy is an object
    if not policy.require_labels:
        del options["require_labels"]
    return PolicySpec(name=name, options=options)
