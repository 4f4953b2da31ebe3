"""`election demo` keeps every promise, with real processes that are killed and frozen for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The demo ends by itself within a minute; what takes longer is a defect of it.
LIMIT = 60.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder for temporary files, which is empty again when the demo has ended."""
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo, with its temporary files in `place`."""
    return subprocess.Popen(
        [sys.executable, "-m", "election_cli", "demo", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": os.fspath(place)},
    )


def processes_in(place: Path) -> list[int]:
    """The processes whose command line names a folder."""
    listing = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,args="], check=True, capture_output=True, text=True
    ).stdout
    return [int(line.split()[0]) for line in listing.splitlines() if os.fspath(place) in line]


def test_the_whole_demo(place: Path) -> None:
    """Every act comes out as promised, and the store shows each job settled once, by its leader."""
    with start(place, "--json") as process:
        out, err = process.communicate(timeout=LIMIT)

    assert err == ""
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(out)
    jobs, terms, refused = result["jobs"], result["terms"], result["refused"]
    assert result["ok"]
    assert jobs["enqueued"] >= 30
    assert jobs["succeeded"] == jobs["enqueued"]
    assert jobs["settled_twice"] == jobs["run_by_non_leader"] == 0
    assert refused["stale-claim"] >= 1
    assert [term["epoch"] for term in terms] == list(range(1, len(terms) + 1))
    assert [term["runner"] for term in terms[:6]] == [
        *("cloud-a", "cloud-b", "laptop", "laptop"),
        *("cloud-a", "cloud-b"),
    ]
    # A runner that takes longer to restart than its lease lasts leads again behind a failover.
    kinds = [term["kind"] for term in terms[:6]]
    assert kinds[:3] == ["first", "failover", "handover"]
    assert kinds[3] in ("restart", "failover")
    assert kinds[4:] == ["failover", "failover"]
    assert processes_in(place) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(place: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end the demo with all its processes and files."""
    with start(place) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "leads under epoch 1" in line:
                break
        assert processes_in(place) != []
        process.send_signal(number)
        began = time.monotonic()
        process.communicate(timeout=LIMIT)

    assert process.returncode == 130
    assert time.monotonic() - began < 20
    assert processes_in(place) == []
