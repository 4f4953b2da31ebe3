"""One run of a handler, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from election_core import Invalid, Job, JobOutcome, PayloadTooLarge, Settlement, check_json
from election_sdk._log import log

__all__ = ["Handler", "JobFailed", "handle"]

Handler: TypeAlias = Callable[[Job], Awaitable[object]]
"""Works on a job and returns its result, a JSON value."""

_LONGEST_ERROR = 2000


class JobFailed(Exception):
    """Raised by a handler to fail its job with a text of its own.

    Args:
        error: What went wrong.
        retry: Whether it may be tried again while attempts remain.
    """

    def __init__(self, error: str, *, retry: bool = True) -> None:
        super().__init__(error)
        self.retry = retry


async def handle(handler: Handler, job: Job) -> Settlement:
    """Let a handler work on a job; what it returns or raises becomes a settlement."""
    try:
        result = await handler(job)
    except JobFailed as error:
        return _failed(str(error), retry=error.retry)
    except Exception as error:  # noqa: BLE001 - a failed handler is a failed attempt
        log.warning("job %s failed", job.id, exc_info=True)
        return _failed(f"{type(error).__name__}: {error}", retry=True)
    try:
        check_json(result, "result")
    except (Invalid, PayloadTooLarge) as error:
        return _failed(f"the handler's result cannot be kept: {error}", retry=False)
    return Settlement(outcome=JobOutcome.SUCCEEDED, result=result)


def _failed(error: str, *, retry: bool) -> Settlement:
    """A failure with a text that the contract takes."""
    text = error.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()[:_LONGEST_ERROR]
    return Settlement(outcome=JobOutcome.FAILED, error=text, retry=retry)
