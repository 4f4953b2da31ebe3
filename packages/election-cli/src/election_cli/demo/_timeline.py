"""What people see while the demo runs: a line for each thing that happens, and how things stand.

On a terminal the lines scroll above a board that is kept current; anywhere else there are the lines
alone, so that a log of the demo reads well.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from election_core import Event, EventKind, Role, RunnerInfo

__all__ = ["Timeline"]

_COLOURS = ("cyan", "blue", "magenta", "yellow", "green")


class Timeline:
    """Shows the demo while it runs; a context manager, because of the board.

    Args:
        console: Where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._names: dict[str, str] = {}
        self._runners: tuple[RunnerInfo, ...] = ()
        self._jobs: Mapping[str, int] = {}
        self._epoch = 0
        self.title = "the server comes up"
        self._live = Live(
            console=console,
            get_renderable=self._board,
            refresh_per_second=8,
            transient=True,
            auto_refresh=True,
        )
        self.has_board = console.is_terminal and not console.is_dumb_terminal and not console.quiet

    def __enter__(self) -> Self:
        if self.has_board:
            self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.has_board:
            self._live.stop()

    @property
    def elapsed(self) -> float:
        """The seconds since the demo began."""
        return time.monotonic() - self._began

    def call(self, runner_id: str, name: str) -> None:
        """From now on, call a runner by its name."""
        self._names[runner_id] = name

    def act(self, title: str) -> None:
        """Another act begins."""
        self.title = title
        self._line("", Text(title, style="bold"))

    def did(self, who: str, what: str) -> None:
        """The demo did something to a process."""
        self._line(who, Text(what, style="red"))

    def saw(self, who: str, what: str) -> None:
        """Something came out as promised."""
        self._line(who, Text(what))

    def event(self, event: Event) -> None:
        """Something is in the group's history, if it is of interest to the story."""
        who = self._name(event.runner_id)
        match event.kind:
            case EventKind.ELECTED:
                self._epoch = event.epoch
                gap = event.data.get("leaderless_seconds")
                gap_text = f", {gap:.2f} s without a leader" if isinstance(gap, float) else ""
                why = f"({event.data.get('kind')}; {event.reason}{gap_text})"
                self._line(who, Text(f"leads under epoch {event.epoch} {why}", style="bold green"))
            case EventKind.HANDOVER_STARTED:
                self._line(who, Text(f"is asked to hand over: {event.reason}"))
            case EventKind.RELEASED:
                self._line(who, Text(f"gives epoch {event.epoch} up"))
            case EventKind.VACATED:
                self._line(who, Text("leads no more; nobody can follow", style="yellow"))
            case EventKind.TAINTED:
                self._line(who, Text(f"is tainted: {event.reason}", style="yellow"))
            case EventKind.TAINT_EXPIRED:
                self._line(who, Text("is free of its taint, which expired"))
            case EventKind.SESSION_SUPERSEDED:
                self._line(who, Text("has a new process; the old one counts no more"))
            case EventKind.SESSION_LEFT:
                self._line(who, Text("leaves"))
            case _:
                pass

    def stands(self, runners: tuple[RunnerInfo, ...], jobs: Mapping[str, int]) -> None:
        """How runners and jobs stand now."""
        self._runners = runners
        self._jobs = jobs

    def _line(self, who: str, what: Text) -> None:
        line = Text().append(f"{self.elapsed:5.1f} s  ", style="dim")
        line.append(f"{who:<8}  ", style=self._colour(who))
        line.append_text(what)
        self._console.print(line, soft_wrap=True, highlight=False)

    def _name(self, runner_id: str | None) -> str:
        return self._names.get(runner_id or "", runner_id or "")

    def _colour(self, name: str) -> str:
        names = list(self._names.values())
        return _COLOURS[names.index(name) % len(_COLOURS)] if name in names else "white"

    def _board(self) -> RenderableType:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for title in ("runner", "status", "role", "taints"):
            table.add_column(title)
        for runner in self._runners:
            leads = runner.role is not Role.STANDBY
            table.add_row(
                Text(runner.name, style=self._colour(runner.name)),
                runner.status.value,
                Text(runner.role.value, style="bold green" if leads else ""),
                ", ".join(taint.key for taint in runner.taints),
            )
        counts = ", ".join(f"{count} {state}" for state, count in self._jobs.items())
        return Group(Text(), table, Text(f"  epoch {self._epoch} | jobs: {counts}", style="dim"))
