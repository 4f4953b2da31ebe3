"""`election serve` as a process: how it starts, what it says, how it ends."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from command_world import DEADLINE, Run, environment, read_line, serve, start
from election_cli._config import Settings
from election_cli._exits import CommandError, ExitCode
from election_cli._serve import Address, read_address
from election_cli._stores import PostgresDatabase, SqliteFile, find_store


def test_the_first_start_makes_a_token_and_prints_it_once(tmp_path: Path, run: Run) -> None:
    """A state directory without a token gets one, for its owner alone; a later start keeps it."""
    state = tmp_path / "made" / "state"

    first = serve(state, home=tmp_path)
    kept = state / "operator-token"
    said = json.loads(first.printed)
    assert said["operator_token"] == first.token
    assert said["token_file"] == str(kept)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert run("groups", ELECTION_URL=first.url, ELECTION_TOKEN=first.token).code == 0
    ended = first.stop()
    assert (ended.out.count(first.token), ended.err.count(first.token)) == (1, 0)

    second = serve(state, home=tmp_path)
    assert json.loads(second.printed)["operator_token"] is None
    assert second.token == first.token
    assert run("groups", ELECTION_URL=second.url, ELECTION_TOKEN=first.token).code == 0
    assert second.stop().out.count(first.token) == 0


def test_people_are_told_in_sentences(tmp_path: Path) -> None:
    """Without --json it prints the token with where it is kept, then where it listens."""
    process = start(
        "serve",
        f"--state-dir={tmp_path}",
        "--listen=127.0.0.1:0",
        env=environment(tmp_path),
    )
    lines = [read_line(process) for _ in range(3)]
    process.terminate()
    process.communicate(timeout=DEADLINE)

    assert f"shown this once and kept in {tmp_path / 'operator-token'}" in lines[0]
    assert lines[1].startswith("elt_")
    assert "listens on http://127.0.0.1:" in lines[2]
    assert process.returncode == 0


def test_with_nothing_configured_one_terminal_finds_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state directory of the user holds the token that a command on this machine uses."""
    env = environment(tmp_path, ELECTION_LISTEN="127.0.0.1:0")
    process = start("serve", "--json", env=env)
    said = json.loads(read_line(process))

    asked = subprocess.run(
        [sys.executable, "-m", "election_cli", "groups", "--url", said["url"], "--json"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    process.terminate()
    process.communicate(timeout=DEADLINE)

    assert json.loads(asked.stdout) == {"items": [], "next_cursor": None}
    assert Path(said["token_file"]) == tmp_path / "state" / "election" / "operator-token"


def test_a_token_file_of_another_database_is_told(tmp_path: Path) -> None:
    """A kept token that the database does not know is not replaced; a warning says what to do."""
    (tmp_path / "operator-token").write_text("elt_of-another-database\n")

    found = serve(tmp_path, home=tmp_path)
    ended = found.stop()

    assert json.loads(found.printed)["operator_token"] is None
    assert "is not good for this database" in ended.err
    assert "elt_of" not in ended.err


def test_a_second_server_on_the_same_state_is_refused_by_name(tmp_path: Path) -> None:
    """Who holds the database, and what to do, stands in the one sentence of the second."""
    first = serve(tmp_path, home=tmp_path)
    second = start(
        "serve", f"--state-dir={tmp_path}", "--listen=127.0.0.1:0", env=environment(tmp_path)
    )
    out, err = second.communicate(timeout=DEADLINE)
    first.stop()

    assert second.returncode == ExitCode.UNAVAILABLE
    assert out == ""
    assert f"process {first.process.pid}" in err
    assert str(tmp_path / "election.db") in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_when_it_is_told_to(number: int, tmp_path: Path) -> None:
    """Either signal ends it with exit code 0 within five seconds, followers of events included."""
    found = serve(tmp_path, home=tmp_path)
    found.group("g", "a")
    follower = start(
        "events",
        "g",
        "--follow",
        "--json",
        env=environment(tmp_path, ELECTION_URL=found.url, ELECTION_TOKEN=found.token),
    )
    read_line(follower)

    began = time.monotonic()
    ended = found.stop(number)
    took = time.monotonic() - began
    follower.kill()
    follower.communicate()

    assert ended.code == 0
    assert took < 5
    assert "Traceback" not in ended.err


def test_no_secret_is_logged(tmp_path: Path, run: Run) -> None:
    """At the most talkative level, no token that the server made or was sent is in its logs."""
    found = serve(tmp_path, "--log-level=debug", "--log-format=json", home=tmp_path)
    known = {"ELECTION_URL": found.url, "ELECTION_TOKEN": found.token}
    found.group("g", "a")
    made = run("tokens", "create", "--kind", "viewer", "--json", **known).json
    registered = run("runners", "register", "g", "b", "--json", **known).json
    run("groups", **{**known, "ELECTION_TOKEN": "elt_guessed-by-somebody"})

    logs = found.stop().err

    assert [json.loads(line) for line in logs.splitlines()]
    for secret in (found.token, made["token"], registered["token"], "elt_guessed-by-somebody"):
        assert secret not in logs


def test_listening_for_other_machines_is_warned_of(tmp_path: Path) -> None:
    """Without TLS on an address that others reach, a warning tells what follows."""
    found = start(
        "serve", f"--state-dir={tmp_path}", "--listen=0.0.0.0:0", env=environment(tmp_path)
    )
    read_line(found)
    found.terminate()
    _, err = found.communicate(timeout=DEADLINE)

    assert "Warning: 0.0.0.0 can be reached from other machines" in err


def test_a_taken_port_is_told(tmp_path: Path, run: Run) -> None:
    """If another program listens there, the sentence says so and how to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = run("serve", f"--state-dir={tmp_path}", f"--listen=127.0.0.1:{port}")

    assert found.code == ExitCode.REFUSED
    assert f"another program listens on 127.0.0.1:{port}" in found.err
    assert "--listen" in found.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--store=mysql://h/d",), ExitCode.USAGE, "write sqlite:///PATH"),
        (("--store=postgresql+asyncpg://u:sesame@h/d",), ExitCode.USAGE, "write sqlite:///PATH"),
        (("--store=postgresql://[",), ExitCode.USAGE, "the URL is malformed"),
        (
            ("--store=postgresql://h/d", "--direct-store=sqlite:///x"),
            ExitCode.USAGE,
            "--direct-store is no store that is known; write postgresql://",
        ),
        (("--store=sqlite:///",), ExitCode.USAGE, "write sqlite:///PATH"),
        (("--store=sqlite:////missing/folder/x.db",), ExitCode.UNAVAILABLE, "create /missing"),
        (("--listen=7700",), ExitCode.USAGE, "HOST:PORT is wanted"),
        (("--listen=203.0.113.1:7700",), ExitCode.REFUSED, "cannot listen on 203.0.113.1:7700"),
        (("--log-level=loud",), ExitCode.USAGE, "is not one of"),
    ],
)
def test_a_start_that_cannot_be_is_told(
    arguments: tuple[str, ...], code: ExitCode, said: str, tmp_path: Path, run: Run
) -> None:
    """What keeps it from starting is one sentence with a fix, and no secret of a URL."""
    found = run("serve", f"--state-dir={tmp_path / 'state'}", "--listen=127.0.0.1:0", *arguments)

    assert (found.code, found.out) == (code, "")
    assert said in found.err
    assert "sesame" not in found.err
    assert "Traceback" not in found.err


def test_a_state_directory_that_cannot_be_made_is_told(tmp_path: Path, run: Run) -> None:
    """A file in the way of the state directory is named."""
    (tmp_path / "file").write_text("")

    found = run("serve", f"--state-dir={tmp_path / 'file' / 'state'}")

    assert found.code == ExitCode.UNAVAILABLE
    assert "cannot be made" in found.err


def test_a_token_that_cannot_be_kept_is_told(tmp_path: Path, run: Run) -> None:
    """A folder in the place of the token's file is no reason for a stack trace."""
    (tmp_path / "operator-token").mkdir()

    found = run("serve", f"--state-dir={tmp_path}", "--listen=127.0.0.1:0")

    assert found.code == ExitCode.UNAVAILABLE
    assert "operator-token" in found.err


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, run: Run) -> None:
    """A store that names another file is refused, and the file stays as it was."""
    path = tmp_path / "notes.txt"
    path.write_text("remember the milk " * 100)

    found = run("serve", f"--state-dir={tmp_path}", f"--store=sqlite:///{path}")

    assert found.code == ExitCode.UNAVAILABLE
    assert "not an SQLite database" in found.err
    assert path.read_text() == "remember the milk " * 100


@pytest.mark.parametrize(
    ("text", "address", "url"),
    [
        ("127.0.0.1:7700", Address("127.0.0.1", 7700), "http://127.0.0.1:7700"),
        ("[::1]:80", Address("::1", 80), "http://[::1]:80"),
        ("localhost:0", Address("localhost", 0), "http://localhost:0"),
    ],
)
def test_addresses_have_a_host_and_a_port(text: str, address: Address, url: str) -> None:
    """IPv6 stands in brackets, in the address and in the URL."""
    assert read_address(text) == address
    assert address.url == url


@pytest.mark.parametrize("text", ["", ":", ":7700", "host", "host:", "host:x", "h:70000", "::1:80"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """An address without a host, or a port that cannot be, is a usage error."""
    with pytest.raises(click.UsageError, match="HOST:PORT"):
        read_address(text)


def test_stores_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes are relative, four are absolute, and without a URL it is in the state."""
    monkeypatch.chdir(tmp_path)

    def path(**variables: str) -> Path:
        location = find_store(Settings(environ=variables))
        assert isinstance(location, SqliteFile)
        return location.path

    assert path(ELECTION_STORE="sqlite:///a%20b.db") == tmp_path / "a b.db"
    assert path(ELECTION_STORE="sqlite:////srv/a.db") == Path("/srv/a.db")
    assert path(ELECTION_STATE_DIR=str(tmp_path)) == tmp_path / "election.db"
    with pytest.raises(CommandError, match="ELECTION_STORE"):
        path(ELECTION_STORE="mysql://h/d")


def test_stores_are_databases_of_postgres(capsys: pytest.CaptureFixture[str]) -> None:
    """Either scheme is one; what people see of it holds no password, wherever that stands."""
    variables = {
        "ELECTION_STORE": "postgres://ann:sesame@h/d?password=barley",
        "ELECTION_DIRECT_STORE": "postgresql://ann:sesame@direct/d",
    }
    location = find_store(Settings(environ=variables))

    assert location == PostgresDatabase(
        "postgres://ann:sesame@h/d?password=barley", "postgresql://ann:sesame@direct/d"
    )
    assert location.url == location.shown == "postgres://ann@h/d"
    assert "sesame" not in repr(location)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "url", ["postgresql://ann:sesame@h/d", "postgresql://ann@h/d?password=sesame"]
)
def test_a_password_that_others_can_see_is_warned_of(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line everybody sees it, in a file that is open everybody who reads it."""
    file = tmp_path / "config.toml"
    file.write_text(f'store = "{url}"')
    file.chmod(0o600)
    find_store(Settings(environ={}, config=file))
    assert capsys.readouterr().err == ""

    file.chmod(0o644)
    find_store(Settings(environ={}, config=file))
    assert f"others may read the password in {file}; chmod 600 it" in capsys.readouterr().err

    find_store(Settings({"store": url}, environ={}, config=file))
    told = capsys.readouterr().err
    assert "every user of this machine can see the password in --store" in told
    assert "sesame" not in told
