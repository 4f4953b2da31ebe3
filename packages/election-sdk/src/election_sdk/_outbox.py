"""What handlers came to, told to the server until it has answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from election_core import (
    ClaimedJob,
    ElectionError,
    Invalid,
    Job,
    JobOutcome,
    LeaseExpired,
    PayloadTooLarge,
    SessionEnded,
    Settlement,
)
from election_sdk._backoff import Backoff
from election_sdk._client import Client
from election_sdk._log import log
from election_sdk._problems import again
from election_sdk._session import Session

__all__ = ["Letter", "Outbox"]

_FIRST_WAIT = timedelta(seconds=0.05)
_LONGEST_WAIT = timedelta(seconds=5)


@define(eq=False)
class Letter:
    """A settlement on its way."""

    claimed: ClaimedJob
    settlement: Settlement
    session_id: str | None
    done: anyio.Event = field(factory=anyio.Event)


class Outbox:
    """Settlements that have not been answered.

    Each is repeated, with the same token and the same outcome, until it is answered or its session
    is over: the claim lives as long, and nobody else takes the job before.

    Args:
        client: Connections for jobs.
        session: Whose claims they settle.
        tasks: Where the deliveries run.
        on_refused: Called with a job whose work was done and is not accepted, and why.
        refusals: Counts them by code.
    """

    def __init__(
        self,
        client: Client,
        session: Session,
        tasks: TaskGroup,
        on_refused: Callable[[Job, ElectionError], None] | None,
        refusals: Counter[str],
    ) -> None:
        self._client = client
        self._session = session
        self._tasks = tasks
        self._on_refused = on_refused
        self._letters: set[Letter] = set()
        self._refusals = refusals

    def put(self, claimed: ClaimedJob, settlement: Settlement, session_id: str | None) -> Letter:
        """Begin to deliver a settlement."""
        letter = Letter(claimed, settlement, session_id)
        self._letters.add(letter)
        self._tasks.start_soon(self._deliver, letter)
        return letter

    async def flush(self) -> None:
        """Wait until everything that is in it now has been delivered."""
        for letter in tuple(self._letters):
            await letter.done.wait()

    async def _deliver(self, letter: Letter) -> None:
        try:
            await self._until_answered(letter)
        finally:
            self._letters.discard(letter)
            letter.done.set()

    async def _until_answered(self, letter: Letter) -> None:
        job, session = letter.claimed.job, self._session
        backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        while True:
            if session.session_id != letter.session_id:
                self._refuse(letter, session.failure or SessionEnded("the session has ended"))
                return
            try:
                await self._settle(letter)
            except LeaseExpired:
                session.kick()
                await session.news.wait(backoff.next().total_seconds())
            except (Invalid, PayloadTooLarge) as error:
                if letter.settlement.outcome is JobOutcome.FAILED:
                    self._refuse(letter, error)
                    return
                log.error("job %s: its result cannot be kept: %s", job.id, error)
                letter.settlement = Settlement(
                    outcome=JobOutcome.FAILED, error=f"result refused: {error}", retry=False
                )
            except ElectionError as error:
                if not again(error):
                    self._refuse(letter, error)
                    return
                await anyio.sleep(backoff.next().total_seconds())
            else:
                log.debug("job %s settled as %s", job.id, letter.settlement.outcome.value)
                return

    async def _settle(self, letter: Letter) -> None:
        settlement = letter.settlement
        await self._client.settle(
            letter.claimed.job.id,
            letter.claimed.claim_token,
            settlement.outcome.value,
            result=settlement.result,
            error=settlement.error,
            retry=settlement.retry,
        )

    def _refuse(self, letter: Letter, error: ElectionError) -> None:
        job, outcome = letter.claimed.job, letter.settlement.outcome
        if outcome is JobOutcome.RELEASED:
            # It has been taken back already, which is what was wanted.
            log.debug("job %s was taken back: %s", job.id, error)
            return
        self._refusals[error.code] += 1
        log.warning("job %s: its outcome %s was refused: %s", job.id, outcome.value, error)
        if self._on_refused is not None:
            try:
                self._on_refused(job, error)
            except Exception:  # noqa: BLE001 - other jobs go on whatever the hook does
                log.exception("on_refused failed")
