"""All that the port promises of a store of groups."""

from __future__ import annotations

from election_testkit._commits import Commits

__all__ = ["StoreConformance"]


class StoreConformance(Commits):
    """What [`Store`][election_core.ports.Store] promises, case by case.

    Subclass it, and give it the fixture `subject`.
    """
