"""`election demo` on Postgres keeps every promise, as it does on SQLite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from postgres_server import Databases

# The demo ends by itself within a minute; what takes longer is a defect of it.
LIMIT = 60.0


def test_the_whole_demo(database: str, postgres: Databases, tmp_path: Path) -> None:
    """Every act comes out as promised; its group stays to be looked at, its token does not."""
    done = subprocess.run(
        [sys.executable, "-m", "election_cli", "demo", "--json", "--store", database],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": os.fspath(tmp_path)},
        timeout=LIMIT,
    )

    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    jobs, terms = result["jobs"], result["terms"]
    assert result["ok"]
    assert jobs["enqueued"] >= 30
    assert jobs["succeeded"] == jobs["enqueued"]
    assert jobs["settled_twice"] == jobs["run_by_non_leader"] == 0
    assert result["refused"]["stale-claim"] >= 1
    assert [term["epoch"] for term in terms] == list(range(1, len(terms) + 1))
    assert [term["runner"] for term in terms[:6]] == [
        *("cloud-a", "cloud-b", "laptop", "laptop"),
        *("cloud-a", "cloud-b"),
    ]
    name = database.rpartition("/")[2]
    operators = "SELECT count(*) FROM election.token WHERE kind = 'operator'"
    assert postgres.value(operators, database=name) == 0
    assert postgres.value("SELECT count(*) FROM election.job", database=name) == jobs["enqueued"]
    assert list(tmp_path.iterdir()) == []
