"""The store, put together from its parts."""

from __future__ import annotations

import attrs

from election_core.memory._groups import Groups
from election_core.memory._jobs import Jobs
from election_core.memory._lists import Lists
from election_core.memory._sessions import Sessions
from election_core.memory._tokens import Tokens

__all__ = ["MemoryStore"]


@attrs.define(kw_only=True, slots=False, repr=False)
class MemoryStore(Groups, Sessions, Lists, Jobs, Tokens):
    """Groups, jobs and tokens in this process's memory.

    It implements all protocols of [`election_core.ports`][election_core.ports]; what a method
    promises is said there.
    """
