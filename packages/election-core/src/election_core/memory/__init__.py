"""A store in memory: the reference that every adapter has to agree with.

It keeps nothing beyond its process. Each method runs without an await, so it is atomic and cannot
be cancelled half way; the rules are the core's own, so what it does is what they say.
"""

from __future__ import annotations

from election_core.memory._shared import SharedMemoryStore
from election_core.memory._store import MemoryStore

__all__ = ["MemoryStore", "SharedMemoryStore"]
