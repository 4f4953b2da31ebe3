"""An adapter beside the store in memory: whatever is asked of the two, and when, they answer alike.

The idea of one machine for several backends is that of Hypothesis' own tests of its databases.
"""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from election_core import (
    Configure,
    Decide,
    DeleteGroup,
    DeleteRunner,
    DrainRunner,
    Effect,
    Leave,
    NewTaint,
    OpenSession,
    PinLeader,
    PolicySpec,
    RegisterRunner,
    Release,
    Settings,
    TaintRunner,
    Undrain,
    Unpin,
    Untaint,
    create_group,
)
from election_core.ports import Beat, Beaten
from election_testkit._agreement_jobs import JobRules

_GROUPS = st.sampled_from(["g", "h"])
_RUNNERS = st.sampled_from(["g-a", "g-b", "g-c", "h-a", "h-b"])
_NUMBERS = st.integers(0, 50)
_SECONDS = st.sampled_from([0, 0.1, 0.3, 0.5, 0.5, 1, 1, 2, 3, 3.000001, 5, 16, 90])
_HOLDS = st.sampled_from([timedelta(), timedelta(seconds=0.5)])


@st.composite
def _settings(draw: st.DrawFn) -> Settings:
    return Settings(
        lease=timedelta(seconds=draw(st.sampled_from([1, 5, 15]))),
        heartbeat=draw(st.sampled_from([None, timedelta(seconds=0.3)])),
        handover_timeout=timedelta(seconds=draw(st.sampled_from([0, 2, 20]))),
        retry_backoff=timedelta(seconds=draw(st.sampled_from([0, 1]))),
        retention=draw(st.sampled_from([timedelta(days=7), timedelta(seconds=2)])),
        policy=PolicySpec(
            options={"preempt": draw(st.booleans()), "stable_for_seconds": draw(_SECONDS)}
        ),
    )


@st.composite
def _taints(draw: st.DrawFn) -> NewTaint:
    return NewTaint(
        key=draw(st.sampled_from(["manual", "laptop"])),
        effect=draw(st.sampled_from(Effect)),
        owner=draw(st.sampled_from(["", "ann"])),
        ttl=draw(st.sampled_from([None, timedelta(seconds=3)])),
    )


class AgreementMachine(JobRules):
    """Asks everything of an adapter and of `MemoryStore` under one clock; they must answer alike.

    Subclass it and say how to open the adapter; then hand its test case to the runner:

        class MyAgreement(AgreementMachine):
            def open_store(self, clock):
                return MyStore.open(":memory:", clock=clock)


        TestMyAgreement = MyAgreement.TestCase
        TestMyAgreement.settings = settings(max_examples=50, stateful_step_count=40)

    Pages are compared item by item, and cursors not at all. How many rows a call of `prune` deletes
    is each store's own business.
    """

    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        """Begin with a group of two runners, the first of which leads."""
        self.create("g", Settings(lease=timedelta(seconds=5)))
        for runner_id in ("g-a", "g-b"):
            self.register(runner_id, {})
            self.open(runner_id, ready=True, names_previous=False)

    @rule(seconds=_SECONDS)
    def time_passes(self, seconds: float) -> None:
        """Time passes, and nobody does anything."""
        self.advance(seconds)

    @rule(ticks=st.integers(1, 4), silent=_RUNNERS)
    def life_goes_on(self, ticks: int, silent: str) -> None:
        """Ticks pass, in which all runners but one renew and an elector decides."""
        for _ in range(ticks):
            self.advance(0.9)
            current = dict(self.sessions)
            current.pop(silent, None)
            beats = [Beat(runner_id=id_, session_id=current[id_]) for id_ in sorted(current)]
            self.ask(lambda store, beats=beats: store.beat(beats))  # type: ignore[misc]
            self.mark(1)
            self.decide_due(10)

    @rule(group_id=_GROUPS, settings=_settings())
    def create(self, group_id: str, settings: Settings) -> None:
        """Create a group, or again after its deletion."""
        snapshot = self.load(group_id)
        if snapshot is None:
            self.commit(create_group(group_id, settings, at=self.clock()), 0)
        elif snapshot.group.deleted_at is not None:
            changes = create_group(group_id, settings, at=snapshot.at, remains=snapshot.group)
            self.commit(changes, snapshot.revision)

    @rule(runner_id=_RUNNERS, labels=st.dictionaries(st.sampled_from(["zone"]), st.just("1")))
    def register(self, runner_id: str, labels: dict[str, str]) -> None:
        """Register a runner, or change its labels."""
        self.command(
            runner_id[0], RegisterRunner(runner_id=runner_id, name=runner_id, labels=labels)
        )

    @rule(runner_id=_RUNNERS, ready=st.booleans(), names_previous=st.booleans())
    def open(self, runner_id: str, ready: bool, names_previous: bool) -> None:
        """Open a session."""
        session_id = f"session-{self.number()}"
        previous = [old for owner, old in self.sessions if owner == runner_id]
        command = OpenSession(
            runner_id=runner_id,
            session_id=session_id,
            session_key=f"key of {session_id}",
            previous_session_id=previous[-1] if previous and names_previous else None,
            ready=ready,
        )
        if self.command(runner_id[0], command):
            self.sessions.append((runner_id, session_id))

    @rule(group_id=_GROUPS, data=st.data(), later=st.booleans())
    def change(self, group_id: str, data: st.DataObject, later: bool) -> None:
        """Carry out any other command, now or once more has happened."""
        snapshot = self.load(group_id)
        runner_ids = [r.id for r in snapshot.runners] if snapshot is not None else []
        if snapshot is None or not runner_ids:
            return
        runner_id = data.draw(st.sampled_from(runner_ids))
        runner = snapshot.runner(runner_id)
        session_id = "gone" if runner is None or runner.session is None else runner.session.id
        if not data.draw(st.integers(0, 20)):
            self.command(group_id, DeleteGroup(force=True), later=later)
            return
        command = data.draw(
            st.one_of(
                st.just(Decide()),
                st.builds(Configure, settings=_settings()),
                st.just(DeleteRunner(runner_id=runner_id)),
                st.builds(TaintRunner, runner_id=st.just(runner_id), taint=_taints()),
                st.just(Untaint(runner_id=runner_id, force=True)),
                st.just(DrainRunner(runner_id=runner_id, reason="lunch")),
                st.just(Undrain(runner_id=runner_id)),
                st.builds(
                    PinLeader,
                    runner_id=st.just(runner_id),
                    ttl=st.sampled_from([None, timedelta(seconds=3)]),
                    immediate=st.booleans(),
                    when_eligible=st.just(True),
                ),
                st.just(Unpin()),
                st.just(
                    Release(runner_id=runner_id, session_id=session_id, epoch=snapshot.group.epoch)
                ),
                st.just(Leave(runner_id=runner_id, session_id=session_id)),
            )
        )
        self.command(group_id, command, later=later)

    @precondition(lambda self: self.planned)
    @rule()
    def commit_late(self) -> None:
        """Commit what was planned before other things happened."""
        self.commit(*self.planned.pop())

    @rule(limit=st.integers(1, 3), hold=_HOLDS)
    def decide_due(self, limit: int, hold: timedelta = timedelta()) -> None:
        """Decide what is due, as an elector does."""
        due = self.ask(lambda store: store.due(limit, hold=hold))
        for group_id in due.group_ids if due is not None else ():
            self.command(group_id, Decide())

    @rule(tick=st.sampled_from([1, 2]))
    def mark(self, tick: int) -> None:
        """Refresh the mark."""
        self.ask(lambda store: store.mark(timedelta(seconds=tick)))

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        """Renew some sessions together, current ones and others."""
        owners = dict(self.sessions)
        chosen = data.draw(st.lists(st.sampled_from(sorted(owners)), unique=True, min_size=1))
        beats = []
        for runner_id in chosen:
            latest = owners[runner_id]
            known = [id_ for owner, id_ in self.sessions if owner == runner_id]
            beats.append(
                Beat(
                    runner_id=runner_id,
                    session_id=data.draw(st.sampled_from([latest] * 5 + known + ["never"])),
                    seq=data.draw(st.none() | st.integers(0, 3)),
                    ready=data.draw(st.sampled_from([None, None, True, False])),
                )
            )
        self.ask(lambda store: store.beat(beats))

    @precondition(lambda self: self.sessions)
    @rule(index=_NUMBERS)
    def look_at_session(self, index: int) -> None:
        """Look at a session, and at how it or its key ended."""
        runner_id, session_id = self.sessions[index % len(self.sessions)]
        pulse: Beaten = self.ask(lambda store: store.pulse(runner_id, session_id))
        by_id = self.ask(lambda store: store.ended_session(runner_id, session_id=session_id))
        by_key = self.ask(lambda store: store.ended_session(runner_id, key=f"key of {session_id}"))
        assert by_id == by_key
        assert (pulse if by_id is None else by_id) == pulse
