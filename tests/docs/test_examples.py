"""The examples do what they say, run as programs on real files."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str) -> list[str]:
    """The lines that an example prints."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return ended.stdout.splitlines()


def test_the_embedding_program_works_under_its_epoch(tmp_path: Path) -> None:
    """It sends each invoice once, and after it left the fence refuses what comes too late."""
    path = str(tmp_path / "embedding.db")
    assert run("embedding.py", path) == [
        "invoice 1 sent under epoch 1",
        "invoice 2 sent under epoch 1",
        "invoice 3 sent under epoch 1",
        "too late: epoch 1 is over: its term has ended",
    ]
    assert run("embedding.py", path) == ["too late: epoch 2 is over: its term has ended"]


def test_the_embedding_program_fits_on_a_page() -> None:
    """It stays short enough to be read in one look: under sixty lines."""
    assert len((EXAMPLES / "embedding.py").read_text().splitlines()) < 60
