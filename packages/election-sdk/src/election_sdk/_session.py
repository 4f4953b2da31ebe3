"""One runner's session: opened, kept alive, believed for as long as that is safe, and left."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio

from election_core import (
    ElectionError,
    NotFound,
    Role,
    SessionEnded,
    SessionSuperseded,
    Standing,
    Unauthenticated,
)
from election_sdk._backoff import Backoff
from election_sdk._belief import Belief
from election_sdk._client import Client
from election_sdk._log import log
from election_sdk._news import News
from election_sdk._patience import until_answered
from election_sdk._problems import again

if TYPE_CHECKING:
    from election_sdk._term import Term

__all__ = ["Session"]

_LOOK = 0.25
"""A timer does not run in suspend, so whoever leads looks at the clock this often as well."""
_FIRST_WAIT = timedelta(seconds=0.05)
_LONGEST_WAIT = timedelta(seconds=5)
_RELEASE_LIMIT = 5.0


class Session:
    """The session of a runner, across reopenings.

    Args:
        client: Connections for renewals and for giving leadership up, used by nothing else, so that
            other traffic cannot starve them. It must not repeat calls by itself.
        runner_id: The runner.
        clock: See :func:`~election_sdk._clock.trust_clock`.
        version: Of the runner's program.
        clean_up: See :func:`~election_sdk._belief.window`.
        on_opened: Called with the id of each session before anything acts under it.
        on_overrun: Called with a term whose block did not stop before its trust ended.
    """

    def __init__(
        self,
        client: Client,
        runner_id: str,
        *,
        clock: Callable[[], float],
        version: str | None = None,
        clean_up: timedelta | None = None,
        on_opened: Callable[[str], None] | None = None,
        on_overrun: Callable[[Term], None] | None = None,
    ) -> None:
        self.client = client
        self.runner_id = runner_id
        self.clock = clock
        self.news = News()
        """Whatever changes here."""
        self.kicks = News()
        """Wishes for a renewal at once."""
        self.belief: Belief | None = None
        self.failure: ElectionError | None = None
        """Why this session is over for good."""
        self.acting = 0
        """How much acts under the session now; it is not reopened before that has stopped."""
        self.term: Term | None = None
        """The term that was handed out and has not been exited."""
        self._on_overrun = on_overrun
        self._version = version
        self._clean_up = clean_up
        self._on_opened = on_opened
        self._objections: set[str] = set()
        self._given_up: dict[int, str] = {}

    @property
    def session_id(self) -> str | None:
        """The current session; ``None`` between two."""
        return None if self.belief is None else self.belief.standing.session_id

    @property
    def standing(self) -> Standing | None:
        """The newest answer."""
        return None if self.belief is None else self.belief.standing

    @property
    def epoch(self) -> int | None:
        """The epoch that the session holds by the newest answer, whatever the time."""
        if self.failure is not None or self.belief is None:
            return None
        return self.belief.epoch

    def leads(self) -> int | None:
        """The epoch under which work may begin now: led, trusted, and not given up."""
        if self.failure is not None or self.belief is None:
            return None
        epoch = self.belief.leads(self.clock())
        return None if epoch is None or epoch in self._given_up else epoch

    @property
    def ready(self) -> bool:
        """Whether the runner reports that it may lead."""
        return not self._objections

    def object_to_leading(self, why: str, *, objects: bool) -> None:
        """Report not ready for as long as somebody objects; the server is told at once."""
        before = self.ready
        if objects:
            self._objections.add(why)
        else:
            self._objections.discard(why)
        if self.ready is not before:
            log.info("reports %s", "ready" if self.ready else f"not ready ({why})")
            self.kick()

    def overran(self, term: Term) -> None:
        """What acts under a term did not stop in time: let another runner lead, and tell."""
        self.object_to_leading("overrun", objects=True)
        if self._on_overrun is not None:
            try:
                self._on_overrun(term)
            except Exception:  # noqa: BLE001 - renewals go on whatever the hook does
                log.exception("on_overrun failed")

    def kick(self) -> None:
        """Renew now instead of when it is time."""
        self.kicks.tell()

    async def open(self, previous_session_id: str | None = None) -> None:
        """Open a session, however long the control plane is away.

        Args:
            previous_session_id: Asserts that everything that acted under that session is gone.

        Raises:
            ElectionError: The server refuses.
        """
        key = secrets.token_hex(16)

        async def attempt() -> tuple[Standing, float]:
            started = self.clock()
            standing = await self.client.open_session(
                self.runner_id,
                session_key=key,
                previous_session_id=previous_session_id,
                version=self._version,
                ready=self.ready,
            )
            return standing, started

        standing, started = await until_answered(attempt)
        if self._on_opened is not None:
            self._on_opened(standing.session_id)
        self._given_up.clear()
        self.belief = Belief(standing, started, self._clean_up)
        log.info("session %s of runner %s opened", standing.session_id, self.runner_id)
        self.news.tell()

    def apply(self, standing: Standing, started: float) -> None:
        """Take in an answer about this session; `started` is when its attempt began."""
        belief = self.belief
        if belief is None or standing.session_id != self.session_id:
            return
        before = (belief.standing.role, belief.epoch)
        if belief.apply(standing, started):
            after = (belief.standing.role, belief.epoch)
            if before != after:
                _tell(before, after)
        self.news.tell()

    def refused(self, error: ElectionError) -> None:
        """Another call of this session was told that it is over."""
        if isinstance(error, SessionSuperseded):
            self.fail(error)
        else:
            self.kick()

    def fail(self, error: ElectionError) -> None:
        """The session is over for good."""
        if self.failure is None:
            self.failure = error
            log.error("runner %s stops: %s", self.runner_id, error)
            self.news.tell()

    async def reopen(self, error: SessionEnded) -> None:
        """Stop everything that acts under the session that ended, then open another."""
        log.warning("session %s ended: %s", self.session_id, error)
        self.belief = None
        self.news.tell()
        await self.news.until(lambda: self.acting == 0)
        if await self._is_replaced():
            self.fail(SessionSuperseded("another process opened a session of this runner"))
            return
        try:
            await self.open()
        except (NotFound, SessionEnded, Unauthenticated):
            # The runner was deleted, and its token with it.
            self.fail(error)
        except ElectionError as refused:
            self.fail(refused)

    async def _is_replaced(self) -> bool:
        """Whether another session is current: a server forgets in time how a session ended."""
        try:
            runner = await until_answered(lambda: self.client.runner(self.runner_id))
        except ElectionError:
            return False  # opening tells what is wrong
        return runner.session_id is not None

    async def watch(self) -> None:
        """Look after the term that was handed out, by the clock that counts suspend."""
        self.news.listen(self._look)
        while True:
            term = self.term
            if term is None:
                await self.news.wait()
            else:
                wait = term.look_again_in()
                await self.news.wait(_LOOK if wait is None else min(max(wait, 0.001), _LOOK))
            self._look()

    def _look(self) -> None:
        if self.term is not None:
            self.term.look()

    async def give_up(self, epoch: int, reason: str) -> None:
        """Give an epoch up, and wait until that is known to have come about.

        Everything that acted under it must have stopped. Should the answer not come, it is asked
        again for as long as the session seems to hold the epoch.
        """
        if self.epoch == epoch:
            self._given_up[epoch] = reason
            self.news.tell()
            await self.news.until(lambda: self.epoch != epoch)

    async def releases(self) -> None:
        """Tell the server of epochs that were given up, until it knows."""
        backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        while True:
            await self.news.until(lambda: self.epoch in self._given_up)
            epoch, session_id = self.epoch, self.session_id
            if epoch is None or session_id is None:
                continue
            started = self.clock()
            try:
                with anyio.fail_after(_RELEASE_LIMIT):
                    standing = await self.client.release(
                        self.runner_id, session_id, epoch, reason=self._given_up[epoch]
                    )
            except (ElectionError, TimeoutError) as error:
                log.debug("the release of epoch %s was not answered: %s", epoch, error)
                # Renewals find out what it means; until then there is nothing else to do.
                await anyio.sleep(backoff.next().total_seconds())
            else:
                backoff.reset()
                self.apply(standing, started)
                if self.epoch == epoch:
                    await anyio.sleep(backoff.next().total_seconds())

    async def leave(self) -> None:
        """End the session, if it has not ended; one attempt after another until answered."""
        session_id = self.session_id
        if session_id is None or self.failure is not None:
            return
        self.belief = None
        backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        while True:
            try:
                await self.client.leave(self.runner_id, session_id)
            except ElectionError as error:
                if not again(error):
                    log.info("could not leave session %s: %s", session_id, error)
                    return
                await anyio.sleep(backoff.next().total_seconds())
            else:
                log.info("session %s left", session_id)
                return


def _tell(before: tuple[Role, int | None], after: tuple[Role, int | None]) -> None:
    match after:
        case (Role.LEADER, epoch):
            log.info("leads under epoch %s", epoch)
        case (Role.STEPPING_DOWN, epoch):
            log.info("steps down from epoch %s", epoch)
        case _:
            log.info("no longer leads (epoch %s)", before[1])
