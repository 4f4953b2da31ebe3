"""The first operator token of a server, and where it may listen."""

from __future__ import annotations

import stat
from pathlib import Path

import anyio
import pytest

from election_core import TokenKind
from election_core.memory import MemoryStore
from election_ctl_api import bootstrap_operator_token, plain_listening_warning
from election_ctl_api._access import digest_of


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_the_first_start_makes_a_token(tmp_path: Path) -> None:
    """A folder without one gets an operator token that only its owner may read, told once."""
    store = MemoryStore()

    secret = await bootstrap_operator_token(store, tmp_path)

    path = tmp_path / "operator-token"
    assert secret is not None
    assert path.read_text() == f"{secret}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert _inside(tmp_path) == [path]
    token = await store.find_token(digest_of(secret))
    assert token is not None
    assert token.kind is TokenKind.OPERATOR
    assert await bootstrap_operator_token(store, tmp_path) is None
    assert path.read_text() == f"{secret}\n"


async def test_a_start_without_the_file_makes_another(tmp_path: Path) -> None:
    """If the file is gone the next start makes a token again."""
    store = MemoryStore()
    first = await bootstrap_operator_token(store, tmp_path)
    (tmp_path / "operator-token").unlink()

    assert await bootstrap_operator_token(store, tmp_path) not in (None, first)


async def test_of_several_that_start_at_once_one_makes_it(tmp_path: Path) -> None:
    """The secret that is told is the one that is kept, and no other token is left."""
    store = MemoryStore()
    told: list[str | None] = []

    async def start() -> None:
        told.append(await bootstrap_operator_token(store, tmp_path))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(start)

    (secret,) = [each for each in told if each is not None]
    assert (tmp_path / "operator-token").read_text() == f"{secret}\n"
    (token,) = (await store.tokens()).items
    assert await store.find_token(digest_of(secret)) == token
    assert _inside(tmp_path) == [tmp_path / "operator-token"]


async def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Where the token cannot be kept, the start fails and leaves nothing behind."""
    with pytest.raises(FileNotFoundError):
        await bootstrap_operator_token(MemoryStore(), tmp_path / "none")
    (tmp_path / "operator-token").symlink_to(tmp_path / "nowhere" / "at-all")

    await bootstrap_operator_token(MemoryStore(), tmp_path)

    assert not (tmp_path / "operator-token").is_symlink()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback_needs_no_warning(host: str) -> None:
    """Nobody else can listen in on loopback."""
    assert plain_listening_warning(host) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.net", ""])
def test_an_open_address_is_warned_of(host: str) -> None:
    """Where others can listen in, people are told, and what to do about it."""
    warning = plain_listening_warning(host)

    assert warning is not None
    assert host in warning
    assert "TLS" in warning
