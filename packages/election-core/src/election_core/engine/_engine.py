"""The engine: what a control plane calls, each call one method."""

from __future__ import annotations

from election_core.engine._groups import GroupCalls
from election_core.engine._jobs import JobCalls
from election_core.engine._runners import RunnerCalls
from election_core.engine._sessions import SessionCalls

__all__ = ["Engine"]


class Engine(GroupCalls, RunnerCalls, SessionCalls, JobCalls):
    """Runs elections over a store.

    Use it as an async context manager; the elector runs until its block ends:

        async with SqliteStore.open(path) as store, Engine(store) as engine:
            standing = await engine.open_session(runner_id, session_key=key)

    Every call may be repeated. Calls about leadership, jobs and sessions are on the one object; the
    store's time alone judges them.

    Args:
        store: A [`Store`][election_core.ports.Store]. To keep jobs it is a
            [`JobStore`][election_core.ports.JobStore] as well.
        policies: The policies by name; `oldest-active` alone unless given.
        tick: The longest time between two looks at what is due.
        observer: Told of what was committed and renewed, for metrics.
    """
