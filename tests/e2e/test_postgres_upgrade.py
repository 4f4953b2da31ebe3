"""A rolling upgrade: a migration is applied and replicas are replaced while a fleet works.

The version that is still to come is a copy of the adapter with one more migration. Its processes
find it before the installed one; nothing else tells them apart.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import election_postgres
from election_cli.demo._processes import Processes, StartError
from election_postgres import SCHEMA_VERSION, PostgresStore
from election_sdk import Client
from tests.e2e.load_balancer import LoadBalancer
from tests.e2e.replicas import Replica
from tests.e2e.runner_processes import RunnerProcesses
from tests.e2e.working_groups import WorkingGroup, all_succeeded, start_groups

GROUPS = 3
RUNNERS = 2
LEASE = timedelta(seconds=15)
EVERY = 0.2
LATER = SCHEMA_VERSION + 1
NAME = f"{LATER:04}_later.sql"
MIGRATION = f"""-- compatible-from: {SCHEMA_VERSION}
ALTER TABLE election.runner_group ADD COLUMN remark text NOT NULL DEFAULT '';
ALTER TABLE election.runner ADD COLUMN remark text;
ALTER TABLE election.event ADD COLUMN remark text;
ALTER TABLE election.job ADD COLUMN remark text NOT NULL DEFAULT '';
CREATE INDEX job_remark ON election.job (remark);
DO $$
DECLARE
    v_function oid;
BEGIN
    FOR v_function IN SELECT oid FROM pg_proc WHERE pronamespace = 'election'::regnamespace LOOP
        EXECUTE pg_get_functiondef(v_function);
    END LOOP;
END $$;
"""
"""New columns and an index on what is busiest, and every function made anew."""


@pytest.fixture
def anyio_backend() -> str:
    """The Postgres adapter is of asyncio."""
    return "asyncio"


@pytest.fixture
def later(tmp_path: Path) -> Mapping[str, str]:
    """What makes a process one of the version to come."""
    installed = Path(election_postgres.__file__).parent
    copied = shutil.copytree(installed, tmp_path / "later" / installed.name)
    (copied / "migrations" / NAME).write_text(MIGRATION)
    return {"PYTHONPATH": os.fspath(copied.parent)}


async def migrate(database: str, program: Mapping[str, str]) -> tuple[int, int, list[str]]:
    """Which versions ``election migrate`` of a program says it led from and to, by which steps."""
    done = await anyio.to_thread.run_sync(
        partial(
            subprocess.run,
            [sys.executable, "-m", "election_cli", "migrate", "--json"],
            capture_output=True,
            check=True,
            env={**os.environ, **program, "ELECTION_STORE": database},
        )
    )
    told = json.loads(done.stdout)
    return told["before"], told["after"], told["steps"]


async def test_a_rolling_upgrade_is_noticed_by_nobody(
    database: str, later: Mapping[str, str], tmp_path: Path
) -> None:
    """Old and new replicas run side by side; no runner loses its role, no job is lost or repeated.

    A new replica refuses to start before the migration, and says what to run. The old ones go on
    after it until they are stopped.
    """
    with Processes(tmp_path) as processes, RunnerProcesses() as runners:
        start = partial(Replica, processes=processes, database=database, state_dir=tmp_path / "s")
        old = [start(f"old-{number}") for number in range(2)]
        new = [start(f"new-{number}", environment=later) for number in range(2)]
        async with anyio.create_task_group() as starting:
            for replica in old:
                starting.start_soon(replica.start)
        async with (
            LoadBalancer(replica.url for replica in old) as balancer,
            Client(balancer.url, token=old[0].token, retries=100) as client,
        ):

            async def replace(gone: Replica, come: Replica) -> None:
                await come.start()
                balancer.add(come.url)
                await all_flow(groups)
                balancer.remove(gone.url)
                assert await gone.process.stop(within=20)
                await all_flow(groups)

            groups = await start_groups(
                client,
                balancer.url,
                groups=GROUPS,
                runners=RUNNERS,
                lease=LEASE,
                folder=tmp_path,
                processes=runners,
            )
            enough = anyio.Event()
            async with anyio.create_task_group() as tasks:
                for group in groups:
                    tasks.start_soon(partial(group.enqueue_until, enough, every=EVERY))
                await all_flow(groups)
                sentence = f"its schema is version {SCHEMA_VERSION}, and this program needs {LATER}"
                with pytest.raises(StartError, match=re.escape(f"{sentence}; run: election migra")):
                    await new[0].start()

                assert await migrate(database, later) == (SCHEMA_VERSION, LATER, [NAME])
                await all_flow(groups)
                for number in range(2):
                    await replace(old[number], new[number])
                enough.set()
            async with PostgresStore.open(database) as store:
                await all_succeeded(store)
                found = [(group, await group.evidence(store)) for group in groups]

    assert [each for group, evidence in found for each in group.broken(evidence)] == []
    for _, evidence in found:
        assert [term.epoch for term in evidence.terms] == [1]
        assert {job.attempts for job in evidence.jobs} == {1}
        assert {execution.refused for execution in evidence.executions} == {""}


async def all_flow(groups: list[WorkingGroup]) -> None:
    """Wait until every group has settled more jobs."""
    async with anyio.create_task_group() as tasks:
        for group in groups:
            tasks.start_soon(group.flows)
