"""A real server process to measure, and what the system says of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen


@frozen
class Server:
    """An `election serve` process."""

    url: str
    token: str
    process: subprocess.Popen[str]

    def memory_mib(self) -> float:
        """What it holds of the machine's memory now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the system tells no memory of the process")

    def cpu_seconds(self) -> float:
        """The processor time it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def server() -> Iterator[Server]:
    """A server on a fresh SQLite file and a free port; ended with the block."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "election_cli", "serve", "--json"]
        process = subprocess.Popen(
            [*command, "--state-dir", folder, "--listen", "127.0.0.1:0", "--log-level", "warning"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            yield Server(url=told["url"], token=told["operator_token"], process=process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)
