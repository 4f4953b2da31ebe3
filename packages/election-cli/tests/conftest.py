"""One server for the whole run, and the command against it; groups keep tests apart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_world import STARTED, Result, Run, Server, serve
from election_cli import main


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees what is configured on the machine it runs on."""
    for name in [name for name in os.environ if name.startswith("ELECTION_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """What a test starts and does not end, because it failed, ends with it."""
    before = len(STARTED)
    yield
    for process in STARTED[before:]:
        with process:
            if process.poll() is None:
                process.kill()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that all tests share."""
    home = tmp_path_factory.mktemp("server")
    found = serve(home / "state", home=home)
    yield found
    assert found.stop().code == 0


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command, with nothing configured."""

    def run(*arguments: str, **variables: str) -> Result:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            printed = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Result(code, printed.out, printed.err)

    return run


@pytest.fixture
def election(run: Run, server: Server) -> Run:
    """The command against the shared server, with the operator's token."""

    def election(*arguments: str, **variables: str) -> Result:
        known = {"ELECTION_URL": server.url, "ELECTION_TOKEN": server.token}
        return run(*arguments, **{**known, **variables})

    return election


@pytest.fixture
def group(request: pytest.FixtureRequest) -> str:
    """The id of a group that is this test's alone."""
    name = "".join(char if char.isalnum() else "-" for char in request.node.name.lower())
    return name[-60:].strip("-")
