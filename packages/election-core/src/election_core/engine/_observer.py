"""What a host may watch of an engine, for metrics and logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from election_core._events import Event
from election_core.ports import Beaten

__all__ = ["Observer", "Unobserved"]


class Observer(Protocol):
    """Told of what has happened, after it is durable. Must not raise and not block."""

    def committed(self, events: Sequence[Event]) -> None:
        """A commit of this engine appended these events; their ids are not known here."""
        ...

    def beaten(self, answers: Sequence[Beaten]) -> None:
        """A batch of renewals was written; a pulse's `margin` is the renewal margin."""
        ...


class Unobserved:
    """Watches nothing."""

    def committed(self, events: Sequence[Event]) -> None:
        """Nothing."""

    def beaten(self, answers: Sequence[Beaten]) -> None:
        """Nothing."""
