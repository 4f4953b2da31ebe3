"""Conformance suites, an agreement machine, faults and a clock for authors of stores."""

from __future__ import annotations

from election_testkit._agreement import AgreementMachine
from election_testkit._clock import START, ManualClock
from election_testkit._commits import Commits
from election_testkit._faults import After, Before, CancelAt, Delay, FaultyStore
from election_testkit._fleet import Fleet
from election_testkit._subject import Ability, FullStore, Subject
from election_testkit._suite import Suite, cases

__all__ = [
    "START",
    "Ability",
    "After",
    "AgreementMachine",
    "Before",
    "CancelAt",
    "Commits",
    "Delay",
    "FaultyStore",
    "Fleet",
    "FullStore",
    "ManualClock",
    "Subject",
    "Suite",
    "cases",
]
