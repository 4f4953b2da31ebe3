"""Load, plan, commit with compare-and-set, and start again on conflict."""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

import anyio

from election_core._changes import Changes
from election_core._commands import Command, Configure
from election_core._errors import Conflict, NotFound, OutcomeUnknown, Unavailable
from election_core._plan import Plan, plan
from election_core._policy import Policies
from election_core._state import Snapshot
from election_core._views import Pulse, pulse_of
from election_core.engine._news import News
from election_core.engine._observer import Observer
from election_core.ports import Committed, Store, Topic

__all__ = ["Commits"]

_PATIENCE = timedelta(seconds=10)
_LONGEST_PAUSE = 0.25


class Commits:
    """Carries commands out.

    Args:
        store: Where groups are kept.
        policies: The policies by name.
        observer: Who watches.
        news: Who is told.
    """

    def __init__(self, store: Store, policies: Policies, observer: Observer, news: News) -> None:
        self._store = store
        self._policies = policies
        self._observer = observer
        self._news = news

    async def load(self, group_id: str) -> Snapshot:
        """A group that is not deleted.

        Raises:
            NotFound: There is none.
        """
        snapshot = await self._store.load(group_id)
        if snapshot.group.deleted_at is not None:
            raise NotFound(f"no group {group_id!r}")
        return snapshot

    async def carry_out(
        self,
        group_id: str,
        command: Command | Callable[[Snapshot], Command],
        *,
        actor: str,
        check: Callable[[Snapshot], Awaitable[None]] | None = None,
        record: bool = False,
    ) -> Plan:
        """Carry a command out, deciding in the same commit.

        Args:
            group_id: The group.
            command: What to do, or how to tell from the snapshot.
            actor: Who asks.
            check: Called with each snapshot that is planned from; refuses by raising.
            record: Commit the time of the decision even if nothing else changes.

        Raises:
            ElectionError: What the command, the check or the store refuses it with.
        """
        pauses = _Pauses()
        while True:
            snapshot = await self.load(group_id)
            if check is not None:
                await check(snapshot)
            wanted = command(snapshot) if callable(command) else command
            settings = wanted.settings if isinstance(wanted, Configure) else snapshot.group.settings
            planned = plan(snapshot, wanted, self._policies.of(settings), actor=actor)
            if not (record or planned.changed):
                return planned
            try:
                await self.commit(
                    planned.changes, expected_revision=snapshot.revision, after=planned.after
                )
            except Conflict:
                await pauses.next()
            else:
                return planned

    async def commit(
        self, changes: Changes, *, expected_revision: int, after: Snapshot | None = None
    ) -> Committed:
        """Commit and tell whoever waits; once begun it is not cut short.

        Args:
            changes: What to write.
            expected_revision: The revision that they were planned from.
            after: The group once they are committed; who waits is told from it.

        Raises:
            Conflict: Compare-and-set lost.
            OutcomeUnknown: The answer was lost, again and again.
        """
        with anyio.CancelScope(shield=True):
            return await self._commit(changes, expected_revision, after)
        raise AssertionError("a shield swallows nothing")

    async def _commit(
        self, changes: Changes, expected_revision: int, after: Snapshot | None
    ) -> Committed:
        commit_id = secrets.token_hex(12)
        pauses = _Pauses()
        lost: OutcomeUnknown | None = None
        while True:
            try:
                committed = await self._store.commit(
                    changes, expected_revision=expected_revision, commit_id=commit_id
                )
            except OutcomeUnknown as error:
                lost = error
                self._wake(changes)  # should it be written, who waits finds it
            except Unavailable:
                # Says nothing about an earlier attempt whose answer was lost.
                if lost is None:
                    raise
            else:
                self._wake(changes, {} if after is None else _pulses(changes, after, committed.at))
                if changes.events:
                    self._observer.committed(changes.events)
                return committed
            await pauses.next(lost)

    def _wake(self, changes: Changes, pulses: Mapping[str, Pulse] | None = None) -> None:
        group_id = changes.group.id
        # Who leads now first: until it knows, nobody acts.
        runners = [*changes.granted, *changes.roused]
        runners += [ended.runner_id for ended in changes.ended_sessions]
        topics: list[Topic] = [("runner", runner_id) for runner_id in dict.fromkeys(runners)]
        if changes.ended_terms or changes.ended_sessions:
            topics.append(("jobs", group_id))
        if changes.events:
            topics += [("events", group_id), ("events", "*")]
        self._news.tell(topics, pulses)


def _pulses(changes: Changes, after: Snapshot, at: datetime) -> dict[str, Pulse]:
    """The runners whose standing changed as a commit left them.

    Leases are those that it was planned from. If that of the leader is over by now, it took long
    and the leader has renewed since; then nothing is known.
    """
    holder = after.incumbent
    leader = None if holder is None else holder.session
    ends = None if leader is None else leader.term_expires_at
    if ends is not None and ends <= at:
        return {}
    runners = [after.runner(runner_id) for runner_id in changes.roused]
    return {
        runner.id: pulse_of(runner, runner.session, after.group, ends, at)
        for runner in runners
        if runner is not None and runner.session is not None
    }


class _Pauses:
    """Jittered, growing pauses between attempts, until patience ends."""

    def __init__(self) -> None:
        self._until = anyio.current_time() + _PATIENCE.total_seconds()
        self._longest = 0.002

    async def next(self, error: Unavailable | None = None) -> None:
        """Pause before another attempt.

        Raises:
            Unavailable: There were too many; `error`, if it is given.
        """
        if anyio.current_time() > self._until:
            raise error or Unavailable("the group changes too fast to be decided; try again")
        await anyio.sleep(random.uniform(0, self._longest))
        self._longest = min(_LONGEST_PAUSE, self._longest * 2)
