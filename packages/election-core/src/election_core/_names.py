"""What is fit to name something: a runner, a taint, a kind of job, a key."""

from __future__ import annotations

from election_core._errors import Invalid

__all__ = ["named"]

_LONGEST = 200


def named(value: str, field: str) -> str:
    """The value, if it is fit to name something.

    Raises:
        Invalid: It is empty or longer than 200 characters.
    """
    if not value or len(value) > _LONGEST:
        raise Invalid(f"{field}: 1 to {_LONGEST} characters are wanted", field=field)
    return value
