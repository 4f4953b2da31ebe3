"""Cursors of pages: the key behind which to go on, made opaque. For every store the same."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from election_core._errors import Invalid
from election_core._views import Page

__all__ = ["page_of", "read_cursor"]

Row = TypeVar("Row")
Item = TypeVar("Item")
_MOST = 2**63 - 1


def page_of(
    rows: Sequence[Row],
    limit: int,
    read: Callable[[Row], Item],
    key: Callable[[Row], tuple[str | int, ...]],
) -> Page[Item]:
    """A page of rows, of which one more than `limit` were asked for.

    Args:
        rows: In the order of their keys, behind the cursor that was given.
        limit: The most that a page may hold.
        read: The item that a row holds.
        key: What rows are ordered by; it never changes, so a cursor stays good.
    """
    next_cursor = None
    if len(rows) > limit > 0:
        text = json.dumps(key(rows[limit - 1]), separators=(",", ":"))
        next_cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    return Page(items=tuple(read(row) for row in rows[:limit]), next_cursor=next_cursor)


def read_cursor(cursor: str, *kinds: type[str | int]) -> list[str | int]:
    """The key in a cursor, whose parts are of these kinds.

    Raises:
        Invalid: It is not one that was given out.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = json.loads(text)
    except (ValueError, binascii.Error, RecursionError):
        key = None
    if not (
        isinstance(key, list)
        and len(key) == len(kinds)
        and all(type(part) is kind for part, kind in zip(key, kinds, strict=True))
        and all("\0" not in part if isinstance(part, str) else abs(part) <= _MOST for part in key)
    ):
        raise Invalid("cursor: not one that was given out", field="cursor")
    return key
