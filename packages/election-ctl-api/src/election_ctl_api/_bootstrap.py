"""The first operator token of a server."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from election_core import TokenKind
from election_ctl_api._access import mint_token
from election_ctl_api._store import ControlStore

__all__ = ["OPERATOR_TOKEN_FILE", "bootstrap_operator_token"]

OPERATOR_TOKEN_FILE = "operator-token"  # noqa: S105 - the name of a file


async def bootstrap_operator_token(store: ControlStore, state_dir: str | Path) -> str | None:
    """Make an operator token if a folder holds none, and keep it there, readable by its owner only.

    Of several that start on one folder at once, one makes it.

    Args:
        store: Where the token is to be good.
        state_dir: The folder; the file is ``operator-token``.

    Returns:
        The fresh secret, to be shown once; ``None`` if the file was there already, or another was
        faster.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(state_dir) / OPERATOR_TOKEN_FILE
    if path.exists():
        return None
    if path.is_symlink():  # to nothing
        path.unlink()
    secret, token = mint_token(TokenKind.OPERATOR)
    # The store first: a crash in between leaves a token that nobody knows, not a useless file.
    await store.add_token(token, ttl=None)
    try:
        _write(path, f"{secret}\n")
    except FileExistsError:
        await store.revoke_token(token.token.id)
        return None
    return secret


def _write(path: Path, text: str) -> None:
    """Write a new file whole or not at all, for its owner's eyes only."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename it replaces nothing, whoever was faster
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
