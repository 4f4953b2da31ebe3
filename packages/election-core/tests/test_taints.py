"""Taints and tolerations."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given

from election_cases import NOW, a_taint, at
from election_core import Effect, Operator, Taint, Toleration, excluding, exempt
from election_testkit.strategies import taint_sets, taints, tolerations


def test_a_taint_without_end_counts_for_ever() -> None:
    """Only a time to live ends a taint by itself."""
    assert a_taint().current(at(10**9))


def test_a_taint_ends_at_its_time_sharp() -> None:
    """At `expires_at` a taint does not count any more."""
    assert a_taint(until=1).current(at(0.999))
    assert not a_taint(until=1).current(at(1))


@given(taint=taints(), toleration=tolerations())
def test_tolerations_match_as_in_kubernetes(taint: Taint, toleration: Toleration) -> None:
    """No key is every key, no effect every effect, and `exists` does not look at the value."""
    expected = (
        toleration.key in (None, taint.key)
        and toleration.effect in (None, taint.effect)
        and (toleration.operator is Operator.EXISTS or (toleration.value or "") == taint.value)
    )

    assert toleration.tolerates(taint) is expected


@given(borne=taint_sets(), toleration=tolerations())
def test_what_counts_is_current_and_not_tolerated(
    borne: tuple[Taint, ...], toleration: Toleration
) -> None:
    """A taint counts unless it has expired or a toleration matches it."""
    left = exempt(borne, (toleration,), NOW)

    assert left == tuple(
        taint for taint in borne if taint.current(NOW) and not toleration.tolerates(taint)
    )


def test_only_a_preference_does_not_exclude() -> None:
    """`no-elect` and `no-lead` keep a runner from election, `prefer-no-elect` does not."""
    excluded = {effect: excluding(evolve(a_taint(), effect=effect)) for effect in Effect}

    assert excluded == {
        Effect.NO_ELECT: True,
        Effect.NO_LEAD: True,
        Effect.PREFER_NO_ELECT: False,
    }
