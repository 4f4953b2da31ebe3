"""All that the port promises of a store of groups."""

from __future__ import annotations

from election_testkit._batches import Batches
from election_testkit._commits import Commits
from election_testkit._epochs import Epochs
from election_testkit._loading import Loading
from election_testkit._renewals import Renewals
from election_testkit._sessions import Sessions

__all__ = ["StoreConformance"]


class StoreConformance(Loading, Epochs, Commits, Renewals, Batches, Sessions):
    """What [`Store`][election_core.ports.Store] promises, case by case.

    Subclass it, and give it the fixture `subject`.
    """
