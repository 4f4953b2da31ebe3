"""What a process has seen of the store's time."""

from __future__ import annotations

from datetime import datetime

__all__ = ["Floor"]


class Floor:
    """The latest time that was seen; nothing that comes later is told of an earlier one.

    The server's clock may be set back. From the next mark on the store's time is ahead of it by as
    much; until then this keeps what one process sees from going back.
    """

    def __init__(self) -> None:
        self.at: datetime | None = None

    def seen(self, at: datetime) -> datetime:
        """Note a time of the store, and return it."""
        if self.at is None or at > self.at:
            self.at = at
        return at
