"""`election backup` and `election restore`, beside a server that runs and one that does not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from command_world import Run, serve
from election_cli._exits import ExitCode
from election_core import EPOCH_JUMP


def test_a_backup_of_a_running_server_restores_with_epochs_far_ahead(
    tmp_path: Path, run: Run
) -> None:
    """What was there at the backup is there again; terms have ended, and epochs jumped."""
    state, copy = tmp_path / "server", tmp_path / "copy.db"
    first = serve(state, home=tmp_path)
    first.group("before", "a", lease_seconds=1)
    known = {"ELECTION_STATE_DIR": str(state)}

    made = run("backup", str(copy), "--json", **known)
    assert (made.code, made.json["backup"]) == (0, str(copy))
    first.group("after", "b")
    assert run("groups", "show", "before", ELECTION_URL=first.url, **known).code == 0

    refused = run("restore", str(copy), **known)
    assert refused.code == ExitCode.UNAVAILABLE
    assert f"process {first.process.pid}" in refused.err
    assert "stop that one" in refused.err

    assert first.stop().code == 0
    restored = run("restore", str(copy), "--json", **known)
    assert restored.code == 0
    assert Path(restored.json["replaced"]).is_file()

    second = serve(state, home=tmp_path)
    known["ELECTION_URL"] = second.url
    groups = run("groups", "--json", **known).json["items"]
    second.stop()
    assert [found["id"] for found in groups] == ["before"]
    assert groups[0]["epoch"] >= 1 + EPOCH_JUMP
    assert groups[0]["leader_runner_id"] is None


def test_a_backup_needs_no_server(tmp_path: Path, run: Run) -> None:
    """The file of a stopped server is copied, and the sentences name both files."""
    first = serve(tmp_path / "server", home=tmp_path)
    first.stop()
    store = f"sqlite:///{tmp_path / 'server' / 'election.db'}"

    made = run("backup", str(tmp_path / "copy.db"), "--store", store)
    assert made.code == 0
    assert f"to {tmp_path / 'copy.db'}" in made.out

    restored = run("restore", str(tmp_path / "copy.db"), "--store", store)
    assert restored.code == 0
    assert "start the server with `election serve`" in restored.out
    assert ".before-restore-" in restored.out


def test_a_backup_is_restored_where_nothing_was(tmp_path: Path, run: Run) -> None:
    """On a new machine the state directory is made, its owner's alone, as the server makes it."""
    serve(tmp_path / "server", home=tmp_path).stop()
    copy, state = tmp_path / "copy.db", tmp_path / "new" / "server"
    assert run("backup", str(copy), ELECTION_STATE_DIR=str(tmp_path / "server")).code == 0

    restored = run("restore", str(copy), "--state-dir", str(state), "--json")

    assert restored.json == {"database": str(state / "election.db"), "replaced": None}
    assert state.stat().st_mode & 0o077 == 0
    assert serve(state, home=tmp_path).stop().code == 0


def test_a_backup_replaces_nothing(tmp_path: Path, run: Run) -> None:
    """A file of the target's name is left alone."""
    serve(tmp_path / "server", home=tmp_path).stop()
    (tmp_path / "copy.db").write_text("precious")

    found = run("backup", str(tmp_path / "copy.db"), ELECTION_STATE_DIR=str(tmp_path / "server"))

    assert found.code == ExitCode.USAGE
    assert "a backup replaces nothing" in found.err
    assert (tmp_path / "copy.db").read_text() == "precious"


def test_what_is_no_database_is_neither_copied_nor_restored(tmp_path: Path, run: Run) -> None:
    """A missing database, and those of other programs, are refused and not touched."""
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE notes (text)")
    connection.close()
    store = {"ELECTION_STORE": f"sqlite:///{other}"}
    nothing = {"ELECTION_STATE_DIR": str(tmp_path / "none")}

    assert run("backup", str(tmp_path / "copy.db"), **store).code == ExitCode.UNAVAILABLE
    assert run("backup", str(tmp_path / "copy.db"), **nothing).code == ExitCode.USAGE
    assert run("restore", str(other), ELECTION_STATE_DIR=str(tmp_path)).code == ExitCode.UNAVAILABLE
    assert not (tmp_path / "copy.db").exists()
    assert not (tmp_path / "none").exists()
