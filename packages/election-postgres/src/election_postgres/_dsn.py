"""A database's URL as people may see it."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

__all__ = ["redacted"]


def redacted(dsn: str) -> str:
    """The URL without its password and its parameters, among which a password may be."""
    try:
        parts = urlsplit(dsn)
    except ValueError:
        return "the database"
    if not parts.scheme:
        return "the database"
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, f"{user.partition(':')[0]}{at}{host}", parts.path, "", ""))
