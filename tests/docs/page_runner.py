"""A runner of the how-to pages: it stands by, leads, and works on jobs until it is told to end.

Started as `python -m tests.docs.page_runner GROUP NAME STATE_FILE`.
"""

from __future__ import annotations

import os
import sys

import anyio

from election_core import Job
from election_sdk import Runner


async def handle(job: Job) -> object:
    """Work on a job."""
    return job.payload


async def main(group: str, name: str, state_file: str) -> None:
    """Run until SIGTERM."""
    url, token = os.environ["ELECTION_URL"], os.environ["ELECTION_TOKEN"]
    await Runner(url, token=token, group=group, name=name, state_file=state_file).run(handle)


if __name__ == "__main__":
    _, its_group, its_name, its_state_file = sys.argv
    anyio.run(main, its_group, its_name, its_state_file)
