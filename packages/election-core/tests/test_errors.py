"""The tree of errors."""

from __future__ import annotations

import pytest

from election_core import CODES, Conflict, ElectionError, OutcomeUnknown, SchemaMismatch, StaleEpoch

STATUSES = {
    "invalid": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not-found": 404,
    "no-leader": 404,
    "method-not-allowed": 405,
    "conflict": 409,
    "not-leader": 409,
    "stale-epoch": 409,
    "lease-expired": 409,
    "session-superseded": 409,
    "session-ended": 409,
    "stepping-down": 409,
    "not-eligible": 409,
    "owned-by-other": 409,
    "stale-claim": 409,
    "cursor-expired": 410,
    "payload-too-large": 413,
    "internal": 500,
    "store-unavailable": 503,
}


def test_each_code_of_the_contract_has_its_class() -> None:
    """The codes and statuses are those of the HTTP contract, no more and no fewer."""
    assert {code: cls.status for code, cls in CODES.items()} == STATUSES
    assert all(cls.code == code for code, cls in CODES.items())


@pytest.mark.parametrize("internal", [Conflict, OutcomeUnknown, SchemaMismatch])
def test_what_stores_tell_the_engine_is_not_raised_from_a_code(
    internal: type[ElectionError],
) -> None:
    """A code that several classes share stands for the one that callers know."""
    assert internal not in CODES.values()


def test_an_error_carries_facts() -> None:
    """A program finds what it needs as fields, a person as a sentence."""
    error = StaleEpoch("epoch 3 is old", current_epoch=4)

    assert (str(error), error.detail, error.facts) == (
        "epoch 3 is old",
        "epoch 3 is old",
        {"current_epoch": 4},
    )


def test_an_error_without_detail_says_its_title() -> None:
    """No error is an empty sentence."""
    assert str(StaleEpoch()) == StaleEpoch().detail == "Stale epoch"
