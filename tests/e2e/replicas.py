"""Control planes that share one Postgres database, each a process that can be killed and frozen."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from election_cli.demo._processes import Child, Processes, first_line

__all__ = ["Replica"]

_DEADLINE = 60.0


class Replica:
    """One ``election serve``, which keeps its port when it is started again.

    Args:
        name: What its output is kept under.
        processes: Where it is started.
        database: The DSN of the database.
        state_dir: Where the operator's token is kept; replicas may share it.
        environment: Further variables of its process.
    """

    def __init__(
        self,
        name: str,
        processes: Processes,
        *,
        database: str,
        state_dir: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._processes = processes
        self._state_dir = state_dir
        self._environment = {"ELECTION_STORE": database, **(environment or {})}
        self._listen = "127.0.0.1:0"
        self._child: Child | None = None
        self.url = ""

    @property
    def process(self) -> Child:
        """Its process."""
        assert self._child is not None, "it was not started"
        return self._child

    @property
    def token(self) -> str:
        """The operator's."""
        return (self._state_dir / "operator-token").read_text().strip()

    async def start(self) -> None:
        """Start it, and wait until it listens.

        Raises:
            StartError: It ended instead; the text says what it wrote.
        """
        self._child = self._processes.start(
            self._name,
            [
                *("election_cli", "serve", "--json", "--log-level=warning"),
                *("--state-dir", os.fspath(self._state_dir), "--listen", self._listen),
            ],
            environment=self._environment,
        )
        told = json.loads(await first_line(self._child, '"url"', within=_DEADLINE))
        self.url = told["url"]
        self._listen = self.url.removeprefix("http://")
