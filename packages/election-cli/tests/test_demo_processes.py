"""The demo's processes come up, stand still, end, and never stay behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from election_cli.demo._processes import Child, Processes, StartError, first_line

# `python -m timeit` runs a statement in a process of its own, as `python -m election_cli` would.
# It sleeps in short pieces: where coverage handles SIGTERM in Python, a signal that comes just
# before a sleep is heeded only when that sleep is over.
FOREVER = "import time\nwhile True: time.sleep(0.05)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
UP = "print('up at http://127.0.0.1:7700', flush=True)"


def statement(setup: str) -> list[str]:
    """The arguments of a process that runs `setup` and then waits."""
    return ["timeit", "-n1", "-r1", "-s", setup, FOREVER]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Processes that are ended with the test."""
    with Processes(tmp_path) as processes:
        yield processes


@pytest.fixture
def up(processes: Processes) -> Callable[[str], Child]:
    """Starts a process that does something and then says that it is up."""

    def up(setup: str) -> Child:
        return processes.start("child", statement(f"{setup}\n{UP}"))

    return up


def gone(pid: int) -> bool:
    """Whether there is no process of that id any more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_the_first_line_is_waited_for(up: Callable[[str], Child]) -> None:
    """A process that says where it listens is up, and its line is told."""
    assert await first_line(up(""), "http://", within=20) == "up at http://127.0.0.1:7700"


async def test_a_process_that_does_not_start_tells_why(processes: Processes) -> None:
    """What a process wrote to standard error before it ended is in the error."""
    child = processes.start("runner", ["no_such_module_at_all"])

    with pytest.raises(StartError, match=r"runner \| .*No module named no_such_module_at_all"):
        await first_line(child, "http://", within=20)


async def test_a_process_that_stays_silent_is_given_up(processes: Processes) -> None:
    """A process that runs and says nothing is not waited for without end."""
    child = processes.start("runner", statement("pass"))

    with pytest.raises(StartError, match="did not come up within"):
        await first_line(child, "http://", within=0.1)


async def test_standard_output_is_not_told(processes: Processes) -> None:
    """Where a server prints the operator's token, its last words do not repeat it."""
    child = processes.start("server", statement("print('secret', flush=True)"))
    await first_line(child, "secret", within=20)

    assert "secret" not in child.last_words()


async def test_a_polite_process_ends_by_itself(up: Callable[[str], Child]) -> None:
    """SIGTERM ends a process, and the demo knows that it did."""
    child = up("")
    await first_line(child, "http://", within=20)

    assert await child.stop(within=20)
    assert not child.running


async def test_a_deaf_process_is_killed(up: Callable[[str], Child]) -> None:
    """A process that ignores SIGTERM is killed when its time is over."""
    child = up(DEAF)
    await first_line(child, "http://", within=20)

    assert not await child.stop(within=0.1)
    assert not child.running


async def test_a_frozen_process_goes_on_when_woken(up: Callable[[str], Child]) -> None:
    """A frozen process is still there, does not heed SIGTERM, and does once it is woken."""
    child = up("")
    await first_line(child, "http://", within=20)

    child.freeze()
    assert child.frozen
    assert child.running
    child.wake()

    assert not child.frozen
    assert await child.stop(within=20)


async def test_nothing_stays_behind(tmp_path: Path) -> None:
    """Whatever happens in the block, its processes are gone after it, frozen ones too."""
    processes = Processes(tmp_path)
    children = [processes.start("child", statement(f"{setup}\n{UP}")) for setup in ("", DEAF)]
    for child in children:
        await first_line(child, "http://", within=20)
    children[0].freeze()

    with pytest.raises(KeyboardInterrupt), processes:
        raise KeyboardInterrupt

    assert all(gone(child.pid) for child in children)


async def test_a_process_has_no_settings_of_the_caller(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What configures another control plane does not reach the demo's processes."""
    monkeypatch.setenv("ELECTION_STORE", "sqlite:///of-somebody-else")
    told = "import os; print(sorted(n for n in os.environ if 'ELECTION' in n), flush=True)"

    child = processes.start("child", statement(told), environment={"ELECTION_TOKEN": "t"})

    assert await first_line(child, "[", within=20) == "['ELECTION_TOKEN']"


async def test_a_dead_process_is_left_in_peace(up: Callable[[str], Child]) -> None:
    """Signals to a process that has ended are not sent to whoever got its number since."""
    child = up("")
    child.kill()

    child.freeze()
    child.wake()
    child.kill()

    with anyio.fail_after(5):
        assert await child.stop(within=1)
