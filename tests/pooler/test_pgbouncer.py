"""The pooler that other tests rest on pools transactions, and comes back when it was killed."""

from __future__ import annotations

import psutil
import pytest

from pgbouncer import PgBouncer
from postgres_server import Databases
from process_guard import living


def test_clients_share_connections(postgres: Databases, empty_database: str) -> None:
    """With one connection to the server, each client gets that one, between transactions."""
    with PgBouncer(postgres, size=1) as pooler:
        dsn = pooler.dsn(empty_database)
        assert dsn.rpartition("/")[2] == empty_database.rpartition("/")[2]

        pids = {Databases(dsn).value("SELECT pg_backend_pid()") for _ in range(3)}

    assert len(pids) == 1


def test_a_pooler_that_was_killed_comes_back(pgbouncer: PgBouncer, empty_database: str) -> None:
    """Killed, it answers nobody; restarted, everybody, on the same port."""
    clients = Databases(pgbouncer.dsn(empty_database))
    assert clients.value("SELECT 1") == 1

    pgbouncer.kill()
    with pytest.raises(ConnectionRefusedError):
        clients.value("SELECT 1")
    pgbouncer.restart()

    assert clients.value("SELECT 1") == 1


def test_nothing_is_left_of_a_pooler(postgres: Databases) -> None:
    """It ends with its block, also when it is frozen."""
    with PgBouncer(postgres) as pooler:
        process = psutil.Process(pooler.process.pid)
        pooler.freeze()

    assert not living(process)
