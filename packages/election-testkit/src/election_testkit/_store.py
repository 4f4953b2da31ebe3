"""All that the port promises of a store of groups."""

from __future__ import annotations

from election_testkit._batches import Batches
from election_testkit._commits import Commits
from election_testkit._due import DueGroups
from election_testkit._epochs import Epochs
from election_testkit._history import History
from election_testkit._interrupted import Interrupted
from election_testkit._listing import Listing
from election_testkit._loading import Loading
from election_testkit._many_groups import ManyGroups
from election_testkit._renewals import Renewals
from election_testkit._sessions import Sessions
from election_testkit._time import StoreTime

__all__ = ["StoreConformance"]


class StoreConformance(
    ManyGroups,  # the last to be run: pytest begins with the last base
    Interrupted,
    History,
    Listing,
    StoreTime,
    DueGroups,
    Sessions,
    Batches,
    Renewals,
    Commits,
    Epochs,
    Loading,
):
    """What [`Store`][election_core.ports.Store] promises, case by case.

    Subclass it, and give it the fixture `subject`.
    """
