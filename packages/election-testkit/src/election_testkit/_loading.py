"""Loading: a group as it was committed, all of it, as of one time."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from election_core import (
    Command,
    Conflict,
    Decide,
    DeleteGroup,
    DrainRunner,
    Effect,
    NewTaint,
    NotFound,
    PinLeader,
    PolicySpec,
    RegisterRunner,
    Settings,
    Snapshot,
    TaintRunner,
    Toleration,
    create_group,
)
from election_testkit._fleet import Fleet, fresh
from election_testkit._subject import Subject
from election_testkit._suite import Suite

__all__ = ["Loading"]

_SETTINGS = Settings(
    lease=timedelta(seconds=7.5),
    heartbeat=timedelta(milliseconds=1250),
    handover_timeout=timedelta(0),
    policy=PolicySpec(options={"preempt": True, "stable_for_seconds": 0.5}),
    tolerations=(Toleration(key="disk", effect=Effect.NO_ELECT),),
    retry_backoff=timedelta(seconds=0.25),
    retention=timedelta(days=400),
)


class Loading(Suite):
    """What the port promises of `load`."""

    async def test_unknown_group_is_not_found(self, subject: Subject) -> None:
        """A group that never was is not found, however alike the name of one that is."""
        fleet = Fleet(subject.store)
        await fleet.create()
        for group_id in (fresh("group"), fleet.group_id.upper(), fleet.group_id + " ", ""):
            with pytest.raises(NotFound):
                await subject.store.load(group_id)

    async def test_group_is_read_as_it_was_committed(self, subject: Subject) -> None:
        """After each commit the group and its runners are what was planned, to the last field."""
        fleet = Fleet(subject.store)
        await fleet.create(_SETTINGS)
        assert (await fleet.load()).group.settings == _SETTINGS
        await fleet.join("a", "b")
        register = RegisterRunner(
            runner_id=fleet.runner("c"),
            name='"c" – 😀\n',
            platform="linux/arm64",
            labels={"zone": "ü", "": "", "it's": "a\\b"},
            version="1.2.3",
            instance_key_hash="0" * 64,
        )
        taint = NewTaint(
            key="k", value="v", owner="ann", reason="why", ttl=timedelta(microseconds=1_500_001)
        )
        commands: list[Command] = [
            register,
            TaintRunner(runner_id=fleet.runner("b"), taint=taint),
            TaintRunner(runner_id=fleet.runner("b"), taint=NewTaint(effect=Effect.PREFER_NO_ELECT)),
            PinLeader(
                runner_id=fleet.runner("c"),
                owner="bob",
                reason="demo",
                ttl=timedelta(hours=1),
                when_eligible=True,
            ),
            DrainRunner(
                runner_id=fleet.runner("a"), reason="lunch", timeout=timedelta(seconds=3.25)
            ),
            fleet.releasing("a", 1),
            Decide(),
        ]
        for command in commands:
            await subject.advance(0.125)
            planned = await fleet.do(command)
            found = await fleet.load()
            assert found.group == planned.after.group
            assert found.runners == planned.after.runners
            assert found.revision == planned.before.revision + 1

    async def test_snapshot_is_of_one_time(self, subject: Subject) -> None:
        """However many commits are made meanwhile, no snapshot holds the half of one."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        found: list[Snapshot] = []
        over = False

        async def hand_around() -> None:
            nonlocal over
            for number in range(12):
                await fleet.release("ab"[number % 2])
            over = True

        async def look(pause: int) -> None:
            revision = 0
            while not over:
                snapshot = await fleet.load()
                assert snapshot.revision >= revision
                revision = snapshot.revision
                found.append(snapshot)
                for _ in range(pause):
                    await anyio.lowlevel.checkpoint()

        with anyio.fail_after(self.patience):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hand_around)
                tasks.start_soon(look, 1)
                tasks.start_soon(look, 2)
        assert (await fleet.load()).group.epoch == 13
        for snapshot in found:
            term = snapshot.group.term
            assert term is not None
            held = {
                runner.id: runner.session.held_epoch
                for runner in snapshot.runners
                if runner.session is not None and runner.session.held_epoch is not None
            }
            assert held == {term.runner_id: snapshot.group.epoch}

    async def test_remains_of_a_deleted_group(self, subject: Subject) -> None:
        """Of a deleted group its epoch and its barrier are left, and no runner."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.join("a", "b")
        await fleet.release("a")
        await subject.advance(1)
        planned = await fleet.do(DeleteGroup(force=True))

        remains = await fleet.load()
        assert remains.group == planned.after.group
        assert remains.group.deleted_at == remains.at
        assert remains.group.epoch == 2
        assert remains.group.grant_not_before == remains.at + timedelta(seconds=14)
        assert remains.runners == ()
        assert remains.revision == planned.before.revision + 1
        for name in ("a", "b"):
            with pytest.raises(NotFound):
                await subject.store.find_runner(fleet.runner(name))

    async def test_remains_are_a_group_that_existed(self, subject: Subject) -> None:
        """A deleted group is created again from its remains, and not as one that never was."""
        fleet = Fleet(subject.store)
        await fleet.create()
        await fleet.do(DeleteGroup())
        remains = await fleet.load()
        changes = create_group(fleet.group_id, Settings(), at=remains.at)
        with pytest.raises(Conflict):
            await subject.store.commit(changes, expected_revision=0, commit_id=fresh("commit"))
        assert (await fleet.load()).group == remains.group

        await fleet.create_again()
        again = await fleet.load()
        assert again.group.deleted_at is None
        assert again.revision == remains.revision + 1
