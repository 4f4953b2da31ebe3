"""A runner of the demo: one process, as a fleet would run it, that also keeps a journal.

The token comes in the environment, where ``ps`` does not show it. Its work is to wait in a thread,
which has in common with most real work that nothing can stop it: a leader that was frozen finishes
its job once it is woken, and only the fence keeps what it then writes from counting.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import time
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from attrs import evolve
from typing_extensions import override

from election_cli.demo._journal import Entry, Journal, What, now
from election_core import ElectionError, Job
from election_sdk import Runner

__all__ = ["main", "work"]


class Witness(logging.Handler):
    """Writes down what the handler does and what became of its settlements.

    The SDK tells a program of a refusal with a callback. That a settlement was accepted it says in
    its log alone, which this handler listens to.

    Args:
        journal: Where to write.
        runner_id: Whose process this is.
    """

    def __init__(self, journal: Journal, runner_id: str) -> None:
        super().__init__(logging.DEBUG)
        self._journal = journal
        self._runner_id = runner_id
        self._process = secrets.token_hex(8)
        self._latest: dict[str, Entry] = {}

    def started(self, job: Job) -> str:
        """An attempt begins; the name of this execution."""
        entry = Entry(
            at=now(),
            what=What.STARTED,
            runner_id=self._runner_id,
            process=self._process,
            execution=secrets.token_hex(8),
            job_id=job.id,
            attempt=job.attempts,
            epoch=job.epoch or 0,
        )
        self._latest[job.id] = entry
        self._journal.write(entry)
        return entry.execution

    def finished(self, job: Job) -> None:
        """The work of an attempt is done."""
        self._write(job.id, What.FINISHED)

    def refused(self, job: Job, error: ElectionError) -> None:
        """What came of an attempt was not accepted."""
        self._write(job.id, What.REFUSED, code=error.code)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        match record.msg, record.args:
            case "job %s settled as %s", (str(job_id), "succeeded"):
                self._write(job_id, What.SETTLED)
            case _:
                pass

    def _write(self, job_id: str, what: What, *, code: str = "") -> None:
        started = self._latest[job_id]
        self._journal.write(evolve(started, at=now(), what=what, code=code))


async def work(
    url: str, *, group: str, name: str, runner_id: str, token: str, folder: Path
) -> None:
    """Be a runner until told to stop.

    Args:
        url: Where the control API listens.
        group: The runner's group.
        name: Its name.
        runner_id: Its id.
        token: Its own.
        folder: For the state file, which its next process finds, and a journal for each process.
    """
    witness = Witness(Journal(folder / f"{name}-{os.getpid()}.jsonl"), runner_id)
    sdk = logging.getLogger("election_sdk")
    sdk.setLevel(logging.DEBUG)
    sdk.addHandler(witness)

    async def handle(job: Job) -> object:
        execution = witness.started(job)
        match job.payload:
            case {"seconds": float() | int() as seconds}:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(time.sleep, seconds)
            case _:
                pass
        witness.finished(job)
        return {"execution": execution}

    runner = Runner(
        url,
        token=token,
        group=group,
        name=name,
        runner_id=runner_id,
        state_file=folder / f"{name}.state",
        on_refused=witness.refused,
    )
    await runner.run(handle)


def main() -> None:
    """Run one runner until it is told to stop."""
    parser = argparse.ArgumentParser()
    for option in ("url", "group", "name", "runner-id", "folder"):
        parser.add_argument(f"--{option}", required=True)
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s")
    anyio.run(
        partial(
            work,
            given.url,
            group=given.group,
            name=given.name,
            runner_id=given.runner_id,
            token=os.environ["ELECTION_TOKEN"],
            folder=Path(given.folder),
        )
    )


if __name__ == "__main__":
    main()
