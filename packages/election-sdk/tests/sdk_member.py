"""A program that is a runner: started by tests as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta

import anyio

from election_core import Job
from election_sdk import Runner, StateFileLocked


def say(*words: object) -> None:
    """Say a line at once."""
    print(*words, flush=True)  # noqa: T201 - it is what tests read


async def main() -> None:
    """Run until told to stop; say what happens on standard output, a line each."""
    options = json.loads(sys.argv[1])
    child = options.pop("child", False)
    limit = timedelta(seconds=options.pop("shutdown_limit", 30))
    runner = Runner(**options)

    async def handler(job: Job) -> object:
        say("began", job.id)
        if child:
            command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
            process = subprocess.Popen(  # noqa: ASYNC220 - it only starts
                command, pass_fds=runner.lock_fds, stdin=sys.stdin
            )
            say("child", process.pid)
        await anyio.sleep(float(str(job.payload)))
        return "done"

    try:
        await runner.run(handler, shutdown_limit=limit)
    except StateFileLocked as error:
        say("locked", error)
        raise SystemExit(3) from None
    say("left")


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[2])
