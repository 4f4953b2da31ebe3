"""A database that lost its newest commits: a standby that was promoted, a backup, a dump."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import define

from election_core import (
    EPOCH_JUMP,
    Conflict,
    EventKind,
    JobOutcome,
    JobState,
    Kind,
    LeaseExpired,
    Plan,
    Pulse,
    RegisterRunner,
    Settings,
    Settlement,
    Snapshot,
    StaleClaim,
    StaleEpoch,
    Unavailable,
)
from election_core.ports import Settle
from election_postgres import PostgresStore, migrate
from postgres_fleet import DEADLINE, Fleet, connected, shift_clock, until
from postgres_server import PostgresServer, programs

LEASE = timedelta(minutes=1)
TICK = timedelta(seconds=1)


@pytest.fixture
def anyio_backend() -> str:
    """The driver is of asyncio."""
    return "asyncio"


@define
class Lost:
    """What a database has that lost commits, and what it had before."""

    dsn: str
    planned: Plan
    """A change that was planned before."""
    before: Snapshot
    unheard: Snapshot
    """A group that was lost."""
    last_event: int
    settle: Settle
    """The settlement of a claim from before."""


async def prepared(dsn: str) -> None:
    """What arrives: a group that `a` leads, with jobs."""
    await migrate(dsn)
    async with PostgresStore.open(dsn) as store:
        await store.mark(TICK)
        fleet = Fleet(store)
        await fleet.create("a", "b", settings=Settings(lease=LEASE))
        await fleet.enqueue(2)


async def went_on(before: str, after: str) -> Lost:
    """What is lost: a claim, a runner and a group, on the primary, which is about to end."""
    async with PostgresStore.open(before) as store:
        fleet = Fleet(store)
        fleet.sessions = {"a": 1, "b": 1}
        await fleet.beat("a")
        item = (await fleet.claim("a", 1)).items[0]
        await fleet.join("c")
        unheard = Fleet(store, "unheard")
        await unheard.create("a")
        return Lost(
            dsn=after,
            planned=await fleet.plan(RegisterRunner(runner_id="g-d", name="d")),
            before=await store.load("g"),
            unheard=await store.load("unheard"),
            last_event=(await store.events(None, limit=1000))[-1].id,
            settle=Settle(
                job_id=item.job.id,
                token=item.claim_token,
                settlement=Settlement(outcome=JobOutcome.SUCCEEDED),
            ),
        )


# The calls that find it, each the first one.


async def commit(fleet: Fleet, lost: Lost) -> None:
    """A commit from a snapshot that was lost is in conflict."""
    with pytest.raises(Conflict):
        await fleet.commit(lost.planned)


async def beat(fleet: Fleet, lost: Lost) -> None:
    """A renewal goes on, and holds nothing any more."""
    pulse = await fleet.beat("a")
    assert isinstance(pulse, Pulse)
    assert pulse.held_epoch is None
    assert pulse.group_epoch >= lost.before.group.epoch + EPOCH_JUMP


async def claim(fleet: Fleet, lost: Lost) -> None:
    """The old leader gets no job."""
    with pytest.raises((StaleEpoch, LeaseExpired)):
        await fleet.claim("a", 1)


async def settle(fleet: Fleet, lost: Lost) -> None:
    """A claim of before is over."""
    (answer,) = await fleet.store.settle([lost.settle])
    assert isinstance(answer, StaleClaim)


async def pulse(fleet: Fleet, lost: Lost) -> None:
    """A session's pulse holds nothing any more."""
    found = await fleet.store.pulse(fleet.runner("a"), fleet.session("a"))
    assert isinstance(found, Pulse)
    assert found.held_epoch is None
    assert found.standing_version > EPOCH_JUMP


async def mark(fleet: Fleet, lost: Lost) -> None:
    """An elector finds it with its tick."""
    found = await fleet.store.mark(TICK)
    assert found.at >= lost.before.mark.at


async def due(fleet: Fleet, lost: Lost) -> None:
    """The group is due at once."""
    assert "g" in (await fleet.store.due(10, hold=TICK)).group_ids


async def fence(fleet: Fleet, lost: Lost) -> None:
    """The old leader's transaction is refused, and refused again when it is repeated."""
    async with connected(lost.dsn) as connection:
        for error in (Conflict, StaleEpoch):
            with pytest.raises(error):
                async with connection.transaction():
                    await fleet.store.fence(connection, "g", 1)


async def enqueue(fleet: Fleet, lost: Lost) -> None:
    """A job is taken, on the new history."""
    (job_id,) = await fleet.enqueue()
    await fleet.store.cancel(job_id)


async def load(fleet: Fleet, lost: Lost) -> None:
    """A snapshot is one of afterwards."""
    assert (await fleet.store.load("g")).group.term is None


CALLS: list[Callable[[Fleet, Lost], Awaitable[None]]] = [
    commit, beat, claim, settle, pulse, mark, due, fence, enqueue, load,
]  # fmt: skip


@pytest.fixture(scope="module")
def promoted() -> Iterator[list[Lost]]:
    """Databases of a standby that missed the last commits, and took its primary's place."""
    with PostgresServer() as primary, ThreadPoolExecutor(1) as thread:
        template = primary.create_database("template")
        thread.submit(lambda: asyncio.run(prepared(template))).result()
        names = [f"lost_{number}" for number in range(len(CALLS) + 2)]
        dsns = [primary.create_database(name, template="template") for name in names]
        with primary.standby() as standby:
            until_caught_up(primary, standby)
            standby.stop()

            async def all_went_on() -> list[Lost]:
                return [
                    await went_on(dsn, standby.dsn(name))
                    for dsn, name in zip(dsns, names, strict=True)
                ]

            lost = thread.submit(lambda: asyncio.run(all_went_on())).result()
            primary.kill()
            standby.start()
            standby.promote()
            yield lost


def until_caught_up(primary: PostgresServer, standby: PostgresServer) -> None:
    """Wait until the standby has all that is committed."""
    with ThreadPoolExecutor(1) as thread:

        async def wait() -> None:
            async with asyncio.timeout(DEADLINE):
                while not primary.caught_up(standby):  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.02)

        thread.submit(lambda: asyncio.run(wait())).result()


async def check(store: PostgresStore, lost: Lost) -> None:
    """All that has to be so after it was noticed."""
    now = await store.load("g")
    assert now.group.term is None
    assert now.group.ended is Kind.RESTORED
    assert now.group.epoch >= lost.before.group.epoch + EPOCH_JUMP
    assert [runner.id for runner in now.runners] == ["g-a", "g-b"]
    for runner in now.runners:
        assert runner.session is not None
        assert runner.session.standing_version > EPOCH_JUMP

    events = await store.events(None, limit=1000)
    restored = [event for event in events if event.kind == EventKind.STORE_RESTORED]
    assert [event.group_id for event in restored] == ["g"]
    assert restored[0].id > max(lost.last_event, EPOCH_JUMP)

    gone = await store.load("unheard")
    assert (gone.revision, gone.runners) == (0, ())
    assert gone.group.epoch >= EPOCH_JUMP > lost.unheard.group.epoch
    assert gone.group.grant_not_before is not None

    assert {job.state for job in (await store.jobs("g")).items} - {JobState.CANCELLED} == {
        JobState.QUEUED
    }


async def check_barrier(store: PostgresStore, lost: Lost) -> None:
    """Nobody is elected before the longest lease is over, and somebody then."""
    fleet = Fleet(store)
    fleet.sessions = {"a": 1, "b": 1}
    barrier = (await store.load("g")).group.grant_not_before
    assert barrier is not None
    restored = next(
        event.at for event in await store.events("g") if event.kind == EventKind.STORE_RESTORED
    )
    assert barrier >= restored + LEASE
    await fleet.beat("a")
    if (await store.load("g")).at < barrier:
        await fleet.decide()
        assert await fleet.epoch() is None or (await store.load("g")).at >= barrier
    async with connected(lost.dsn) as connection:
        await shift_clock(connection, 3600)
    await fleet.beat("b")
    await fleet.decide()
    snapshot = await store.load("g")
    assert snapshot.group.term is not None
    assert snapshot.group.term.elected_at >= barrier
    assert snapshot.group.term.epoch > EPOCH_JUMP


@pytest.mark.parametrize("place", range(len(CALLS)), ids=[call.__name__ for call in CALLS])
async def test_the_first_call_notices(place: int, promoted: list[Lost]) -> None:
    """Whatever comes first finds that commits are missing, and all terms end before its answer."""
    lost = promoted[place]
    async with PostgresStore.open(lost.dsn) as store:
        fleet = Fleet(store)
        fleet.sessions = {"a": 1, "b": 1}
        await CALLS[place](fleet, lost)
        await check(store, lost)
        await check_barrier(store, lost)


async def test_two_replicas_notice_at_once(promoted: list[Lost]) -> None:
    """However many find it together, it is done once."""
    lost = promoted[-1]
    async with PostgresStore.open(lost.dsn) as one, PostgresStore.open(lost.dsn) as two:
        await asyncio.gather(*(store.due(10) for store in (one, two) * 5))
        await check(one, lost)


async def test_a_store_that_stays_open_notices(promoted: list[Lost]) -> None:
    """A commit of an id from before is not taken for the same one again."""
    lost = promoted[-2]
    async with PostgresStore.open(lost.dsn) as store:
        fleet = Fleet(store)
        await store.ready()
        with pytest.raises(Conflict):
            await fleet.commit(lost.planned, "")
        await check(store, lost)


async def test_an_open_store_follows_to_the_new_primary() -> None:
    """A URL that names both servers leads to whichever is the primary, without a restart."""
    with PostgresServer() as primary:
        dsn = primary.create_database("followed")
        await prepared(dsn)
        with primary.standby() as standby:
            until_caught_up(primary, standby)
            hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
            async with PostgresStore.open(f"postgresql://postgres@{hosts}/followed") as store:
                fleet = Fleet(store)
                fleet.sessions = {"a": 1, "b": 1}
                before = await store.load("g")
                await fleet.beat("a")
                primary.kill()
                for _ in range(2):
                    with pytest.raises(Unavailable):  # cut off, then led to the standby alone
                        await fleet.beat("a")
                await asyncio.to_thread(standby.promote)

                async def answered() -> bool:
                    with contextlib.suppress(Unavailable):
                        return isinstance(await fleet.beat("a"), Pulse)
                    return False

                await until(answered)
                after = await store.load("g")
                assert after.group.term is None
                assert after.group.epoch >= before.group.epoch + EPOCH_JUMP


# Backups.


async def test_a_backup_in_place_of_the_database_is_noticed() -> None:
    """A base backup that is recovered to where it was taken begins another timeline."""
    with PostgresServer() as server:
        before = server.create_database("saved")
        await prepared(before)
        backup = await asyncio.to_thread(server.base_backup)
        copy = server.restored(
            backup,
            restore_command="false",
            recovery_target="immediate",
            recovery_target_action="promote",
        )
        (copy._data / "recovery.signal").touch()
        with copy:
            lost = await went_on(before, copy.dsn("saved"))
            server.kill()

            async def recovered() -> bool:
                return not await asyncio.to_thread(copy.value, "SELECT pg_is_in_recovery()")

            await until(recovered)
            async with PostgresStore.open(lost.dsn) as store:
                await check(store, lost)
                await check_barrier(store, lost)


def tool(name: str, dsn: str, *arguments: str) -> None:
    """Run a client program of Postgres on a database."""
    subprocess.run([programs() / name, "-d", dsn, *arguments], check=True, timeout=DEADLINE)


@pytest.mark.parametrize("place", ["another server", "another database", "the same database"])
async def test_a_dump_is_noticed(place: str, tmp_path: Path) -> None:
    """What is dumped and restored goes on far ahead, wherever that is."""
    dump = os.fspath(tmp_path / "dump")
    with PostgresServer() as server, ExitStack() as stack:
        before = server.create_database("dumped")
        await prepared(before)
        await asyncio.to_thread(tool, "pg_dump", before, "-Fc", "-f", dump)
        match place:
            case "another server":
                after = stack.enter_context(PostgresServer()).create_database("dumped")
            case "another database":
                after = server.create_database("restored")
            case _:
                after = before
        lost = await went_on(before, after)
        await asyncio.to_thread(tool, "pg_restore", after, "--clean", "--if-exists", dump)
        async with PostgresStore.open(after) as store:
            await check(store, lost)
            await check_barrier(store, lost)
