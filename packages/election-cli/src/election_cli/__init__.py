"""The ``election`` command."""

from __future__ import annotations

from election_cli._main import main

__all__ = ["main"]
