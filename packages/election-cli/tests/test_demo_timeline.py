"""The timeline tells the story in lines, and on a terminal how things stand."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from election_cli.demo._timeline import Timeline
from election_core import Event, EventKind, Role, RunnerInfo, RunnerStatus, Taint

AT = datetime(2026, 1, 1, tzinfo=UTC)


def event(what: EventKind | str, **data: object) -> Event:
    """Something that happened to the runner of id 1."""
    return Event(
        group_id="g", at=AT, kind=what, epoch=3, runner_id="1", reason="a reason", data=data
    )


def told(*events: Event) -> list[str]:
    """The lines that a timeline without a terminal makes of events."""
    file = io.StringIO()
    with Timeline(Console(file=file, width=40)) as timeline:
        timeline.call("1", "cloud-a")
        for found in events:
            timeline.event(found)
    return [line.split(" s  ", 1)[1] for line in file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            event(EventKind.ELECTED, kind="failover", leaderless_seconds=0.25),
            "leads under epoch 3 (failover; a reason, 0.25 s without a leader)",
        ),
        (event(EventKind.ELECTED, kind="first"), "leads under epoch 3 (first; a reason)"),
        (event(EventKind.HANDOVER_STARTED), "is asked to hand over: a reason"),
        (event(EventKind.RELEASED), "gives epoch 3 up"),
        (event(EventKind.VACATED), "leads no more; nobody can follow"),
        (event(EventKind.TAINTED), "is tainted: a reason"),
        (event(EventKind.TAINT_EXPIRED), "is free of its taint, which expired"),
        (event(EventKind.SESSION_SUPERSEDED), "has a new process; the old one counts no more"),
        (event(EventKind.SESSION_LEFT), "leaves"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_event_is_one_line(found: Event, line: str) -> None:
    """What happens to a runner is one line with its name, however narrow the output is."""
    assert told(found) == [f"cloud-a   {line}"]


def test_what_is_of_no_interest_is_not_told() -> None:
    """Events that the story does not turn on, and those of a later version, make no line."""
    assert told(event(EventKind.GROUP_CREATED), event("of a later version")) == []


def test_a_terminal_shows_how_things_stand() -> None:
    """On a terminal there is a board of runners, roles, taints and jobs below the lines."""
    file = io.StringIO()
    runner = RunnerInfo(
        id="1",
        group_id="g",
        name="cloud-a",
        created_at=AT,
        status=RunnerStatus.ACTIVE,
        role=Role.STEPPING_DOWN,
        taints=(Taint(key="laptop", created_at=AT),),
    )
    console = Console(file=file, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    with Timeline(console) as timeline:
        timeline.call("1", "cloud-a")
        timeline.stands((runner,), {"succeeded": 4, "queued": 1})
        timeline.act("An act")
        timeline.did("cloud-a", "is killed")

    shown = file.getvalue()
    for word in ("An act", "is killed", "active", "stepping-down", "laptop", "4 succeeded"):
        assert word in shown
