"""How the commands of a page are run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.page_blocks import PageError, read_blocks
from tests.docs.page_shell import PageShell
from tests.docs.readme_commands import run_blocks


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[PageShell]:
    """A shell in a folder of its own that gives up soon."""
    environment = {"PATH": os.environ["PATH"]}
    with PageShell(tmp_path, environment, command_seconds=10.0, ready_seconds=10.0) as shell:
        yield shell


def run(shell: PageShell, options: str, body: str) -> None:
    """Run a page that is one console block."""
    run_blocks(read_blocks(f"<!-- run {options} -->\n```console\n{body}\n```"), shell)


def test_variables_last(shell: PageShell) -> None:
    """What one block sets, the next one sees."""
    run(shell, "", "$ TOKEN=secret")
    run(shell, "check", "$ echo $TOKEN\nsecret")


def test_a_failing_command_fails_the_page(shell: PageShell) -> None:
    """A command that ends with another status than 0 fails the page."""
    with pytest.raises(PageError, match="status 1 instead of 0"):
        run(shell, "", "$ false\n$ true")


def test_a_command_may_be_expected_to_fail(shell: PageShell) -> None:
    """A page may show a refusal, and then the refusal must come."""
    run(shell, "exit=3", "$ (exit 3)")
    with pytest.raises(PageError, match="status 0 instead of 3"):
        run(shell, "exit=3", "$ true")


def test_output_that_differs_fails_the_page(shell: PageShell) -> None:
    """What a checked block shows is what its commands print."""
    with pytest.raises(PageError, match="the page shows"):
        run(shell, "check", "$ echo one\ntwo")


def test_a_command_that_ends_the_shell_fails_the_page(shell: PageShell) -> None:
    """`exit` in a page does not make the rest of it pass unseen."""
    with pytest.raises(PageError, match="ended the shell"):
        run(shell, "", "$ exit 0\n$ true")


def test_a_command_cannot_wait_for_input(shell: PageShell) -> None:
    """Commands get no input, so none of them swallows those that follow."""
    run(shell, "check", "$ cat\n$ echo on\non")


def test_a_hanging_command_fails_the_page(tmp_path: Path) -> None:
    """A command that does not end is given up."""
    with (
        PageShell(tmp_path, {"PATH": os.environ["PATH"]}, command_seconds=0.2) as shell,
        pytest.raises(PageError, match="longer than"),
    ):
        run(shell, "", "$ sleep 60")


def test_background_command_that_ends_early_fails_the_page(shell: PageShell) -> None:
    """A server that does not come up is reported with what it printed."""
    with pytest.raises(PageError, match=r"(?s)ended before it was ready.*no such port"):
        run(shell, "background ready=http://127.0.0.1:9/", "$ echo no such port")


def test_background_commands_end_with_the_page(tmp_path: Path) -> None:
    """Nothing that a page started outlives it."""
    with PageShell(tmp_path, {"PATH": os.environ["PATH"]}) as shell:
        run(shell, "background", "$ exec sleep 60")
        _, process = shell.run("echo $started")

    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)
