"""How long to wait before trying again.

With jitter, so that many who lost the same server do not come back at once.
"""

from __future__ import annotations

import random
from datetime import timedelta

__all__ = ["Backoff"]


class Backoff:
    """A doubling wait with jitter: each is drawn between half of its bound and the bound.

    Args:
        first: The bound of the first wait.
        most: No bound is longer.
    """

    def __init__(self, first: timedelta, most: timedelta) -> None:
        self._first = first
        self._most = most
        self._failures = 0

    def next(self, *, at_least: timedelta = timedelta()) -> timedelta:
        """The wait after one more failure; never below what the server asked for."""
        bound = min(self._most, self._first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return max(bound * random.uniform(0.5, 1.0), at_least)

    def reset(self) -> None:
        """Begin anew, after a success."""
        self._failures = 0

    @property
    def failures(self) -> int:
        """How many waits were asked for since the last success."""
        return self._failures
