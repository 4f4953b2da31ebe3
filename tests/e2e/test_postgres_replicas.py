"""What is done through one replica is news to who waits on another, by more ways than one.

Each way is tested by itself: a replica runs as a role that cannot go the other ways, and has no
more rights than the documentation gives it. Calls wait for minutes, so an answer that comes within
seconds was woken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import frozen

from election_cli.demo._processes import Processes
from election_postgres import migrate
from guarded_process import free_port
from postgres_server import PostgresServer
from tests.e2e.contract_client import Api, Group, Later, Runner, until
from tests.e2e.replicas import Replica

WAIT = 300.0

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "run-many-replicas.md"
ROLES = ("speaker", "listener", "mute", "deaf")
CANNOT = (
    "REVOKE EXECUTE ON FUNCTION election.events_settled() FROM PUBLIC, listener",
    "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_notify(text, text) FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION pg_catalog.pg_notify(text, text) TO speaker, listener, deaf",
)


@frozen(kw_only=True)
class Replicas:
    """One database, and a replica for each way, by the name of its role.

    The listener cannot look at the history, the mute one tells nobody of what it does, the deaf one
    cannot listen, and the speaker can do everything.
    """

    postgres: PostgresServer
    apis: Mapping[str, Api]

    def __getitem__(self, name: str) -> Api:
        return self.apis[name]

    def statements(self, role: str, part: str) -> list[int]:
        """Which statements of a role have this in them: the backends that were sent them."""
        found = (line.split(" ", 2) for line in self.postgres.process.log().splitlines())
        return [int(line[1]) for line in found if line[0] == role and part in line[2]]


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Replicas of the module's own."""
    folder = tmp_path_factory.mktemp("replicas")
    logging = {"log_statement": "all", "log_line_prefix": "%u %p "}
    with PostgresServer(**logging) as postgres, Processes(folder) as processes:
        anyio.run(migrate, postgres.create_database("election"))
        (grants,) = re.findall("```sql\n(CREATE ROLE.+?)```", PAGE.read_text(), re.DOTALL)
        roles = [grants.replace("election_server", role) for role in ROLES]
        postgres.execute(*roles, *CANNOT, database="election")
        yield Replicas(postgres=postgres, apis=anyio.run(_start, postgres, processes, folder))


async def _start(postgres: PostgresServer, processes: Processes, folder: Path) -> dict[str, Api]:
    nowhere = {"ELECTION_DIRECT_STORE": f"postgresql://127.0.0.1:{free_port()}/election"}
    started = {
        role: Replica(
            role,
            processes,
            database=postgres.dsn("election", user=role),
            state_dir=folder / "state",
            environment=nowhere if role == "deaf" else {},
        )
        for role in ROLES
    }
    async with anyio.create_task_group() as tasks:
        for replica in started.values():
            tasks.start_soon(replica.start)
    return {role: Api(replica.url, replica.token) for role, replica in started.items()}


def two(api: Api) -> tuple[Group, Runner, Runner]:
    """A group with the runner that leads it, and one that stands by."""
    group = api.group(lease_seconds=2 * WAIT, heartbeat_seconds=WAIT)
    leader, standby = group.runners(2)
    return group, leader, standby


def waiting(api: Api, runner: Runner) -> Later[Any]:
    """A heartbeat of a runner that waits for news at a replica; it does when this returns."""
    there = Runner(api, runner.id, runner.name, runner.token, runner.session)
    seen = there.beat()["standing_version"]
    lease = there.view()["lease_expires_at"]
    call = Later(lambda: there.waiting_beat(WAIT, seen=seen))
    until(lambda: there.view()["lease_expires_at"] > lease)
    assert call.pending
    return call


WAYS = [
    pytest.param("speaker", "listener", id="told"),
    pytest.param("mute", "speaker", id="found in the history"),
    pytest.param("speaker", "deaf", id="looked for at each tick"),
]


@pytest.mark.parametrize(("here", "there"), WAYS)
def test_a_taint_through_one_replica_wakes_a_leader_on_another(
    replicas: Replicas, here: str, there: str
) -> None:
    """A leader that waits on one replica learns that it has to go, long before its wait ends."""
    _, leader, _ = two(replicas[here])
    call = waiting(replicas[there], leader)

    leader.do("taint")

    assert call.result()["role"] == "stepping-down"


@pytest.mark.parametrize(("here", "there"), WAYS)
def test_a_release_through_one_replica_wakes_the_successor_on_another(
    replicas: Replicas, here: str, there: str
) -> None:
    """Whoever is elected by the release learns of it where it waits, long before its wait ends."""
    _, leader, standby = two(replicas[here])
    call = waiting(replicas[there], standby)

    leader.release(1)

    standing = call.result()
    assert (standing["role"], standing["epoch"]) == ("leader", 2)


@pytest.mark.parametrize("there", ["listener", "deaf"])
def test_a_job_through_one_replica_reaches_a_claim_on_another(
    replicas: Replicas, there: str
) -> None:
    """A leader that waits for jobs is given one that was added elsewhere."""
    group, leader, _ = two(replicas["speaker"])
    body = {"session_id": leader.session, "claim_id": "c", "epoch": 1}
    own = replicas[there].as_(leader.token)
    path = f"{leader.path}/jobs/claim"
    before = len(replicas.statements(there, "election.claim("))
    call = Later(lambda: own.post(path, body, prefer=f"wait={WAIT:g}").ok())
    # It asks, begins to listen, and asks once more before it waits.
    until(lambda: len(replicas.statements(there, "election.claim(")) == before + 2)

    job = group.job()

    (item,) = call.result()["items"]
    assert item["job"]["id"] == job["id"]


def test_a_connection_that_listens_is_made_up_for_and_replaced(replicas: Replicas) -> None:
    """What was done while nobody listened is found, and from then on changes are told again."""
    _, leader, standby = two(replicas["speaker"])
    call = waiting(replicas["listener"], leader)
    before = replicas.statements("listener", "LISTEN")
    terminate = f"SELECT pg_terminate_backend({before[-1]})"
    assert replicas.postgres.value(terminate)
    leader.do("taint")
    assert call.result()["role"] == "stepping-down"

    until(lambda: len(replicas.statements("listener", "LISTEN")) > len(before))
    call = waiting(replicas["listener"], standby)
    leader.release(1)
    assert call.result()["role"] == "leader"
