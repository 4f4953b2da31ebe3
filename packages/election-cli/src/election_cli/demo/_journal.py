"""The journals: what each runner process says it did, one JSON line for each thing, as it does it.

They are the second witness beside the store. A line is one ``write`` to a file opened for
appending, so it is there as a whole, or not at all, when the process is killed; the machine stays
up, so no ``fsync`` is needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from attrs import evolve, frozen

from election_core import decode, encode

__all__ = ["Entry", "Execution", "Journal", "Journals", "What", "executions", "now"]


class What(StrEnum):
    """What happened in a runner process."""

    STARTED = "started"
    """The handler was called with an attempt of a job."""
    FINISHED = "finished"
    """The handler had done the work."""
    SETTLED = "settled"
    """The control plane accepted the settlement of that attempt."""
    REFUSED = "refused"
    """The control plane refused it."""


@frozen(kw_only=True)
class Entry:
    """One line of a journal."""

    at: datetime
    """By the wall clock of the machine."""
    what: What
    runner_id: str
    process: str
    """Names one process of the runner."""
    execution: str
    """Names one call of the handler."""
    job_id: str
    attempt: int
    epoch: int
    """Of the term under which the job was claimed."""
    code: str = ""
    """Of a refusal."""


class Journal:
    """Where one process writes what it does."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, entry: Entry) -> None:
        """Append a line; when this returns, killing the process does not undo it."""
        line = json.dumps(encode(entry), separators=(",", ":")) + "\n"
        os.write(self._descriptor, line.encode())


def now() -> datetime:
    """The time of an entry that is written now."""
    return datetime.now(UTC)


@frozen(kw_only=True)
class Execution:
    """One call of a handler, from all that was written about it."""

    name: str
    process: str
    runner_id: str
    job_id: str
    attempt: int
    epoch: int
    started_at: datetime
    ended_at: datetime | None = None
    """``None``: its process was killed meanwhile, or it still runs."""
    finished: bool = False
    """Whether it did the whole work."""
    settled: bool = False
    """Whether its settlement was accepted, as far as its process came to know."""
    refused: str = ""
    """The code with which its settlement was refused."""


def executions(entries: Iterable[Entry]) -> list[Execution]:
    """The executions that the entries tell of, in the order in which they started."""
    found: dict[str, Execution] = {}
    for entry in entries:
        if entry.what is What.STARTED:
            found[entry.execution] = Execution(
                name=entry.execution,
                process=entry.process,
                runner_id=entry.runner_id,
                job_id=entry.job_id,
                attempt=entry.attempt,
                epoch=entry.epoch,
                started_at=entry.at,
            )
            continue
        execution = found[entry.execution]
        match entry.what:
            case What.FINISHED:
                execution = evolve(execution, ended_at=entry.at, finished=True)
            case What.SETTLED:
                execution = evolve(execution, settled=True)
            case What.REFUSED:
                execution = evolve(execution, refused=entry.code)
        found[entry.execution] = execution
    return sorted(found.values(), key=lambda execution: execution.started_at)


class Journals:
    """All journals in a folder, read on from where they were read to before.

    Args:
        folder: Where the processes write them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._entries: list[Entry] = []

    def entries(self) -> list[Entry]:
        """What is written by now, the entries of each process in their order."""
        for path in sorted(self._folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                whole, newline, _ = file.read().rpartition(b"\n")
            self._read[path] = self._read.get(path, 0) + len(whole) + len(newline)
            self._entries += [decode(Entry, json.loads(line)) for line in whole.splitlines()]
        return self._entries

    def executions(self) -> list[Execution]:
        """The executions that they tell of by now."""
        return executions(self.entries())
