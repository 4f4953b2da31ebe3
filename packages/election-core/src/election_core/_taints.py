"""Taints and tolerations.

The model, with its effects and its matching of tolerations, is the one Kubernetes uses for nodes
and pods, so that its users find here what they know.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from attrs import frozen

__all__ = ["Effect", "Operator", "Taint", "Toleration", "excluding", "exempt"]


class Effect(StrEnum):
    """What a taint does to its runner."""

    NO_ELECT = "no-elect"
    """It cannot be newly elected; an incumbent keeps leading."""
    PREFER_NO_ELECT = "prefer-no-elect"
    """It is a last resort."""
    NO_LEAD = "no-lead"
    """It cannot be elected and, if leading, steps down now."""


class Operator(StrEnum):
    """How a toleration compares the value."""

    EXISTS = "exists"
    EQUAL = "equal"


@frozen(kw_only=True)
class Taint:
    """A mark on a runner. A runner has at most one of each key and owner."""

    key: str = "manual"
    value: str = ""
    effect: Effect = Effect.NO_LEAD
    owner: str = ""
    reason: str = ""
    created_at: datetime
    expires_at: datetime | None = None

    def current(self, at: datetime) -> bool:
        """Whether it counts at `at`: it ends at `expires_at` sharp."""
        return self.expires_at is None or at < self.expires_at


@frozen(kw_only=True)
class Toleration:
    """A group's statement that matching taints do not count there.

    `key` `None` matches every key, `effect` `None` every effect.
    """

    key: str | None = None
    operator: Operator = Operator.EQUAL
    value: str | None = None
    effect: Effect | None = None

    def tolerates(self, taint: Taint) -> bool:
        """Whether the taint does not count under this toleration."""
        if self.key is not None and self.key != taint.key:
            return False
        if self.effect is not None and self.effect is not taint.effect:
            return False
        return self.operator is Operator.EXISTS or (self.value or "") == taint.value


def excluding(taint: Taint) -> bool:
    """Whether the taint's effect keeps a runner from being elected."""
    return taint.effect is not Effect.PREFER_NO_ELECT


def exempt(
    taints: tuple[Taint, ...], tolerations: tuple[Toleration, ...], at: datetime
) -> tuple[Taint, ...]:
    """The taints that are left once expired and tolerated ones are taken away."""
    if not taints:
        return taints
    return tuple(
        taint
        for taint in taints
        if taint.current(at) and not any(toleration.tolerates(taint) for toleration in tolerations)
    )
