"""The demo plays its acts in order, and takes notice when one does not come out."""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import cast

import anyio
import anyio.lowlevel
import pytest
from rich.console import Console

from election_cli.demo._script import play
from election_cli.demo._stage import BrokenPromise, Member, Stage
from election_cli.demo._timeline import Timeline
from election_core import Event, EventKind


class Puppet:
    """A process that only notes what is done to it."""

    def __init__(self, name: str, notes: list[str], *, deaf: bool) -> None:
        self.pid = 1
        self._name = name
        self._notes = notes
        self._deaf = deaf

    def kill(self) -> None:
        """Note it."""
        self._notes.append(f"kill {self._name}")

    def freeze(self) -> None:
        """Note it."""
        self._notes.append(f"freeze {self._name}")

    def wake(self) -> None:
        """Note it."""
        self._notes.append(f"wake {self._name}")

    async def stop(self, *, within: float) -> bool:
        """Note it."""
        self._notes.append(f"stop {self._name}")
        return not self._deaf


class Rehearsal:
    """A stage on which everything comes out at once and as promised."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.notes: list[str] = []
        self.timeline = Timeline(Console(file=io.StringIO()))
        self.members: dict[str, Member] = {}
        self.elected: list[Event] = []
        self.deaf = deaf
        self.enqueueing = False
        self.freezes = 0

    @property
    def epoch(self) -> int:
        """The latest epoch."""
        return len(self.elected)

    def terms(self) -> list[Event]:
        """The elections so far."""
        return self.elected

    async def register(self, name: str, platform: str) -> Member:
        """A runner that is called by its name."""
        self.members[name] = Member(name=name, runner_id=name, token="t")
        return self.members[name]

    def start(self, member: Member) -> None:
        """Note it."""
        self.notes.append(f"start {member.name}")
        puppet = Puppet(member.name, self.notes, deaf=self.deaf)
        member.child = puppet  # type: ignore[assignment]

    async def led_by(
        self, candidates: Collection[Member], *, after: int, within: float = 0
    ) -> Member:
        """The first candidate leads at once."""
        await anyio.lowlevel.checkpoint()
        (leader, *_) = candidates
        event = Event(
            group_id="g",
            at=None,  # type: ignore[arg-type]
            kind=EventKind.ELECTED,
            epoch=after + 1,
            runner_id=leader.runner_id,
        )
        self.elected.append(event)
        self.notes.append(f"{leader.name} leads")
        return leader

    async def taint(
        self, members: Collection[Member], *, owner: str, reason: str, ttl: float
    ) -> None:
        """Note it."""
        self.notes.append(f"taint {' '.join(member.name for member in members)}")

    async def busy(self, member: Member, *, seconds: float) -> str:
        """Note it."""
        self.notes.append(f"{member.name} works")
        return "job-1"

    def at_work(self, member: Member, job_id: str) -> bool:
        """The second time."""
        self.freezes += 1
        return self.freezes == 2

    async def refusal(self, member: Member, job_id: str) -> str:
        """Note it."""
        self.notes.append(f"{member.name} is refused {job_id}")
        return "stale-claim"

    async def joined(self, member: Member) -> None:
        """At once."""

    async def flow(self, member: Member) -> None:
        """At once."""

    async def all_done(self) -> None:
        """At once, when no more jobs come."""
        assert not self.enqueueing

    async def enqueue_until(self, enough: anyio.Event) -> None:
        """Until there are enough."""
        self.enqueueing = True
        await enough.wait()
        self.enqueueing = False


async def test_the_acts_are_played_in_order() -> None:
    """Every act of the story happens, and the leader is the last to be tainted and to leave."""
    rehearsal = Rehearsal()

    await play(cast("Stage", rehearsal))

    assert rehearsal.notes == [
        "start cloud-a",
        "cloud-a leads",
        "start cloud-b",
        *("cloud-a works", "kill cloud-a", "cloud-b leads", "start cloud-a"),
        *("start laptop", "taint cloud-a cloud-b", "laptop leads"),
        *("taint cloud-a cloud-b", "kill laptop", "start laptop", "laptop leads"),
        *("taint cloud-a cloud-b", "kill laptop", "cloud-a leads"),
        # The first time it had finished before it was frozen.
        *("cloud-a works", "freeze cloud-a", "wake cloud-a"),
        *("cloud-a works", "freeze cloud-a", "cloud-b leads", "wake cloud-a"),
        "cloud-a is refused job-1",
        *("stop cloud-a", "stop cloud-b"),
    ]


async def test_a_runner_that_does_not_leave_breaks_a_promise() -> None:
    """A runner that has to be killed at the end is no clean end."""
    with pytest.raises(BrokenPromise, match="did not leave"):
        await play(cast("Stage", Rehearsal(deaf=True)))
