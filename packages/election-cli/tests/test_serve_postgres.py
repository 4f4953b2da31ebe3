"""`election serve` on Postgres: several on one database, and what keeps one from starting."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from command_world import DEADLINE, Run, environment, read_line, serve, start
from election_cli._exits import ExitCode
from election_postgres import SCHEMA_VERSION
from guarded_process import free_port
from postgres_fixtures import StartPostgres
from postgres_server import Databases


def test_two_servers_share_a_database(database: str, tmp_path: Path, run: Run) -> None:
    """Each has a token of its own, both are good with either, and both see the same groups."""
    one, two = (
        serve(tmp_path / name, home=tmp_path, ELECTION_STORE=database) for name in ("one", "two")
    )
    one.group("g", "a", "b")

    shown = [
        run("leader", "g", "--json", ELECTION_URL=at.url, ELECTION_TOKEN=by.token).json
        for at in (one, two)
        for by in (one, two)
    ]

    assert {found["runner"]["name"] for found in shown} == {"a"}
    assert one.token != two.token
    assert json.loads(one.printed)["store"] == database
    assert one.stop().code == two.stop().code == 0


def test_servers_of_one_folder_that_start_at_once_share_a_token(
    database: str, tmp_path: Path, run: Run
) -> None:
    """Whoever is faster makes it; it is printed once, and good."""
    env = environment(tmp_path, ELECTION_STORE=database)
    state = f"--state-dir={tmp_path / 'state'}"
    processes = [start("serve", state, "--listen=127.0.0.1:0", "--json", env=env) for _ in range(3)]
    said = [json.loads(read_line(process)) for process in processes]
    token = (tmp_path / "state" / "operator-token").read_text().strip()

    assert [each["operator_token"] for each in said if each["operator_token"]] == [token]
    for each in said:
        found = run("tokens", "--json", ELECTION_URL=each["url"], ELECTION_TOKEN=token)
        assert len(found.json["items"]) == 1
    for process in processes:
        process.terminate()
        process.communicate(timeout=DEADLINE)


def test_nothing_but_the_token_is_written(database: str, tmp_path: Path) -> None:
    """All else is in the database."""
    server = serve(tmp_path / "state", home=tmp_path, ELECTION_STORE=database)
    server.group("g", "a")
    server.stop()

    assert [path.name for path in (tmp_path / "state").iterdir()] == ["operator-token"]


def test_a_password_shows_nowhere(start_postgres: StartPostgres, tmp_path: Path, run: Run) -> None:
    """Neither what is printed nor what is logged holds it; it may come from PGPASSWORD as well."""
    server = start_postgres()
    server.create_database("e")
    role = server.create_role("ann", "sesame street")
    server.execute("GRANT ALL ON DATABASE e TO ann")
    dsn = role.replace("/postgres", "/e")
    assert quote("sesame street") in dsn

    migrated = run("migrate", ELECTION_STORE=dsn)
    served = serve(
        tmp_path / "state",
        "--log-level=debug",
        home=tmp_path,
        ELECTION_STORE=server.dsn("e", user="ann"),
        PGPASSWORD="sesame street",
    )
    server.kill()
    ended = served.stop()
    refused = run("migrate", ELECTION_STORE=dsn)

    assert (migrated.code, ended.code, refused.code) == (0, 0, ExitCode.UNAVAILABLE)
    for found in (migrated, ended, refused):
        assert "sesame" not in found.out + found.err
    assert server.dsn("e", user="ann") in served.printed


def test_a_start_that_cannot_be_is_told(
    start_postgres: StartPostgres, tmp_path: Path, run: Run
) -> None:
    """Each reason has its sentence with what to do, and no secret."""
    server = start_postgres()
    for name in ("empty", "newer"):
        server.create_database(name)
    server.create_role("ann", "sesame")
    server.create_role("bob")
    assert run("migrate", ELECTION_STORE=server.dsn("newer")).code == 0
    future = SCHEMA_VERSION + 1
    server.execute(
        f"INSERT INTO election.migration VALUES ({future}, 'later', {future})", database="newer"
    )

    for store, said in {
        f"postgresql://ann:sesame@127.0.0.1:{free_port()}/e": "is the server running?",
        server.dsn("empty", user="ann", password="wrong sesame"): "the password is wrong",
        server.dsn("missing"): "the database does not exist; create it",
        server.dsn("empty"): "no schema for elections yet; run: election migrate --store",
        server.dsn("newer"): f"version {future}, and this program knows versions up to",
        server.dsn("newer", user="bob"): "this role may not do that; grant it",
    }.items():
        found = run(
            "serve", f"--state-dir={tmp_path}", "--listen=127.0.0.1:0", ELECTION_STORE=store
        )
        assert (found.code, found.out) == (ExitCode.UNAVAILABLE, "")
        assert said in found.err
        assert "sesame" not in found.err
        assert "Traceback" not in found.err
    assert list(tmp_path.glob("operator-token")) == []


@pytest.mark.parametrize("dry", [True, False])
def test_a_role_that_may_not_migrate_is_told(
    dry: bool, empty_database: str, postgres: Databases, run: Run
) -> None:
    """Looking is allowed, making a schema is not."""
    name = f"reader_{empty_database.rpartition('_')[2]}"
    postgres.execute(f'CREATE ROLE "{name}" LOGIN')
    dsn = postgres.dsn(empty_database.rpartition("/")[2], user=name)

    found = run("migrate", *(["--dry-run"] if dry else []), ELECTION_STORE=dsn)
    postgres.execute(f'DROP ROLE "{name}"')

    assert found.code == (ExitCode.OK if dry else ExitCode.UNAVAILABLE)
    assert ("may not do that" in found.err) is not dry
