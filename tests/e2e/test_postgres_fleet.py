"""Many replicas over one Postgres, and all of it killed and frozen while a fleet works."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from attrs import field, frozen

from election_cli.demo._evidence import TermRecord
from election_cli.demo._journal import Execution, now
from election_cli.demo._processes import Processes
from election_postgres import PostgresStore, migrate
from election_sdk import Client
from postgres_fixtures import StartPostgres
from postgres_server import PostgresServer
from tests.e2e.load_balancer import LoadBalancer
from tests.e2e.replicas import Replica
from tests.e2e.runner_processes import RunnerProcess, RunnerProcesses
from tests.e2e.working_groups import WorkingGroup, all_succeeded, start_groups

REPLICAS = 3
GROUPS = 10
RUNNERS = 3
LEASE = timedelta(seconds=4)
TICK = timedelta(seconds=1)
EVERY = 0.7
"""Seconds between two jobs of a group."""


@pytest.fixture
def anyio_backend() -> str:
    """The Postgres adapter is of asyncio."""
    return "asyncio"


@frozen(kw_only=True, eq=False)
class World:
    """All that is killed and frozen."""

    postgres: PostgresServer
    replicas: list[Replica]
    groups: list[WorkingGroup]
    away: list[tuple[datetime, datetime]] = field(factory=list)
    """When nobody may be deposed for silence: Postgres was away, and a lease of grace."""
    late: list[tuple[WorkingGroup, Execution]] = field(factory=list)
    """What the frozen runners were at, and were done with only when they were woken."""

    async def all_flow(self) -> None:
        """Wait until every group has settled more jobs."""
        async with anyio.create_task_group() as tasks:
            for group in self.groups:
                tasks.start_soon(group.flows)

    @contextmanager
    def _away(self) -> Iterator[None]:
        since = now()
        yield
        self.away.append((since, now() + LEASE))

    # What is done to it.

    async def kill_replica(self, number: int) -> None:
        """One replica dies; the others carry on, and it comes back."""
        self.replicas[number].process.kill()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.all_flow)
            tasks.start_soon(self.replicas[number].start)

    async def freeze_replica(self, number: int) -> None:
        """One replica stands still for longer than a lease, and goes on where it was."""
        self.replicas[number].process.freeze()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.all_flow)
            await anyio.sleep((LEASE + TICK).total_seconds())
        self.replicas[number].process.wake()
        await self.all_flow()

    async def kill_runners(self, *, first: int) -> None:
        """Leaders die: some for long, one comes back at once; so does a runner that stands by."""
        for_long, at_once, standby = self.groups[first : first + 3]
        epochs = {group.name: group.epoch() for group in (for_long, at_once)}
        dead = await for_long.kill_leader()
        (await at_once.kill_leader()).start()
        bystander = _standby(standby)
        bystander.kill()
        for group in (for_long, at_once):
            await group.led_anew(epochs[group.name])
        for runner in (dead, bystander):
            runner.start()

    async def freeze_runners(self, *, first: int) -> None:
        """Leaders stand still at work until another leads, and are woken; a standby as well."""
        *led, standby = self.groups[first : first + 4]
        bystander = _standby(standby)
        bystander.freeze()
        frozen = []
        for group in led:
            leader, execution = await group.freeze_leader()
            frozen.append((group, leader, execution))
        for group, _, execution in frozen:
            await group.led_anew(execution.epoch)
        for group, leader, execution in frozen:
            leader.wake()
            self.late.append((group, execution))
        bystander.wake()
        for group, _, execution in frozen:
            await group.refusal(execution)

    async def kill_postgres(self) -> None:
        """The database dies with all its connections, and recovers."""
        with self._away():
            await anyio.to_thread.run_sync(self.postgres.kill)
            await anyio.to_thread.run_sync(self.postgres.start)
        await self.all_flow()

    async def freeze_postgres(self) -> None:
        """The database stands still for longer than a lease, and goes on where it was."""
        with self._away():
            self.postgres.freeze()
            await anyio.sleep((LEASE + TICK).total_seconds())
            self.postgres.thaw()
        await self.all_flow()


def _standby(group: WorkingGroup) -> RunnerProcess:
    """A runner that does not lead."""
    leader = max(group.journals.executions(), key=lambda each: each.started_at).runner_id
    return next(runner for runner in group.runners if runner.runner_id != leader)


@asynccontextmanager
async def worlds(postgres: PostgresServer, folder: Path) -> AsyncIterator[World]:
    """Everything up, and nothing of it left behind."""
    database = postgres.create_database("election")
    await migrate(database)
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(folder))
        runners = stack.enter_context(RunnerProcesses())
        replicas = [
            Replica(
                f"replica-{number}", processes, database=database, state_dir=folder / "replicas"
            )
            for number in range(REPLICAS)
        ]
        async with anyio.create_task_group() as tasks:
            for replica in replicas:
                tasks.start_soon(replica.start)
        async with (
            LoadBalancer(replica.url for replica in replicas) as balancer,
            Client(balancer.url, token=replicas[0].token, retries=100) as client,
        ):
            groups = await start_groups(
                client,
                balancer.url,
                groups=GROUPS,
                runners=RUNNERS,
                lease=LEASE,
                folder=folder,
                processes=runners,
            )
            yield World(postgres=postgres, replicas=replicas, groups=groups)


def leaderless(term: TermRecord, away: list[tuple[datetime, datetime]]) -> timedelta:
    """How long nobody led before a term although somebody could have been elected."""
    since = term.began - timedelta(seconds=term.leaderless_seconds or 0.0)
    excused = sum(
        (max(timedelta(), min(end, term.began) - max(begin, since)) for begin, end in away),
        timedelta(),
    )
    return term.began - since - excused


async def test_thirty_runners_over_three_replicas_keep_every_promise(
    start_postgres: StartPostgres, tmp_path: Path
) -> None:
    """No job is settled twice or lost, no two act at once, and no group is without a leader.

    Replicas, Postgres and runners are killed and frozen in turn. Then what the store kept is held
    against what each runner wrote down as it worked. All times are of the one wall clock that this
    machine, and Postgres on it, has.
    """
    server = start_postgres()
    async with worlds(server, tmp_path) as world:
        enough = anyio.Event()
        async with anyio.create_task_group() as tasks:
            for group in world.groups:
                tasks.start_soon(partial(group.enqueue_until, enough, every=EVERY))
            await world.all_flow()
            await world.kill_replica(0)
            await world.kill_runners(first=0)
            await world.kill_postgres()
            await world.freeze_replica(1)
            await world.freeze_runners(first=3)
            await world.freeze_postgres()
            await world.kill_replica(2)
            await world.kill_runners(first=7)
            enough.set()
        async with PostgresStore.open(server.dsn("election")) as store:
            await all_succeeded(store)
            found = [(group, await group.evidence(store)) for group in world.groups]
            leaders = [(await store.load(group.name)).group.term for group in world.groups]

    assert [each for group, evidence in found for each in group.broken(evidence)] == []
    for group, execution in world.late:
        late = group.execution(execution.name)
        assert (late.refused, late.settled) == ("stale-claim", False)
    for _, evidence in found:
        for term in evidence.terms[1:]:
            assert leaderless(term, world.away) <= LEASE + TICK, term
    assert None not in leaders
    # What was done to them showed: each of those groups changed its leader.
    assert all(len(found[number][1].terms) > 1 for number in (0, 1, 3, 4, 5, 7, 8))
    assert sum(len(evidence.jobs) for _, evidence in found) > 20 * GROUPS
