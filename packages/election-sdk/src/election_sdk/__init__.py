"""Client and runner library for the election control API, on asyncio and trio."""

from __future__ import annotations

from election_sdk._client import Client
from election_sdk._service_calls import NewToken

__all__ = ["Client", "NewToken"]
