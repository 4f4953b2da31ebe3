"""What texts may be: names of things (a runner, a taint, a kind of job, a key), and all others."""

from __future__ import annotations

import re

from election_core._errors import Invalid

__all__ = ["UNFIT", "legible", "named"]

_LONGEST = 200
UNFIT = re.compile("[\x00\ud800-\udfff]")
"""What no text may hold: NUL, which not every store keeps, and halves of characters."""


def named(value: str, field: str) -> str:
    """The value, if it is fit to name something.

    Raises:
        Invalid: It is empty or longer than 200 characters.
    """
    if not value or len(value) > _LONGEST:
        raise Invalid(f"{field}: 1 to {_LONGEST} characters are wanted", field=field)
    return value


def legible(value: str, field: str) -> str:
    """The value, if every store can look for it and keep it.

    Raises:
        Invalid: It holds NUL or a lone surrogate.
    """
    if UNFIT.search(value):
        raise Invalid(f"{field}: no NUL and no lone surrogate may be in it", field=field)
    return value
