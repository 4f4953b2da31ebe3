"""A performance of the demo that goes wrong ends, says why, and leaves nothing behind."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import pytest
from rich.console import Console

from election_cli._stores import SqliteFile
from election_cli.demo import _performance
from election_cli.demo._evidence import Evidence
from election_cli.demo._performance import Performance, perform, refusals
from election_cli.demo._report import Report
from election_cli.demo._stage import Stage
from election_cli.demo._timeline import Timeline
from election_core import Unavailable

METRICS = """
# HELP election_refusals_total Calls refused, by code.
# TYPE election_refusals_total counter
election_refusals_total{code="stale-claim"} 2.0
election_refusals_total{code="not-leader"} 0.0
election_refusals_created{code="stale-claim"} 1.7e+09
"""


def given(folder: Path, database: Path | None = None) -> Report:
    """How a performance went."""
    store = SqliteFile(database or folder / "election.db")
    performance = Performance(folder=folder, store=store)
    return perform(performance, Timeline(Console(file=io.StringIO())))


def test_refusals_are_read_from_the_metrics() -> None:
    """What the server refused is counted by code; codes that did not occur are left out."""
    assert refusals(METRICS) == {"stale-claim": 2}


def test_a_server_that_does_not_start_is_told(tmp_path: Path) -> None:
    """When the server cannot start, its own words say why."""
    report = given(tmp_path, database=tmp_path)

    assert not report.ok
    assert "server ended as it came up" in report.broken[0]
    assert "server |" in report.broken[0]


def test_a_broken_promise_ends_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A promise that is broken on stage is told, and not what was left undone because of it."""

    async def play(stage: Stage) -> None:
        member = await stage.register("cloud-a", "cloud")
        await stage.enqueue(seconds=0.1)
        await stage.led_by([member], after=0, within=0.1)

    monkeypatch.setattr(_performance, "play", play)

    report = given(tmp_path)

    assert report.broken == [
        "within 0.1 s it did not come true that cloud-a leads under an epoch behind 0"
    ]
    assert report.findings.enqueued == 1
    assert report.findings.succeeded == 0


def test_a_script_that_is_too_short_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A performance with too few jobs or terms proves too little, and says so."""

    async def play(stage: Stage) -> None:
        await stage.enqueue(seconds=0.1)

    monkeypatch.setattr(_performance, "play", play)

    assert given(tmp_path).broken[:2] == [
        "only 1 jobs were enqueued, not 30",
        "only 0 terms were seen, not 6",
    ]


def test_a_script_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that hangs is ended, and where it was is told."""

    async def play(stage: Stage) -> None:
        stage.timeline.act("An act that hangs")
        await stage.until("it ends", lambda: False, within=600)

    monkeypatch.setattr(_performance, "play", play)
    monkeypatch.setattr(_performance, "_SCRIPT_LIMIT", 4.0)

    (broken,) = given(tmp_path).broken

    assert "did not come to its end within 4 s; it was at: " in broken


def test_a_store_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the store nothing can be checked, so nothing passes."""

    async def play(stage: Stage) -> None:
        await stage.enqueue(seconds=0.1)

    async def collect(*_: object, **__: object) -> Evidence:
        raise Unavailable("the disk is on fire")

    monkeypatch.setattr(_performance, "play", play)
    monkeypatch.setattr(_performance, "collect", collect)

    report = given(tmp_path)

    assert report.broken == ["the store could not be read: the disk is on fire"]
    assert report.findings.enqueued == 1


def test_an_interruption_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM ends the demo like Ctrl-C does: its processes are gone, its handlers put back."""
    seen: list[int] = []

    async def play(stage: Stage) -> None:
        child = stage.processes.start(
            "child", ["timeit", "-n1", "-r1", "import time; time.sleep(600)"]
        )
        seen.append(child.pid)
        os.kill(os.getpid(), signal.SIGTERM)
        await stage.until("it ends", lambda: False, within=20)

    monkeypatch.setattr(_performance, "play", play)
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        given(tmp_path)

    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)
