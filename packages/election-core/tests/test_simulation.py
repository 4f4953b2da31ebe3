"""A fleet that pauses, loses messages and restarts, step by step, against one store.

Runners have clocks of their own and believe what they are told by the rule of the design: from the
*start* of the attempt, for what the answer says is left. Calls and answers travel as messages that
arrive late, twice or never. Whatever the schedule, at no moment do two runners believe that they
lead, and no job is settled twice or by whom it was taken from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from election_cases import span
from election_core import (
    Claimed,
    Command,
    DrainRunner,
    ElectionError,
    JobOutcome,
    JobSpec,
    JobState,
    PinLeader,
    Pulse,
    Release,
    Role,
    SessionEnded,
    Settings,
    Settlement,
    TaintRunner,
    Undrain,
    Untaint,
    standing_of,
)
from election_world import GROUP, World, done

LEASE = 10


@attrs.define(kw_only=True)
class Process:
    """One process of a runner, with what it believes."""

    runner_id: str
    session_id: str
    skew: timedelta
    """How far its own clock is from the store's; it runs at the same rate."""
    epoch: int | None = None
    """The epoch it believes to lead under, and until when by its own clock."""
    trusted_until: datetime | None = None
    gave_up: int = 0
    """The highest epoch that it has given up, or has asked to: it does not act under it again."""
    holds: dict[str, str] = attrs.field(factory=dict)
    """Jobs that it works on, with their tokens."""
    stopped: bool = False

    def acts(self, now: datetime) -> bool:
        """Whether it acts as leader at the store's time `now`."""
        return (
            not self.stopped
            and self.epoch is not None
            and self.epoch > self.gave_up
            and self.trusted_until is not None
            and now + self.skew < self.trusted_until
        )


@attrs.define
class Message:
    """A call on its way to the store."""

    call: Callable[[], object]
    """Carries it out, and hands the answer to its sender if that arrives."""


class Simulation(RuleBasedStateMachine):
    """Every step is one thing that happens somewhere."""

    world: World

    @initialize(skews=st.lists(st.integers(-100, 100), min_size=3, max_size=3))
    def begin(self, skews: list[int]) -> None:
        """Three runners; none has heard anything yet."""
        self.world = World(Settings(lease=span(LEASE), handover_timeout=span(8)))
        self.processes: list[Process] = []
        self.messages: list[Message] = []
        self.settled: Counter[str] = Counter()
        self.claims: set[str] = set()
        for number, skew in enumerate(skews):
            runner_id = self.world.register(f"r{number}")
            self._start(runner_id, span(skew))

    def _start(self, runner_id: str, skew: timedelta, **rest: str) -> None:
        session_id = self.world.open(runner_id, **rest)
        self.processes.append(Process(runner_id=runner_id, session_id=session_id, skew=skew))

    def _running(self) -> list[Process]:
        return [process for process in self.processes if not process.stopped]

    def _one(self, data: st.DataObject) -> Process:
        return data.draw(st.sampled_from(self._running()))

    # What time and the network do.

    @rule(seconds=st.sampled_from([0.1, 0.5, 1, 2, 4, 9, 11, 30]))
    def time_passes(self, seconds: float) -> None:
        """Everybody is paused; the store goes on."""
        self.world.wait(seconds)

    @rule(seconds=st.sampled_from([4, 12]))
    def store_away(self, seconds: float) -> None:
        """Nobody reaches the store, the electors included."""
        self.world.wait(seconds, store=False)

    @rule()
    def elector(self) -> None:
        """Some replica decides what is due."""
        self.world.elector()

    @rule(data=st.data(), fate=st.sampled_from(["arrives", "arrives", "lost", "twice"]))
    def deliver(self, data: st.DataObject, fate: str) -> None:
        """Any message on its way arrives, or does not, or once more later."""
        if not self.messages:
            return
        index = data.draw(st.integers(0, len(self.messages) - 1))
        message = self.messages[index]
        if fate != "twice":
            del self.messages[index]
        if fate != "lost":
            message.call()

    def _send(self, process: Process, call: Callable[[], object]) -> None:
        def carried_out() -> None:
            try:
                call()
            except SessionEnded:
                process.stopped = True
            except ElectionError:
                pass  # told to the sender, who does nothing about it

        self.messages.append(Message(carried_out))

    # What processes do.

    @rule(data=st.data(), heard=st.booleans(), at_once=st.booleans())
    def beat(self, data: st.DataObject, heard: bool, at_once: bool) -> None:
        """A process sends a renewal; the answer may be lost on its way back."""
        process = self._one(data)
        started = self.world.now + process.skew

        def renew() -> None:
            answer = self.world.beat_as(process.runner_id, process.session_id)
            if heard:
                self.messages.append(Message(lambda: self._hear(process, answer, started)))

        self._send(process, renew)
        if at_once:
            self.messages.pop().call()
            if heard:
                self.messages.pop().call()

    def _hear(self, process: Process, answer: object, started: datetime) -> None:
        if not isinstance(answer, Pulse):
            process.stopped = True
            return
        standing = standing_of(answer)
        if standing.role is Role.STANDBY:
            # An answer that was overtaken says nothing about a later epoch.
            if process.epoch is None or standing.epoch >= process.epoch:
                process.epoch = None
            return
        until = started + standing.lease_remaining
        if process.epoch == standing.epoch and process.trusted_until is not None:
            until = max(until, process.trusted_until)
        if process.epoch is None or standing.epoch >= process.epoch:
            process.epoch, process.trusted_until = standing.epoch, until

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """A leader stops acting first, and then sends its release."""
        process = self._one(data)
        epoch = process.epoch
        if epoch is None:
            return
        process.gave_up, process.epoch = epoch, None
        process.holds.clear()

        def release() -> None:
            command = Release(
                runner_id=process.runner_id, session_id=process.session_id, epoch=epoch
            )
            self.world.do(command)

        self._send(process, release)

    @rule(data=st.data(), proven=st.booleans())
    def restart(self, data: st.DataObject, proven: bool) -> None:
        """A process is replaced; only if the old one is proven gone does the new one say so."""
        process = self._one(data)
        if proven:
            process.stopped = True  # with all its children, by the lock it held
            self._start(process.runner_id, process.skew, previous_session_id=process.session_id)
        else:
            self._start(process.runner_id, process.skew)

    @rule(data=st.data())
    def enqueue(self, data: st.DataObject) -> None:
        """Somebody adds a job."""
        job_id = self.world.fresh("job")
        done(self.world.store.enqueue(GROUP, JobSpec(kind="work"), job_id=job_id))

    @rule(data=st.data(), heard=st.booleans())
    def claim(self, data: st.DataObject, heard: bool) -> None:
        """A process that believes to lead asks for a job."""
        process = self._one(data)
        if not process.acts(self.world.now):
            return
        epoch, claim_id, token = process.epoch, self.world.fresh("claim"), self.world.fresh("token")

        def claim() -> None:
            before = self.world.term
            claimed: Claimed = done(
                self.world.store.claim(
                    process.runner_id,
                    process.session_id,
                    claim_id=claim_id,
                    epoch=epoch,
                    limit=1,
                    tokens=[token],
                )
            )
            for item in claimed.items:
                if item.job.state is JobState.RUNNING and heard:
                    process.holds[item.job.id] = item.claim_token
            if claimed.items and claim_id not in self.claims:
                self.claims.add(claim_id)
                assert before is not None, "I3: a job was given out without a leader"
                assert before.epoch == epoch
                assert before.session_id == process.session_id
                assert self.world.leader == process.runner_id

        self._send(process, claim)

    @rule(data=st.data(), outcome=st.sampled_from(JobOutcome))
    def settle(self, data: st.DataObject, outcome: JobOutcome) -> None:
        """A process tells how a job went, whether or not it still leads."""
        process = self._one(data)
        if not process.holds:
            return
        job_id, token = process.holds.popitem()

        def settle() -> None:
            before = done(self.world.store.job(job_id))
            term, leader = self.world.term, self.world.leader
            after = done(self.world.store.settle(job_id, token, Settlement(outcome=outcome)))
            if after != before:
                assert before.state is JobState.RUNNING
                assert term is not None, "I3: settled without a leader"
                assert leader == process.runner_id, "I3: settled by who does not lead"
                assert before.epoch == term.epoch, "I3: settled under another epoch"
                assert term.session_id == process.session_id
            if after != before and after.state is JobState.SUCCEEDED:
                self.settled[job_id] += 1

        self._send(process, settle)

    # What people do.

    @rule(data=st.data(), deed=st.sampled_from(["taint", "untaint", "drain", "undrain", "pin"]))
    def operate(self, data: st.DataObject, deed: str) -> None:
        """A person overrules the policy."""
        runner_id = data.draw(st.sampled_from(sorted({p.runner_id for p in self.processes})))
        commands: dict[str, Command] = {
            "taint": TaintRunner(runner_id=runner_id),
            "untaint": Untaint(runner_id=runner_id),
            "drain": DrainRunner(runner_id=runner_id),
            "undrain": Undrain(runner_id=runner_id),
            "pin": PinLeader(runner_id=runner_id, when_eligible=True, immediate=True),
        }
        self.world.do(commands[deed])

    # What must hold.

    @invariant()
    def nobody_acts_beside_another(self) -> None:
        """At most one process believes that it leads (I4)."""
        if not hasattr(self, "world"):
            return
        acting = [p for p in self.processes if p.acts(self.world.now)]
        assert len(acting) <= 1, "I4: two act at once"

    @invariant()
    def jobs_succeed_once(self) -> None:
        """No job's success was taken twice."""
        if hasattr(self, "world"):
            assert all(count == 1 for count in self.settled.values())


TestSimulation = Simulation.TestCase
TestSimulation.settings = settings(stateful_step_count=60, max_examples=80)
