"""What the control API needs of a store."""

from __future__ import annotations

from typing import Protocol

from election_core.ports import AccessStore, JobStore, Store

__all__ = ["ControlStore"]


class ControlStore(Store, JobStore, AccessStore, Protocol):
    """A store with all three parts of the port."""
