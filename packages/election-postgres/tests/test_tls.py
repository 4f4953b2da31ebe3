"""TLS as the URL and the environment ask for it, on every connection."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from election_core import Invalid, Unavailable
from election_postgres import PostgresStore, migrate
from postgres_fleet import Fleet
from tls_front import tls_front


@pytest.fixture
def root(tmp_path: Path) -> str:
    """The certificate of whom the tests trust."""
    return str(tmp_path / "root.crt")


@pytest.fixture
async def secured(database: str, root: str) -> AsyncIterator[str]:
    """A DSN of a server that has TLS alone, with a certificate for `localhost`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(root)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    async with tls_front(database, context) as dsn:
        yield dsn


async def used(dsn: str) -> None:
    """Use every kind of connection that there is."""
    await migrate(dsn)
    async with PostgresStore.open(dsn) as store:
        await Fleet(store).create("a")
        await store.mark(timedelta(seconds=1))
        async with store.changes():
            pass


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
@pytest.mark.parametrize("said_in", ["the URL", "the environment"])
async def test_every_connection_is_encrypted(
    mode: str, said_in: str, secured: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server lets nobody in who does not ask for it."""
    if said_in == "the URL":
        await used(f"{secured}?sslmode={mode}&sslrootcert={root}")
    else:
        monkeypatch.setenv("PGSSLMODE", mode)
        monkeypatch.setenv("PGSSLROOTCERT", root)
        await used(secured)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_that_cannot_prove_who_it_is_gets_no_password(
    host: str, secured: str, root: str, tmp_path: Path
) -> None:
    """Its certificate is for another name, or by somebody who is not trusted."""
    trusted = root
    if host == "localhost":
        trusted = str(tmp_path / "other.crt")
        trustme.CA().cert_pem.write_to_path(trusted)
    dsn = secured.replace("localhost", host) + f"?sslmode=verify-full&sslrootcert={trusted}"
    with pytest.raises(Unavailable, match="TLS failed; check sslmode and the certificates"):
        await migrate(dsn)
    with pytest.raises(Unavailable, match="TLS failed; check sslmode and the certificates"):
        async with PostgresStore.open(dsn):
            pass


async def test_who_asks_for_no_tls_is_let_in_nowhere(secured: str) -> None:
    """What the server does not have is not made up for silently."""
    with pytest.raises((Unavailable, Invalid)):
        await migrate(f"{secured}?sslmode=disable")
