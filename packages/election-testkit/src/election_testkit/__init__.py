"""Conformance suites, an agreement machine, faults and a clock for authors of stores."""

from __future__ import annotations

import pkgutil

import pytest

# A case that fails in an adapter's tests shows the values it compared, as their own tests do.
pytest.register_assert_rewrite(
    *(f"{__name__}.{part.name}" for part in pkgutil.iter_modules(__path__))
)

from election_testkit._access import AccessStoreConformance
from election_testkit._agreement import AgreementMachine
from election_testkit._clock import START, ManualClock
from election_testkit._faults import After, Before, CancelAt, Delay, FaultyStore
from election_testkit._fleet import Fleet
from election_testkit._job_store import JobStoreConformance
from election_testkit._shared import SharedStoreConformance
from election_testkit._store import StoreConformance
from election_testkit._subject import Ability, FullStore, Subject
from election_testkit._suite import Suite, cases

__all__ = [
    "START",
    "Ability",
    "AccessStoreConformance",
    "After",
    "AgreementMachine",
    "Before",
    "CancelAt",
    "Delay",
    "FaultyStore",
    "Fleet",
    "FullStore",
    "JobStoreConformance",
    "ManualClock",
    "SharedStoreConformance",
    "StoreConformance",
    "Subject",
    "Suite",
    "cases",
]
