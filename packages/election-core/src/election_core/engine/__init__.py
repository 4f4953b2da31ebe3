"""The shell around the pure core: load, decide, commit; elect when it is time; wake who waits.

Runs on anyio, so on asyncio and trio alike, with any store that the backend can run.
"""

from __future__ import annotations

from election_core.engine._base import new_id
from election_core.engine._engine import Engine
from election_core.engine._observer import Observer

__all__ = ["Engine", "Observer", "new_id"]
