"""The promises hold through any sequence of commands, renewals, outages and silences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from election_cases import span
from election_core import (
    Command,
    Configure,
    Decide,
    Decision,
    DeleteGroup,
    ElectionError,
    LoseRunner,
    OldestActive,
    Settings,
    what_if,
)
from election_testkit.strategies import commands
from election_testkit.strategies import settings as group_settings
from election_world import World


class Life(RuleBasedStateMachine):
    """A group that lives through whatever comes; `World` watches the promises at each step."""

    world: World

    @initialize(preempt=st.booleans(), stable=st.sampled_from([0, 3, 30]))
    def begin(self, preempt: bool, stable: int) -> None:
        """Three runners, one of them leading."""
        policy = OldestActive(preempt=preempt, stable_for=span(stable))
        self.world = World(Settings(lease=span(10), handover_timeout=span(20)), policy)
        for name in "abc":
            self.world.join(name)

    @rule(seconds=st.sampled_from([0.5, 1, 3, 9, 10, 25]), data=st.data())
    def time_passes(self, seconds: float, data: st.DataObject) -> None:
        """Some renew, some fall silent."""
        self.world.wait(seconds)
        self.renewals(data)

    @rule(seconds=st.sampled_from([2, 4, 12, 40]))
    def outage(self, seconds: float) -> None:
        """Nobody reaches the store."""
        self.world.wait(seconds, store=False)

    @rule(data=st.data())
    def renewals(self, data: st.DataObject) -> None:
        """Any of the runners renew, ready or not."""
        ids = [runner.id for runner in self.world.snapshot.runners]
        beating = data.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []
        for runner_id in beating:
            ready = data.draw(st.sampled_from([None, None, None, True, False]))
            self.world.beat(runner_id, ready=ready)

    @rule()
    def tick(self) -> None:
        """The elector works."""
        self.world.elector()

    @rule(data=st.data())
    def anything(self, data: st.DataObject) -> None:
        """Any command; a refused one changes nothing."""
        command = data.draw(commands(self.world.snapshot))
        self._try(self._fresh(command))

    @rule(data=st.data())
    def sensible(self, data: st.DataObject) -> None:
        """What runners do in good order."""
        ids = [runner.id for runner in self.world.snapshot.runners]
        if not ids:
            self.world.join()
            return
        runner_id = data.draw(st.sampled_from(ids))
        session = self.world.runner(runner_id).session
        deed = data.draw(st.sampled_from(["open", "restart", "release", "leave"]))
        if session is None or deed == "open":
            self.world.open(runner_id)
        elif deed == "restart":
            self.world.open(runner_id, previous_session_id=session.id)
        elif deed == "release":
            self.world.release(runner_id)
        else:
            self.world.leave(runner_id)

    @rule(settings=group_settings())
    def configure(self, settings: Settings) -> None:
        """A person changes the settings."""
        self.world.do(Configure(settings=settings))

    @rule()
    def recreate(self) -> None:
        """The group is deleted by force and made again."""
        lease = self.world.snapshot.group.settings.lease
        self.world.do(DeleteGroup(force=True))
        self.world.create(Settings(lease=lease))
        self.world.join()

    @rule()
    def lose_commits(self) -> None:
        """The store is restored from a backup."""
        epoch = self.world.epoch
        self.world.store.lose_commits()
        self.world.mark()
        assert self.world.epoch > epoch

    @invariant()
    def decisions_hold(self) -> None:
        """Deciding twice in a moment changes nothing the second time."""
        if not hasattr(self, "world"):
            return
        self.world.do(Decide())
        assert not self.world.do(Decide()).changed

    def _fresh(self, command: Command) -> Command:
        """The command with ids that nobody used."""
        changes: dict[str, Any] = {}
        if getattr(command, "session_id", None) == "session-new":
            changes["session_id"] = self.world.fresh("session")
        if getattr(command, "runner_id", None) == "new":
            changes["runner_id"] = self.world.fresh("runner")
        return evolve(command, **changes)

    def _try(self, command: Command) -> None:
        before = self.world.snapshot
        if isinstance(command, Configure | LoseRunner):
            return  # the one has a rule of its own, the other only predicts
        predicted = self._outcome(lambda: what_if(before, [command], self.world.policy))
        done = self._outcome(lambda: self.world.do(command).decision)
        assert done == predicted
        if isinstance(done, type):
            assert self.world.snapshot == before

    @staticmethod
    def _outcome(attempt: Callable[[], Decision]) -> Decision | type[ElectionError]:
        """What comes of it: a decision, or a refusal."""
        try:
            return attempt()
        except ElectionError as error:
            return type(error)


TestLife = Life.TestCase
TestLife.settings = settings(stateful_step_count=30, max_examples=60)
