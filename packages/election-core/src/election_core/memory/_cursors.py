"""Cursors of pages: the key behind which to go on, made opaque."""

from __future__ import annotations

import base64
import binascii

from election_core._errors import Invalid

__all__ = ["cursor_of", "read_cursor", "read_number"]


def cursor_of(key: str) -> str:
    """The cursor that stands for a key."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def read_cursor(cursor: str | None) -> str | None:
    """The key that a cursor stands for, if there is one.

    Raises:
        Invalid: It was never given out.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        raise Invalid("cursor: not one that was given out", field="cursor") from None


def read_number(cursor: str | None) -> int | None:
    """The number that a cursor stands for, if there is one.

    Raises:
        Invalid: It was never given out.
    """
    key = read_cursor(cursor)
    if key is None:
        return None
    if not key.isascii() or not key.isdigit():
        raise Invalid("cursor: not one that was given out", field="cursor")
    return int(key)
