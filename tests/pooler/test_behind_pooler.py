"""Control planes behind a transaction pooler: everything works, and elections go on without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_world import STARTED, environment, serve
from pgbouncer import PgBouncer

LIMIT = 120.0


@pytest.fixture(params=["polling", "listening"])
def store(request: pytest.FixtureRequest, pgbouncer: PgBouncer, database: str) -> dict[str, str]:
    """The store behind the pooler, with and without a way around it for notifications."""
    around = {"ELECTION_DIRECT_STORE": database} if request.param == "listening" else {}
    return {"ELECTION_STORE": pgbouncer.dsn(database), **around}


def test_the_demo_keeps_its_promises(store: dict[str, str], tmp_path: Path) -> None:
    """Killing, freezing, tainting: all comes out as it does without a pooler."""
    done = subprocess.run(
        [sys.executable, "-m", "election_cli", "demo", "--store", store["ELECTION_STORE"]],
        env=environment(tmp_path, TMPDIR=os.fspath(tmp_path), **store),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "Every promise was kept." in done.stdout


def test_servers_outlive_their_pooler(
    store: dict[str, str], pgbouncer: PgBouncer, tmp_path: Path
) -> None:
    """When the pooler is killed, both servers go on with the one that takes its place."""
    before = len(STARTED)
    try:
        one, two = (serve(tmp_path / name, home=tmp_path, **store) for name in ("one", "two"))
        ids = one.group("g", "a", "b")
        assert two.standing(ids["a"]).role == "leader"

        pgbouncer.restart()

        assert one.standing(ids["a"]).epoch == two.standing(ids["a"]).epoch == 1
        assert one.stop().code == two.stop().code == 0
    finally:
        for process in STARTED[before:]:
            with process:
                process.kill()


def test_a_database_is_prepared_through_it(
    pgbouncer: PgBouncer, empty_database: str, tmp_path: Path
) -> None:
    """`election migrate` needs no way around the pooler."""
    command = [sys.executable, "-m", "election_cli", "migrate", "--store"]
    for said in ("applied 0001", "nothing is to be done"):
        done = subprocess.run(
            [*command, pgbouncer.dsn(empty_database)],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=True,
            timeout=LIMIT,
        )
        assert said in done.stdout
