"""`election migrate` prepares databases, and says what it did or would do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from command_world import Run, serve
from election_cli._exits import ExitCode
from election_postgres import SCHEMA_VERSION
from postgres_server import Databases


def test_a_database_is_prepared(empty_database: str, run: Run) -> None:
    """The steps are told; a second run finds nothing to do."""
    store = {"ELECTION_STORE": empty_database}

    would = run("migrate", "--dry-run", "--json", **store).json
    first = run("migrate", "--json", **store).json
    second = run("migrate", "--json", **store).json

    assert would == {**first, "dry_run": True}
    assert (first["before"], first["after"], first["needed"]) == (0, SCHEMA_VERSION, SCHEMA_VERSION)
    assert len(first["steps"]) == SCHEMA_VERSION
    assert first["store"] == empty_database
    assert (second["before"], second["after"], second["steps"]) == (
        *(SCHEMA_VERSION, SCHEMA_VERSION),
        [],
    )


def test_a_dry_run_changes_nothing(empty_database: str, postgres: Databases, run: Run) -> None:
    """It says what would be applied, and the database is as empty as before."""
    found = run("migrate", "--dry-run", "--store", empty_database)

    assert found.code == ExitCode.OK
    assert "would apply 0001" in found.out
    assert f"would then have schema version {SCHEMA_VERSION}" in found.out
    name = empty_database.rpartition("/")[2]
    schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'election'"
    assert postgres.value(schemas, database=name) == 0


def test_people_are_told_in_sentences(empty_database: str, run: Run) -> None:
    """What was applied, and that nothing is left to do."""
    first = run("migrate", "--store", empty_database)
    second = run("migrate", "--store", empty_database)

    assert "applied 0001" in first.out
    assert f"{empty_database} has schema version {SCHEMA_VERSION}" in first.out
    assert "nothing is to be done" in second.out


def test_a_newer_schema_is_left_alone(database: str, postgres: Databases, run: Run) -> None:
    """A database of a later program is not touched, and that is no failure."""
    name = database.rpartition("/")[2]
    newer = f"INSERT INTO election.migration VALUES ({SCHEMA_VERSION + 1}, 'later', 1)"
    postgres.execute(newer, database=name)

    found = run("migrate", "--store", database)

    assert found.code == ExitCode.OK
    assert "it was left as it is" in found.out


def test_a_file_is_migrated_by_its_server(tmp_path: Path, run: Run) -> None:
    """Of SQLite the version is told, and nothing is changed."""
    store = f"sqlite:///{tmp_path / 'state' / 'election.db'}"

    before = run("migrate", "--store", store)
    assert (before.code, (tmp_path / "state").exists()) == (0, False)
    assert "has no schema yet; `election serve` brings it to version" in before.out

    server = serve(tmp_path / "state", home=tmp_path)
    after = run("migrate", "--store", store, "--json").json
    server.stop()
    assert after["before"] == after["after"] == after["needed"] > 0
    assert after["steps"] == []
    assert "nothing is to be done" in run("migrate", "--store", store).out


def test_a_file_of_another_program_is_refused(tmp_path: Path, run: Run) -> None:
    """What is no election database is not taken for one."""
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE notes (text)")
    connection.close()

    found = run("migrate", "--store", f"sqlite:///{tmp_path / 'other.db'}")

    assert found.code == ExitCode.UNAVAILABLE
    assert "another application" in found.err


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_postgres_has_its_own_backups(command: str, tmp_path: Path, run: Run) -> None:
    """A copy of a Postgres database is not ours to make, and the sentence says whose."""
    found = run(command, str(tmp_path / "x"), ELECTION_STORE="postgresql://u:sesame@h/d")

    assert found.code == ExitCode.USAGE
    assert "postgresql://u@h/d is a database of Postgres" in found.err
    assert "sesame" not in found.err
