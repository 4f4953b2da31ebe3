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
from election_core.ports import Settle
from election_world import GROUP, World, done

LEASE = 10

DEEDS: dict[str, Callable[[str], Command]] = {
    "taint": lambda runner_id: TaintRunner(runner_id=runner_id),
    "untaint": lambda runner_id: Untaint(runner_id=runner_id),
    "drain": lambda runner_id: DrainRunner(runner_id=runner_id),
    "undrain": lambda runner_id: Undrain(runner_id=runner_id),
    "pin": lambda runner_id: PinLeader(runner_id=runner_id, when_eligible=True, immediate=True),
}
"""What a person may do about a runner."""


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
        """Three runners that have just come."""
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
        process = Process(runner_id=runner_id, session_id=session_id, skew=skew)
        self.processes.append(process)
        self._renew(process)

    def _running(self) -> list[Process]:
        return [process for process in self.processes if not process.stopped]

    def _one(self, data: st.DataObject) -> Process:
        return data.draw(st.sampled_from(self._running()))

    # What time and the network do.

    @rule(seconds=st.sampled_from([0.1, 1, 2, 5, 9, 11]))
    def time_passes(self, seconds: float) -> None:
        """Everybody is paused; the store goes on."""
        self.world.wait(seconds)

    @rule(seconds=st.sampled_from([1, 4, 8]), data=st.data())
    def all_but_one_live_on(self, seconds: float, data: st.DataObject) -> None:
        """Time passes, all renew and hear the answer, but one that is paused."""
        self._live_on(seconds, self._one(data))

    def _live_on(self, seconds: float, paused: Process) -> None:
        self.world.wait(seconds)
        self.world.elector()
        for process in self._running():
            if process is not paused:
                self._renew(process)

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

    @rule(data=st.data())
    def send_beat(self, data: st.DataObject) -> None:
        """A process sends a renewal; it and its answer take their time, or are lost."""
        process = self._one(data)
        started = self.world.now + process.skew

        def renew() -> None:
            answer = self.world.beat_as(process.runner_id, process.session_id)
            self.messages.append(Message(lambda: self._hear(process, answer, started)))

        self._send(process, renew)

    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        """A process renews and hears the answer, all in a moment."""
        self._renew(self._one(data))

    @rule(data=st.data(), there=st.sampled_from([0, 3, 8]), back=st.sampled_from([0, 3, 8, 12]))
    def slow_beat(self, data: st.DataObject, there: float, back: float) -> None:
        """A renewal takes its time to the store, and its answer back, while the others live on."""
        process = self._one(data)
        started = self.world.now + process.skew
        self._live_on(there, process)
        answer = self.world.beat_as(process.runner_id, process.session_id)
        self._live_on(back, process)
        self._hear(process, answer, started)

    def _renew(self, process: Process) -> None:
        started = self.world.now + process.skew
        self._hear(process, self.world.beat_as(process.runner_id, process.session_id), started)

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

    def _give_up(self, process: Process, *, at_once: bool) -> None:
        """A leader stops acting first, and then sends its release."""
        epoch = process.epoch
        assert epoch is not None
        process.gave_up, process.epoch = epoch, None
        process.holds.clear()

        def release() -> None:
            command = Release(
                runner_id=process.runner_id, session_id=process.session_id, epoch=epoch
            )
            self.world.do(command)

        self._send(process, release)
        if at_once:
            self.messages.pop().call()

    def _restart(self, process: Process, *, proven: bool) -> None:
        """A process is replaced; only if the old one is proven gone does the new one say so."""
        if proven:
            process.stopped = True  # with all its children, by the lock it held
            self._start(process.runner_id, process.skew, previous_session_id=process.session_id)
        else:
            self._start(process.runner_id, process.skew)

    @rule(
        data=st.data(),
        deed=st.sampled_from(["give up", "restart", "proven restart", "store away", "person"]),
    )
    def seldom(self, data: st.DataObject, deed: str) -> None:
        """What does not happen every day."""
        process = self._one(data)
        match deed:
            case "give up":
                for leader in [p for p in self._running() if p.epoch is not None]:
                    self._give_up(leader, at_once=data.draw(st.booleans()))
            case "restart" | "proven restart":
                self._restart(process, proven=deed != "restart")
            case "store away":
                self.world.wait(data.draw(st.sampled_from([4, 12])), store=False)
            case _:
                self._overrule(process.runner_id, data.draw(st.sampled_from(sorted(DEEDS))))

    @rule(data=st.data(), at_once=st.booleans())
    def claim(self, data: st.DataObject, at_once: bool) -> None:
        """Who believes to lead asks for the job that somebody has just added."""
        acting = [process for process in self.processes if process.acts(self.world.now)]
        if not acting:
            return
        process = data.draw(st.sampled_from(acting))
        job_id = self.world.fresh("job")
        done(self.world.store.enqueue(GROUP, JobSpec(kind="work"), job_id=job_id))
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
                if item.job.state is JobState.RUNNING:
                    process.holds[item.job.id] = item.claim_token
            if claimed.items and claim_id not in self.claims:
                self.claims.add(claim_id)
                assert before is not None, "I3: a job was given out without a leader"
                assert before.epoch == epoch
                assert before.session_id == process.session_id
                assert self.world.leader == process.runner_id

        self._send(process, claim)
        if at_once:
            self.messages.pop().call()

    @rule(data=st.data(), outcome=st.sampled_from(JobOutcome), at_once=st.booleans())
    def settle(self, data: st.DataObject, outcome: JobOutcome, at_once: bool) -> None:
        """A process tells how a job went, whether or not it still leads."""
        holding = [process for process in self.processes if process.holds]
        if not holding:
            return
        process = data.draw(st.sampled_from(holding))
        job_id, token = process.holds.popitem()

        def settle() -> None:
            before = done(self.world.store.job(job_id))
            term, leader = self.world.term, self.world.leader
            settle = Settle(job_id=job_id, token=token, settlement=Settlement(outcome=outcome))
            (after,) = done(self.world.store.settle([settle]))
            if isinstance(after, ElectionError):
                raise after
            if after != before:
                assert before.state is JobState.RUNNING
                assert term is not None, "I3: settled without a leader"
                assert leader == process.runner_id, "I3: settled by who does not lead"
                assert before.epoch == term.epoch, "I3: settled under another epoch"
                assert term.session_id == process.session_id
            if after != before and after.state is JobState.SUCCEEDED:
                self.settled[job_id] += 1

        self._send(process, settle)
        if at_once:
            self.messages.pop().call()

    def _overrule(self, runner_id: str, deed: str) -> None:
        """A person overrules the policy."""
        self.world.do(DEEDS[deed](runner_id))

    # What must hold.

    @invariant()
    def nobody_acts_beside_another(self) -> None:
        """At most one process believes that it leads (I4)."""
        if not hasattr(self, "world"):
            return
        acting = [p for p in self.processes if p.acts(self.world.now)]
        assert len(acting) <= 1, "I4: two act at once"

    @invariant()
    def jobs_run_under_the_current_epoch(self) -> None:
        """What runs belongs to who leads; what a term left behind is free again (I3)."""
        if not hasattr(self, "world"):
            return
        term = self.world.term
        running = done(self.world.store.jobs(GROUP, state=JobState.RUNNING, limit=1000)).items
        assert {job.epoch for job in running} <= ({term.epoch} if term is not None else set())

    @invariant()
    def jobs_succeed_once(self) -> None:
        """No job's success was taken twice."""
        if hasattr(self, "world"):
            assert all(count == 1 for count in self.settled.values())


TestSimulation = Simulation.TestCase
TestSimulation.settings = settings(stateful_step_count=50, max_examples=200)
