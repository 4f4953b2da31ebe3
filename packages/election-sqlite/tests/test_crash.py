"""A process that is killed at any moment loses nothing that it acknowledged."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import sqlite_writer
from election_core import JobState
from election_sqlite import SqliteStore

_LINES = (1, 2, 3, 7, 12, 30, 55, 90)
"""After how many acknowledgements each writer is killed; what it does then differs."""


def kill_after(path: Path, run: int, lines: int) -> list[list[str | int]]:
    """Let a process write until it acknowledged so many things, and kill it; all it told."""
    folder = Path(sqlite_writer.__file__).parent
    writer = subprocess.Popen(
        [sys.executable, sqlite_writer.__file__, str(path), str(run)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    with writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline() for _ in range(lines)]
        writer.kill()
        told += writer.stdout.readlines()
    return [json.loads(line) for line in told if line.endswith("\n")]


async def test_killed_writers_lose_nothing(path: Path) -> None:
    """Each time the database is sound, no epoch comes up twice, and settled jobs stay settled."""
    told: list[list[str | int]] = []
    for run, lines in enumerate(_LINES):
        told += kill_after(path, run, lines)
        assert len(told) >= lines

        async with SqliteStore.open(path) as store:
            snapshot = await store.load("g")
            acknowledged = [word[1] for word in told if word[0] == "epoch"]
            assert snapshot.group.epoch >= max(map(int, acknowledged))
            for job_id in (str(word[1]) for word in told if word[0] == "settled"):
                job = await store.job(job_id)
                assert (job.state, job.attempts) in [
                    (JobState.SUCCEEDED, attempts) for attempts in range(1, 4)
                ]
            events = await store.events("g", limit=10**9)
            granted = [event.epoch for event in events if event.kind == "elected"]
            assert granted == sorted(set(granted))
            assert granted[-1] == snapshot.group.epoch
            assert set(acknowledged) <= set(granted)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
