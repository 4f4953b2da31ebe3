"""A group in a memory store under a clock that the test moves, with its promises watched.

Calls are plain functions: a memory store never waits, so its coroutines end at their first step.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from attrs import evolve

from election_cases import NOW, span
from election_core import (
    Command,
    Decide,
    Event,
    Leave,
    OldestActive,
    OpenSession,
    Plan,
    Policy,
    Pulse,
    RegisterRunner,
    Release,
    Runner,
    Session,
    Settings,
    Snapshot,
    Term,
    create_group,
    excluding,
    plan,
)
from election_core.memory import MemoryStore
from election_core.ports import Beat, Beaten

T = TypeVar("T")

GROUP = "g"
TICK = timedelta(seconds=1)


def done(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call that never waits."""
    try:
        call.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    call.close()
    raise AssertionError("the call waits")


class World:
    """One group, its store, and the time.

    Whatever is done through it is checked: at most one session holds an epoch (I1), epochs only
    rise (I2), nothing is granted while anybody may still trust an earlier term (I4), a live leader
    is never simply replaced (I7), nobody is elected who must not be (I9), and what a plan says
    will be is what the store then holds.
    """

    def __init__(self, settings: Settings | None = None, policy: Policy | None = None) -> None:
        self.now: datetime = NOW
        self.policy: Policy = policy or OldestActive()
        self.store = MemoryStore(clock=lambda: self.now)
        self.epochs: list[int] = []
        """Every epoch ever granted, in order."""
        self._told: dict[int, datetime] = {}
        """Until when the session of each epoch was ever told that its term lasts."""
        self._given_up: set[int] = set()
        self._made = 0
        done(self.store.mark(TICK))
        self.create(settings or Settings())

    # Time.

    def wait(self, seconds: float, *, store: bool = True) -> None:
        """Let time pass; the mark stays fresh unless the `store` is out of reach meanwhile."""
        self.now += span(seconds)
        if store:
            self._freshen()

    def _freshen(self) -> None:
        mark = done(self.store.load(GROUP)).mark
        self.store._mark = evolve(mark, at=self.now)

    def live(self, seconds: float, beating: Iterable[str] = (), *, step: float = 1) -> None:
        """Let the group live: these runners renew and the elector works at every step."""
        runner_ids = tuple(beating)
        ends = self.now + span(seconds)
        while self.now < ends:
            self.wait(min(step, (ends - self.now).total_seconds()))
            for runner_id in runner_ids:
                self.beat(runner_id)
            self.elector()

    def mark(self) -> None:
        """Refresh the mark as an elector does."""
        before = self.snapshot
        done(self.store.mark(TICK))
        self._watch(before, None)

    def elector(self) -> list[Plan]:
        """One tick of the elector: the mark, then whatever is due."""
        self.mark()
        plans = []
        for group_id in done(self.store.due(10)).group_ids:
            assert group_id == GROUP
            plans.append(self.do(Decide(), record=True))
        return plans

    # What there is.

    @property
    def snapshot(self) -> Snapshot:
        """The group as the store has it."""
        return done(self.store.load(GROUP))

    @property
    def term(self) -> Term | None:
        """The current term, live or not."""
        return self.snapshot.group.term

    @property
    def leader(self) -> str | None:
        """Who leads under a live lease."""
        snapshot = self.snapshot
        holder = snapshot.incumbent
        session = None if holder is None else holder.session
        ends = None if session is None else session.term_expires_at
        return holder.id if holder is not None and ends is not None and ends > self.now else None

    @property
    def epoch(self) -> int:
        """The highest epoch ever granted."""
        return self.snapshot.group.epoch

    @property
    def history(self) -> list[Event]:
        """All events so far."""
        return done(self.store.events(GROUP, limit=100_000))

    @property
    def kinds(self) -> list[str]:
        """The kinds of all events so far."""
        return [event.kind for event in self.history]

    def runner(self, runner_id: str) -> Runner:
        """A runner that exists."""
        runner = self.snapshot.runner(runner_id)
        assert runner is not None
        return runner

    def session(self, runner_id: str) -> Session:
        """The current session of a runner that has one."""
        session = self.runner(runner_id).session
        assert session is not None
        return session

    # What is done.

    def create(self, settings: Settings) -> None:
        """Create the group, on the remains of an earlier one if there are any."""
        found = self.store._groups.get(GROUP)
        remains = None if found is None else found.group
        self._commit(
            create_group(GROUP, settings, at=self.now, remains=remains),
            0 if found is None else found.revision,
        )

    def fresh(self, kind: str) -> str:
        """An id that was not used before; ids rise."""
        self._made += 1
        return f"{kind}-{self._made:04}"

    def do(self, command: Command, *, record: bool = False) -> Plan:
        """Carry a command out, and check that the promises held."""
        before = self.snapshot
        planned = plan(before, command, self.policy)
        if planned.changed or record:
            self._commit(planned.changes, before.revision)
            after = self.snapshot
            assert after.group == planned.after.group
            assert after.runners == tuple(
                sorted(planned.after.runners, key=lambda runner: (runner.created_at, runner.id))
            )
            self._watch(before, command)
        return planned

    def _commit(self, changes: Any, revision: int) -> None:
        done(self.store.commit(changes, expected_revision=revision, commit_id=self.fresh("commit")))

    def register(self, name: str = "", **rest: Any) -> str:
        """Register a runner; its id."""
        runner_id = self.fresh("runner")
        self.do(RegisterRunner(runner_id=runner_id, name=name or runner_id, **rest))
        return runner_id

    def open(self, runner_id: str, **rest: Any) -> str:
        """Open a new session; its id."""
        session_id = self.fresh("session")
        command = OpenSession(
            runner_id=runner_id, session_id=session_id, session_key=f"key of {session_id}", **rest
        )
        self.do(command)
        return session_id

    def join(self, name: str = "", **rest: Any) -> str:
        """Register a runner and open its first session, a second later than whoever was before."""
        self.wait(1)
        runner_id = self.register(name, **rest)
        self.open(runner_id)
        return runner_id

    def beat(self, runner_id: str, *, ready: bool | None = None) -> Beaten:
        """Renew a runner's current session, if it has one."""
        runner = self.snapshot.runner(runner_id)
        if runner is None or runner.session is None:
            return None
        answer = self.beat_as(runner_id, runner.session.id, ready=ready)
        assert isinstance(answer, Pulse)
        return answer

    def beat_as(self, runner_id: str, session_id: str, *, ready: bool | None = None) -> Beaten:
        """Renew a session, current or not."""
        before = self.snapshot
        beat = Beat(runner_id=runner_id, session_id=session_id, ready=ready)
        answer = done(self.store.beat([beat]))[0]
        self._watch(before, None)
        return answer

    def release(self, runner_id: str) -> Plan:
        """Give up whatever epoch the runner holds."""
        session = self.session(runner_id)
        epoch = session.held_epoch or 0
        return self.do(Release(runner_id=runner_id, session_id=session.id, epoch=epoch))

    def leave(self, runner_id: str) -> Plan:
        """End the runner's session from its own side."""
        return self.do(Leave(runner_id=runner_id, session_id=self.session(runner_id).id))

    # What must hold.

    def _watch(self, before: Snapshot, command: Command | None) -> None:
        after = self.snapshot
        self._watch_holders(after)
        self._watch_giving_up(before, command)
        old, new = before.group.term, after.group.term
        assert after.group.epoch >= before.group.epoch, "I2: an epoch fell"
        if new is not None and new != old:
            self._watch_grant(before, after, new)
        if old is not None and new != old and isinstance(command, Decide):
            assert self._told[old.epoch] <= before.at, "I7: a live leader was replaced"
        holder = after.incumbent
        if new is not None and holder is not None and holder.session is not None:
            ends = holder.session.term_expires_at
            assert ends is not None
            assert ends <= holder.session.lease_expires_at
            self._told[new.epoch] = max(ends, self._told.get(new.epoch, ends))

    def _watch_holders(self, snapshot: Snapshot) -> None:
        term = snapshot.group.term
        holders = [
            (runner.id, runner.session.id, runner.session.held_epoch)
            for runner in snapshot.runners
            if runner.session is not None and runner.session.held_epoch is not None
        ]
        current = [] if term is None else [(term.runner_id, term.session_id, term.epoch)]
        assert holders == current, "I1: who holds an epoch is not who leads"

    def _watch_giving_up(self, before: Snapshot, command: Command | None) -> None:
        term = before.group.term
        if term is None:
            return
        match command:
            case Release(session_id=session_id, epoch=epoch):
                gone = session_id == term.session_id and epoch == term.epoch
            case Leave(session_id=session_id):
                gone = session_id == term.session_id
            case OpenSession(previous_session_id=session_id):
                gone = session_id == term.session_id
            case _:
                gone = False
        if gone:
            self._given_up.add(term.epoch)

    def _watch_grant(self, before: Snapshot, after: Snapshot, term: Term) -> None:
        assert term.epoch == after.group.epoch
        assert all(term.epoch > epoch for epoch in self.epochs), "I2: an epoch was used before"
        self.epochs.append(term.epoch)
        for epoch, told in self._told.items():
            trusts = epoch not in self._given_up and told > before.at
            assert not trusts, "I4: granted while an earlier term may be trusted"
        winner = after.incumbent
        assert winner is not None
        assert winner.session is not None
        assert winner.session.id == term.session_id
        assert winner.session.lease_expires_at > before.at
        assert winner.session.ready
        assert winner.drain is None
        assert not any(excluding(taint) for taint in after.untolerated(winner)), "I9"
