"""Where this library says what happened; silent unless there is news."""

from __future__ import annotations

import logging

__all__ = ["log"]

log = logging.getLogger("election_sdk")
