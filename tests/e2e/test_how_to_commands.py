"""The marked console blocks of the how-to pages do what the pages say."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from election_cli._config import KEYS
from tests.docs.page_blocks import Block, read_blocks
from tests.docs.page_shell import PageShell
from tests.docs.readme_commands import ROOT, clean_environment, run_blocks

PAGES = ROOT / "docs" / "how-to"
ADDRESS = "127.0.0.1:7700"
"""Where the pages say the server listens; here it is a port that is free."""


def blocks_of(page: str, address: str, instead: Mapping[str, str] | None = None) -> list[Block]:
    """The marked blocks of a page, for a server at another address, and with other words."""
    text = (PAGES / page).read_text(encoding="utf-8")
    for old, new in {ADDRESS: address, **(instead or {})}.items():
        text = text.replace(old, new)
    return read_blocks(text)


@pytest.fixture
def address() -> str:
    """An address that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


@pytest.fixture
def environment(tmp_path: Path, address: str) -> dict[str, str]:
    """The variables of a machine with the command installed."""
    scripts = sysconfig.get_path("scripts")
    return clean_environment(tmp_path) | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "ELECTION_URL": f"http://{address}",
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }


@contextmanager
def running(environment: dict[str, str], group: str, name: str, folder: Path) -> Iterator[None]:
    """A runner process."""
    command = [sys.executable, "-m", "tests.docs.page_runner", group, name]
    process = subprocess.Popen([*command, str(folder / f"{name}.json")], env=environment, cwd=ROOT)
    with process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)


def command(environment: dict[str, str], *words: str) -> str:
    """What the command prints."""
    return subprocess.run(
        ["election", *words], env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_a_control_plane_is_run(tmp_path: Path, address: str, environment: dict[str, str]) -> None:
    """Serving, tokens, configuration, backup and restore work as the page shows them."""
    folder = tmp_path / "page"
    folder.mkdir()
    with PageShell(folder, environment, command_seconds=60.0) as shell:
        run_blocks(blocks_of("run-a-control-plane.md", address), shell)


def test_replicas_are_run(
    tmp_path: Path, address: str, environment: dict[str, str], empty_database: str
) -> None:
    """The schema is made, and a replica serves, as the page shows it."""
    port = address.rpartition(":")[2]
    instead = {
        "postgresql://election@db.example.org/election": empty_database,
        "0.0.0.0:7700": f"0.0.0.0:{port}",
    }
    with PageShell(tmp_path, environment, command_seconds=60.0) as shell:
        run_blocks(blocks_of("run-many-replicas.md", address, instead), shell)


def test_a_laptop_takes_over(tmp_path: Path, address: str, environment: dict[str, str]) -> None:
    """With two runners alive, the page's taint moves leadership and untainting leaves it there."""
    state = tmp_path / "state-of-server"
    serve = f"election serve --state-dir {state} --listen {address}"
    with PageShell(tmp_path, environment, command_seconds=60.0) as shell, ExitStack() as stack:
        shell.start(serve, ready=f"http://{address}/readyz")
        token = (state / "operator-token").read_text().strip()
        operator = environment | {"ELECTION_TOKEN": token}
        command(operator, "groups", "create", "builds")
        for name in ("cloud", "laptop"):
            stack.enter_context(running(operator, "builds", name, tmp_path))
            _until_active(operator, name)
        page = stack.enter_context(PageShell(tmp_path, operator, command_seconds=60.0))
        run_blocks(blocks_of("take-over-with-a-laptop.md", address), page)


def _until_active(environment: dict[str, str], name: str) -> None:
    """Wait until a runner has opened its session."""
    deadline = time.monotonic() + 30.0
    while True:
        lines = command(environment, "runners", "builds").splitlines()
        if any(name in line and "active" in line for line in lines):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} opened no session: {lines}")
        time.sleep(0.2)


def test_a_page_names_variables_that_there_are() -> None:
    """A variable that a how-to page sets is one that the command reads."""
    known = {f"ELECTION_{name.upper()}" for name in KEYS}
    for page in PAGES.glob("*.md"):
        named = set(re.findall(r"\bELECTION_[A-Z_]+", page.read_text(encoding="utf-8")))
        assert named <= known, page.name


def test_a_page_marks_its_blocks() -> None:
    """No console block of a how-to page goes unrun, unless the page says so beside it."""
    for page in PAGES.glob("*.md"):
        lines = page.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if line.startswith("```console"):
                assert lines[number - 1].startswith(("<!-- run", "<!-- not run")), (
                    f"{page.name}:{number + 1}"
                )
