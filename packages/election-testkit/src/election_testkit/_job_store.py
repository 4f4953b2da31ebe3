"""All that the port promises of a store of jobs."""

from __future__ import annotations

from election_testkit._claim_ends import ClaimEnds
from election_testkit._claims import Claims
from election_testkit._queue import Queue
from election_testkit._refusals import Refusals
from election_testkit._settling import Settling

__all__ = ["JobStoreConformance"]


class JobStoreConformance(Queue, Claims, Refusals, ClaimEnds, Settling):
    """What [`JobStore`][election_core.ports.JobStore] promises, case by case.

    Subclass it, and give it the fixture `subject`.
    """
