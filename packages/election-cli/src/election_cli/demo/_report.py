"""What the demo tells at its end: a table for people, or one JSON object for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen
from rich.console import Console
from rich.table import Table
from rich.text import Text

from election_cli.demo._audit import Findings
from election_cli.demo._evidence import TermRecord

__all__ = ["Report"]


@frozen(kw_only=True)
class Report:
    """How the demo went."""

    findings: Findings
    terms: Sequence[TermRecord]
    refused: Mapping[str, int]
    """How many calls the server refused, by the code of the refusal."""
    broken: Sequence[str]
    """Every promise that was broken, those of the audit included."""

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken

    def as_json(self) -> dict[str, object]:
        """The report for programs."""
        return {
            "ok": self.ok,
            "jobs": {
                "enqueued": self.findings.enqueued,
                "succeeded": self.findings.succeeded,
                "settled_twice": self.findings.settled_twice,
                "run_by_non_leader": self.findings.run_by_non_leader,
            },
            "refused": dict(self.refused),
            "terms": [
                {
                    "epoch": term.epoch,
                    "runner": term.runner,
                    "reason": term.reason,
                    "kind": term.kind,
                    "leaderless_seconds": term.leaderless_seconds,
                }
                for term in self.terms
            ],
        }

    def show(self, console: Console) -> None:
        """The report for people."""
        table = Table(title="Terms, from the store", title_justify="left")
        for title in (
            "epoch",
            "runner",
            "how it came",
            "why this runner",
            "seconds without a leader",
        ):
            table.add_column(title)
        for term in self.terms:
            gap = term.leaderless_seconds
            table.add_row(
                str(term.epoch),
                term.runner,
                term.kind,
                term.reason,
                "" if gap is None else f"{gap:.2f}",
            )
        console.print()
        console.print(table)
        jobs = self.findings
        counts = ", ".join(f"{code} {count}" for code, count in self.refused.items())
        console.print(
            f"Jobs: {jobs.enqueued} enqueued, {jobs.succeeded} succeeded, "
            f"{jobs.settled_twice} settled twice, {jobs.run_by_non_leader} run by a non-leader.",
            f"Refused by the server: {counts or 'nothing'}.",
            sep="\n",
            highlight=False,
            soft_wrap=True,
        )
        if self.ok:
            console.print(Text("Every promise was kept.", style="bold green"))

    def complain(self, console: Console) -> None:
        """Every promise that was broken."""
        for promise in self.broken:
            console.print(Text(f"Broken: {promise}", style="bold red"), soft_wrap=True)
