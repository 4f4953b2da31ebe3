"""Hypothesis strategies for the types of the core, for property tests of stores and policies."""

from __future__ import annotations

from election_testkit.strategies._commands import commands, new_taints
from election_testkit.strategies._state import (
    marks,
    outages,
    pins,
    policies,
    runners,
    sessions,
    settings,
    snapshots,
    spans,
    taint_sets,
    taints,
    times,
    tolerations,
)

__all__ = [
    "commands",
    "marks",
    "new_taints",
    "outages",
    "pins",
    "policies",
    "runners",
    "sessions",
    "settings",
    "snapshots",
    "spans",
    "taint_sets",
    "taints",
    "times",
    "tolerations",
]
