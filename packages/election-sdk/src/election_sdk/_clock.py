"""The clock that trust is measured on: it goes on while the machine sleeps."""

from __future__ import annotations

import sys
import time

__all__ = ["trust_clock"]

if sys.platform == "linux":

    def trust_clock() -> float:
        """Seconds since some point in the past, those spent in suspend included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

elif sys.platform == "darwin":

    def trust_clock() -> float:
        """Seconds since some point in the past, those spent asleep included."""
        # Of this system's clocks it is the one that counts sleep; time.monotonic() does not.
        return time.clock_gettime(time.CLOCK_MONOTONIC)

else:

    def trust_clock() -> float:
        """Seconds since some point in the past."""
        return time.monotonic()
