"""All routes."""

from __future__ import annotations

from collections.abc import Sequence

from election_ctl_api import _events, _groups, _jobs, _runners, _service, _sessions, _tokens
from election_ctl_api._operations import Operation

__all__ = ["OPERATIONS"]

OPERATIONS: Sequence[Operation] = (
    *_groups.OPERATIONS,
    *_events.OPERATIONS,
    *_runners.OPERATIONS,
    *_sessions.OPERATIONS,
    *_jobs.OPERATIONS,
    *_tokens.OPERATIONS,
    *_service.OPERATIONS,
)
