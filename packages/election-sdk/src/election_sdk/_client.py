"""The client of operators and programs: a typed method for each call of the control API."""

from __future__ import annotations

from election_sdk._group_calls import GroupCalls
from election_sdk._job_calls import JobCalls
from election_sdk._runner_calls import RunnerCalls
from election_sdk._service_calls import ServiceCalls

__all__ = ["Client"]


class Client(GroupCalls, RunnerCalls, JobCalls, ServiceCalls):
    """A client of the control API; an asynchronous context manager, on asyncio and trio.

    A call whose answer does not come is repeated after a jittered wait, as the contract makes every
    call safe to repeat. What the server refuses is raised as the error of the core with its facts;
    a server that does not answer is `Unavailable`, and one whose answer to a write was lost,
    `OutcomeUnknown`.

    Args:
        url: Where the control API listens.
        token: The bearer token; it appears in no text that this library makes.
        timeout: How long one attempt of a call may take, the time that an answer is held apart.
        retries: How often a call is repeated when its answer does not come.

    Raises:
        ValueError: The URL or the token cannot be one.
    """
