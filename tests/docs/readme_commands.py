"""Run the marked commands of Markdown pages as they stand there, as on a new machine.

    python3 -m tests.docs.readme_commands --require 'uv run election demo' README.md

Needs nothing but Python, git and bash. A page runs in a fresh clone of this repository, with the
changes of the working tree on top; how its blocks are marked is told in `page_blocks.py`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.docs.page_blocks import Block, PageError, agrees, read_blocks
from tests.docs.page_shell import PageShell

ROOT = Path(__file__).parents[2]


def run_blocks(blocks: Sequence[Block], shell: PageShell) -> None:
    """Run the blocks in order.

    Raises:
        PageError: At the first command that does not do what the page says.
    """
    for block in blocks:
        for command in block.commands:
            print(f"\n--- line {command.line}\n$ {command.text}", flush=True)
            if block.background:
                shell.start(command.text, block.ready)
                continue
            status, printed = shell.run(command.text)
            expected = block.exit_status if command is block.commands[-1] else 0
            if status != expected:
                raise PageError(f"line {command.line}: status {status} instead of {expected}")
            if block.check and not agrees(command.shown, printed):
                raise PageError(f"line {command.line}: the page shows\n{command.shown}")


def clone_working_tree(target: Path) -> None:
    """Clone the repository into an empty folder and put uncommitted changes on top."""
    git = ("git", "-C", str(ROOT))
    subprocess.run([*git, "clone", "--quiet", str(ROOT), str(target)], check=True)
    listing = subprocess.run(
        [*git, "ls-files", "-z", "--cached", "--others", "--modified", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in sorted({name for name in listing.split("\0") if name}):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
        else:
            (target / name).unlink(missing_ok=True)


def clean_environment(home: Path) -> dict[str, str]:
    """This process's variables without an active environment, and with settings of its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT"}
        and not name.startswith(("ELECTION_", "NOX_"))
    }
    return kept | {"XDG_CONFIG_HOME": str(home / "config"), "XDG_STATE_HOME": str(home / "state")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the pages that are named; 0 if every command did what its page says."""
    parser = argparse.ArgumentParser(description="Run the marked commands of Markdown pages.")
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="COMMAND",
        help="fail unless some marked command holds this text (may be repeated)",
    )
    parser.add_argument("--list", action="store_true", help="print the commands, run nothing")
    options = parser.parse_args(arguments)

    try:
        pages = {page: read_blocks(page.read_text(encoding="utf-8")) for page in options.pages}
        texts = [
            command.text
            for blocks in pages.values()
            for block in blocks
            for command in block.commands
        ]
        if missing := [text for text in options.require if not any(text in each for each in texts)]:
            raise PageError(f"no marked block holds {', '.join(missing)}")
        if options.list:
            print("\n".join(texts))
            return 0
        for page, blocks in pages.items():
            print(f"\n=== {page}", flush=True)
            _run_page(blocks)
    except (PageError, OSError) as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    print(f"\nran {len(texts)} commands")
    return 0


def _run_page(blocks: Sequence[Block]) -> None:
    with tempfile.TemporaryDirectory(prefix="page-") as temporary:
        folder = Path(temporary) / "checkout"
        clone_working_tree(folder)
        with PageShell(folder, clean_environment(Path(temporary))) as shell:
            try:
                run_blocks(blocks, shell)
            except PageError:
                print(f"\n--- printed in the background\n{shell.background_output()}")
                raise


if __name__ == "__main__":
    sys.exit(main())
