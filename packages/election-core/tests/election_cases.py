"""Groups and runners for tests, each built from what the test is about and nothing else.

Times are seconds around [`NOW`][election_cases.NOW], the time at which snapshots are taken unless a
test says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from attrs import evolve

from election_core import (
    Drain,
    Effect,
    Group,
    Handover,
    Kind,
    Mark,
    Pin,
    Runner,
    Session,
    Settings,
    Snapshot,
    Taint,
    Term,
)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""The time that tests count from."""

LEASE = Settings().lease


def at(seconds: float) -> datetime:
    """So many seconds after `NOW`; before it, if negative."""
    return NOW + timedelta(seconds=seconds)


def span(seconds: float) -> timedelta:
    """So many seconds."""
    return timedelta(seconds=seconds)


def a_taint(
    effect: Effect = Effect.NO_LEAD, *, key: str = "manual", until: float | None = None
) -> Taint:
    """A taint that was put an hour ago."""
    return Taint(
        key=key,
        effect=effect,
        created_at=at(-3600),
        expires_at=None if until is None else at(until),
    )


def a_session(
    runner_id: str,
    *,
    left: float = 10,
    since: float = -3600,
    ready: bool = True,
    epoch: int | None = None,
    term_left: float | None = None,
    step_down: float | None = None,
) -> Session:
    """A session whose lease has `left` seconds to run, healthy `since`."""
    ends = None if epoch is None else at(left if term_left is None else term_left)
    return Session(
        id=f"session-{runner_id}",
        key=f"key-{runner_id}",
        opened_at=at(since),
        lease_expires_at=at(left),
        ready=ready,
        healthy_since=at(since),
        held_epoch=epoch,
        term_expires_at=ends,
        step_down_at=None if step_down is None else at(step_down),
    )


def a_runner(
    runner_id: str,
    *,
    born: float = -7200,
    steady: float = -7200,
    taints: tuple[Taint, ...] = (),
    drain: Drain | None = None,
    labels: Mapping[str, str] | None = None,
    session: Session | None = None,
    offline: bool = False,
) -> Runner:
    """A runner with a live session, unless it is `offline`."""
    if session is None and not offline:
        session = a_session(runner_id)
    return Runner(
        id=runner_id,
        group_id="g",
        name=runner_id,
        created_at=at(born),
        taints=taints,
        drain=drain,
        labels=labels or {},
        steady_since=at(steady),
        session=session,
        opened=0 if session is None else 1,
    )


def a_snapshot(
    *runners: Runner,
    leader: str | None = None,
    settings: Settings | None = None,
    pin: Pin | None = None,
    handover: Handover | None = None,
    barrier: float | None = None,
    released: str | None = None,
    mark: Mark | None = None,
) -> Snapshot:
    """A group with these runners, led under epoch 7 by the one of that id, if one is named.

    The leader's session is made to hold the epoch unless it does already.
    """
    members = list(runners)
    term = None
    for index, runner in enumerate(members):
        session = runner.session
        if runner.id == leader and session is not None:
            if session.held_epoch is None:
                session = evolve(session, held_epoch=7, term_expires_at=session.lease_expires_at)
                members[index] = evolve(runner, session=session)
            term = Term(
                epoch=7,
                runner_id=runner.id,
                session_id=session.id,
                elected_at=at(-600),
                kind=Kind.FIRST,
                reason="oldest",
            )
    return Snapshot(
        at=NOW,
        revision=1,
        group=Group(
            id="g",
            settings=settings or Settings(),
            created_at=at(-86400),
            epoch=7 if term is not None else 6,
            term=term,
            pin=pin,
            handover=handover,
            grant_not_before=None if barrier is None else at(barrier),
            decided_at=at(-1),
        ),
        runners=tuple(members),
        released=released,
        mark=mark or Mark(at=NOW),
    )
