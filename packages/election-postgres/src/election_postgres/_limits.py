"""How long anything may take, for the client and for the server."""

from __future__ import annotations

from datetime import timedelta

from attrs import frozen

__all__ = ["Limits"]


@frozen(kw_only=True)
class Limits:
    """How long anything may take."""

    statement: timedelta
    lock: timedelta
    connect: timedelta

    @property
    def settings(self) -> str:
        """The limits as the server is told of them."""
        return (
            f"SET {{local}}statement_timeout = {self.statement // timedelta(milliseconds=1)};"
            f"SET {{local}}lock_timeout = {self.lock // timedelta(milliseconds=1)};"
            # Everything is a lookup by key. Statistics of tables that change as fast as these do
            # mislead; a plan is made once, and it is the one with the keys.
            "SET {local}plan_cache_mode = force_generic_plan;"
            "SET {local}enable_seqscan = off;"
            "SET {local}enable_hashjoin = off;"
            "SET {local}enable_mergejoin = off;"
            "SET {local}jit = off;"
        )

    @property
    def begin(self) -> str:
        """Begins a transaction that has these limits; a client that is frozen in it loses it."""
        idle = self.lock // timedelta(milliseconds=1)
        return (
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
            f"SET LOCAL idle_in_transaction_session_timeout = {idle};"
            f"{self.settings.format(local='LOCAL ')}"
        )
