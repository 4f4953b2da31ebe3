"""A database's URL as people may see it."""

from __future__ import annotations

import re

__all__ = ["redacted"]

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(?:(.*)@)?([^@]*)", re.DOTALL)
_HOST = r"(?:\[[^\]/?#]*\]|[^\[:/?#,]*)(?::[0-9]+)?"
_PLACE = re.compile(rf"{_HOST}(?:,{_HOST})*(?:/[^/?#]*)?")


def redacted(dsn: str) -> str:
    """The URL without its password and its parameters, among which a password may be.

    A password that should have been quoted makes the URL another one. What is not surely something
    else is left out.
    """
    parts = _PARTS.fullmatch(dsn)
    if parts is None:
        return "the database"
    scheme, credentials, rest = parts.groups()
    place = _PLACE.match(rest)
    user = "" if credentials is None else f"{re.split('[:/?#@]', credentials)[0]}@"
    return f"{scheme}://{user}{'' if place is None else place[0]}"
