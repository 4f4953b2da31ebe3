"""The acts of the demo, in the order in which they are played.

Each act does something to real processes that happens to fleets sooner or later, and waits for what
is promised to follow. Jobs are added all the time, whoever leads or nobody; whether each was done
once, by the leader of the time, is checked after the last act, from the store.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from attrs import frozen

from election_cli.demo._stage import BrokenPromise, Member, Stage

__all__ = ["LEASE_SECONDS", "play"]

LEASE_SECONDS = 2.5
"""Short, so that the demo is. The default of 15 seconds forgives much longer pauses."""
_LONG_JOB = 1.0
_TAINT_SECONDS = 15.0
_LAST_TAINT_SECONDS = 4.0
_OWNER = "ada"


@frozen(kw_only=True)
class _Cast:
    """Who plays."""

    older: Member
    younger: Member
    laptop: Member

    @property
    def cloud(self) -> Sequence[Member]:
        """The runners in the cloud, the older first."""
        return (self.older, self.younger)

    def other(self, member: Member) -> Member:
        """The other runner in the cloud."""
        return self.younger if member is self.older else self.older


async def play(stage: Stage) -> None:
    """Play all acts.

    Raises:
        BrokenPromise: Something did not come out as it should; what follows is not played.
    """
    cast = await _curtain_up(stage)
    async with anyio.create_task_group() as tasks:
        enough = anyio.Event()
        tasks.start_soon(stage.enqueue_until, enough)
        leader = await _the_older_leads(stage, cast)
        leader = await _the_leader_is_killed(stage, cast, leader)
        await _the_laptop_takes_over(stage, cast, leader)
        await _the_laptop_restarts(stage, cast)
        leader = await _the_laptop_vanishes(stage, cast)
        await _the_leader_is_frozen(stage, cast, leader)
        enough.set()
    await _curtain_down(stage, cast)


async def _curtain_up(stage: Stage) -> _Cast:
    """The control plane learns of three runners; the order of their registration is their age."""
    return _Cast(
        older=await stage.register("cloud-a", "cloud"),
        younger=await stage.register("cloud-b", "cloud"),
        laptop=await stage.register("laptop", "laptop"),
    )


async def _the_older_leads(stage: Stage, cast: _Cast) -> Member:
    stage.timeline.act("Two cloud runners come up; the older leads, the other stands by")
    stage.start(cast.older)
    leader = await stage.led_by([cast.older], after=0, within=15)
    stage.start(cast.younger)
    await stage.joined(cast.younger)
    await stage.flow(leader)
    return leader


async def _the_leader_is_killed(stage: Stage, cast: _Cast, leader: Member) -> Member:
    stage.timeline.act("The leader is killed in the middle of a job; the other takes over")
    epoch = stage.epoch
    await stage.busy(leader, seconds=_LONG_JOB)
    leader.process.kill()
    stage.timeline.did(leader.name, "is killed (SIGKILL)")
    successor = await stage.led_by([cast.other(leader)], after=epoch)
    # It comes back and stands by: it is the older one, and a healthy leader is left alone.
    stage.start(leader)
    await stage.flow(successor)
    return successor


async def _the_laptop_takes_over(stage: Stage, cast: _Cast, leader: Member) -> None:
    stage.timeline.act("A laptop joins and the cloud runners are tainted: a planned handover")
    epoch = stage.epoch
    stage.start(cast.laptop)
    await stage.joined(cast.other(leader))
    await stage.joined(cast.laptop)
    # The leader last: its successor is chosen when it steps down.
    await stage.taint(
        [cast.other(leader), leader],
        owner=_OWNER,
        reason="debugging on my laptop",
        ttl=_TAINT_SECONDS,
    )
    await stage.led_by([cast.laptop], after=epoch)
    await stage.flow(cast.laptop)


async def _the_laptop_restarts(stage: Stage, cast: _Cast) -> None:
    stage.timeline.act("The laptop's runner restarts; the cloud does not take over meanwhile")
    epoch = stage.epoch
    await _keep_tainted(stage, cast, _TAINT_SECONDS)
    cast.laptop.process.kill()
    stage.timeline.did(cast.laptop.name, "is killed (SIGKILL)")
    stage.start(cast.laptop)
    await stage.led_by([cast.laptop], after=epoch)
    await stage.flow(cast.laptop)


async def _the_laptop_vanishes(stage: Stage, cast: _Cast) -> Member:
    stage.timeline.act("The laptop is gone for good; its taints expire and the cloud leads again")
    epoch = stage.epoch
    await _keep_tainted(stage, cast, _LAST_TAINT_SECONDS)
    cast.laptop.process.kill()
    stage.timeline.did(cast.laptop.name, "is killed (SIGKILL) and does not come back")
    leader = await stage.led_by(cast.cloud, after=epoch)
    await stage.flow(leader)
    return leader


async def _keep_tainted(stage: Stage, cast: _Cast, seconds: float) -> None:
    """Taint the cloud anew, as whoever works on the laptop does now and then while it is there."""
    await stage.taint(cast.cloud, owner=_OWNER, reason="still debugging", ttl=seconds)


async def _the_leader_is_frozen(stage: Stage, cast: _Cast, leader: Member) -> None:
    stage.timeline.act("The leader is frozen past its lease while it works, and woken up again")
    epoch = stage.epoch
    job_id = await _freeze_at_work(stage, leader)
    stage.timeline.did(leader.name, "is frozen (SIGSTOP) in the middle of a job")
    successor = await stage.led_by([cast.other(leader)], after=epoch)
    await stage.flow(successor)
    leader.process.wake()
    stage.timeline.did(
        leader.name, "is woken (SIGCONT) and settles what it had, as if it still led"
    )
    code = await stage.refusal(leader, job_id)
    stage.timeline.saw(leader.name, f"is refused: {code}")
    await stage.flow(successor)


async def _freeze_at_work(stage: Stage, leader: Member) -> str:
    """Freeze the leader while it works on a job; again if it was faster on a busy machine."""
    while True:
        job_id = await stage.busy(leader, seconds=_LONG_JOB)
        leader.process.freeze()
        if stage.at_work(leader, job_id):
            return job_id
        leader.process.wake()


async def _curtain_down(stage: Stage, cast: _Cast) -> None:
    """Let every job be done and every runner leave, the leader last."""
    stage.timeline.act("Everybody finishes and leaves")
    await stage.all_done()
    leader = stage.members[stage.terms()[-1].runner_id or ""]
    for member in (cast.other(leader), leader):
        if not await member.process.stop(within=5):
            raise BrokenPromise(f"{member.name} did not leave within 5 s of SIGTERM")
