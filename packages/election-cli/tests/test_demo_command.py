"""`election demo` tells people and programs how it went, and exits accordingly."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from election_cli._exits import ExitCode
from election_cli._stores import PostgresDatabase, SqliteFile
from election_cli.demo import _performance, command
from election_cli.demo._audit import Findings
from election_cli.demo._evidence import TermRecord
from election_cli.demo._performance import Performance
from election_cli.demo._report import Report
from election_cli.demo._timeline import Timeline

TERM = TermRecord(
    epoch=1,
    runner_id="runner-1",
    runner="cloud-a",
    reason="only-eligible",
    kind="first",
    leaderless_seconds=None,
    began=datetime(2026, 1, 1, tzinfo=UTC),
    ended=None,
)


def report(*broken: str) -> Report:
    """A report with so many broken promises."""
    return Report(
        findings=Findings(enqueued=30, succeeded=30, settled_twice=0, run_by_non_leader=0),
        terms=[TERM],
        refused={"stale-claim": 1},
        broken=broken,
    )


class Stagehand:
    """Plays instead of the real performance."""

    def __init__(self) -> None:
        self.report = report()
        self.given: list[Performance] = []

    def perform(self, performance: Performance, timeline: Timeline) -> Report:
        """Note where the performance would be given; say one line."""
        self.given.append(performance)
        timeline.saw("cloud-a", "was here")
        (performance.folder / "journal.jsonl").write_text("")
        return self.report


@pytest.fixture
def stagehand(monkeypatch: pytest.MonkeyPatch) -> Stagehand:
    """The performance is not given for real."""
    stagehand = Stagehand()
    monkeypatch.setattr(_performance, "perform", stagehand.perform)
    return stagehand


def demo(*arguments: str) -> Result:
    """Run the command as `election` does."""
    return CliRunner().invoke(command, arguments, standalone_mode=False)


def test_json_is_the_promised_object_and_nothing_else(stagehand: Stagehand) -> None:
    """With `--json` standard output holds one object of the promised shape; the rest is quiet."""
    result = demo("--json")

    assert result.return_value == ExitCode.OK
    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "ok": True,
        "jobs": {"enqueued": 30, "succeeded": 30, "settled_twice": 0, "run_by_non_leader": 0},
        "refused": {"stale-claim": 1},
        "terms": [
            {
                "epoch": 1,
                "runner": "cloud-a",
                "reason": "only-eligible",
                "kind": "first",
                "leaderless_seconds": None,
            }
        ],
    }


def test_a_broken_promise_is_told_and_fails(stagehand: Stagehand) -> None:
    """A broken promise is named on standard error, and the command fails."""
    stagehand.report = report("job 7 was lost")

    result = demo("--json")

    assert result.return_value == ExitCode.REFUSED
    assert json.loads(result.stdout)["ok"] is False
    assert result.stderr == "Broken: job 7 was lost\n"


def test_people_see_the_terms_and_what_was_refused(stagehand: Stagehand) -> None:
    """Without `--json` there are the timeline, the terms, and what the server refused."""
    result = demo()

    assert result.return_value == ExitCode.OK
    assert "was here" in result.stdout
    assert "only-eligible" in result.stdout
    assert "Refused by the server: stale-claim 1." in result.stdout
    assert "Every promise was kept." in result.stdout


def test_nothing_is_left_behind(stagehand: Stagehand) -> None:
    """The folder of the demo is gone at the end."""
    demo()

    (performance,) = stagehand.given
    assert not performance.folder.exists()


def test_everything_can_be_kept(stagehand: Stagehand) -> None:
    """With `--keep` the folder stays, and where it is is told."""
    result = demo("--keep")

    (performance,) = stagehand.given
    assert performance.folder.is_dir()
    assert str(performance.folder) in result.stderr
    for path in performance.folder.iterdir():
        path.unlink()
    performance.folder.rmdir()


def test_another_store_can_be_chosen(stagehand: Stagehand, tmp_path: Path) -> None:
    """With `--store` the database is the given one, whatever characters are in its name."""
    demo("--store", f"sqlite:///{tmp_path}/with%20space.db")

    (performance,) = stagehand.given
    assert performance.store == SqliteFile(tmp_path / "with space.db")
    assert performance.server_environment == {
        "ELECTION_STORE": f"sqlite:///{tmp_path}/with%20space.db"
    }


def test_a_database_of_postgres_can_be_chosen(
    stagehand: Stagehand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server learns of it, and of the way around a pooler, where `ps` shows nothing."""
    monkeypatch.setenv("ELECTION_DIRECT_STORE", "postgresql://u:sesame@direct/name")

    demo("--store", "postgresql://u:sesame@host/name")

    (performance,) = stagehand.given
    assert isinstance(performance.store, PostgresDatabase)
    assert performance.server_environment == {
        "ELECTION_STORE": "postgresql://u:sesame@host/name",
        "ELECTION_DIRECT_STORE": "postgresql://u:sesame@direct/name",
    }


@pytest.mark.parametrize("url", ["mysql://host/name", "sqlite:///"])
def test_an_unknown_store_is_refused(stagehand: Stagehand, url: str) -> None:
    """A store that this version has no adapter for is refused before anything is started."""
    result = demo("--store", url)

    assert isinstance(result.exception, Exception)
    assert "sqlite:///PATH" in str(result.exception)
    assert stagehand.given == []
