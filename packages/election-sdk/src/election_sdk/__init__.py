"""Client and runner library for the election control API, on asyncio and trio.

What it hands out are the types of `election_core`, and what it raises are its errors.
"""

from __future__ import annotations

from election_sdk._client import Client
from election_sdk._handling import Handler, JobFailed
from election_sdk._runner import Runner
from election_sdk._service_calls import NewToken
from election_sdk._state_file import StateFileError, StateFileLocked
from election_sdk._term import Term

__all__ = [
    "Client",
    "Handler",
    "JobFailed",
    "NewToken",
    "Runner",
    "StateFileError",
    "StateFileLocked",
    "Term",
]
