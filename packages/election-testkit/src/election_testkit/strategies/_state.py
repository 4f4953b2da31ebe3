"""Hypothesis strategies for what the core decides about: groups, runners and their marks.

Everything drawn is consistent: exactly the session that holds the current term has its epoch, a
term's lease never outlasts its session's, a handover has a leader. Times are whole seconds around
[`START`][election_testkit.START], close enough together that ties and edges come up often.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache

from attrs import evolve
from hypothesis import strategies as st

from election_core import (
    Cause,
    Drain,
    Effect,
    Group,
    Handover,
    Kind,
    Mark,
    OldestActive,
    Operator,
    Outage,
    Pin,
    Runner,
    Session,
    Settings,
    Snapshot,
    Taint,
    Term,
    Toleration,
    excluding,
)
from election_testkit._clock import START

__all__ = [
    "EFFECTS",
    "KEYS",
    "LABELS",
    "LEASES",
    "OWNERS",
    "VALUES",
    "marks",
    "outages",
    "pins",
    "policies",
    "runners",
    "sessions",
    "settings",
    "snapshots",
    "spans",
    "taint_sets",
    "taints",
    "times",
    "tolerations",
]


def _at(seconds: float) -> datetime:
    """So many seconds after the start; before it, if negative."""
    return START + timedelta(seconds=seconds)


KEYS = st.sampled_from(["manual", "laptop", "gpu"])
OWNERS = st.sampled_from(["", "ann", "bob"])
VALUES = st.sampled_from(["", "a", "b"])
EFFECTS = st.sampled_from(Effect)
LABELS = st.dictionaries(st.sampled_from(["zone", "size"]), st.sampled_from(["1", "2"]))
LEASES = st.sampled_from([1, 5, 15, 60]).map(lambda seconds: timedelta(seconds=seconds))


@cache
def times(least: int = -60, most: int = 60) -> st.SearchStrategy[datetime]:
    """Times around now, in whole seconds."""
    return st.integers(least, most).map(_at)


@cache
def spans(least: int = 0, most: int = 60) -> st.SearchStrategy[timedelta]:
    """Durations in whole seconds."""
    return st.integers(least, most).map(lambda seconds: timedelta(seconds=seconds))


@cache
def taints() -> st.SearchStrategy[Taint]:
    """Taints, some of them expired."""
    return st.builds(
        Taint,
        key=KEYS,
        value=VALUES,
        effect=EFFECTS,
        owner=OWNERS,
        reason=st.sampled_from(["", "lunch"]),
        created_at=times(-60, 0),
        expires_at=st.none() | times(),
    )


@cache
def taint_sets() -> st.SearchStrategy[tuple[Taint, ...]]:
    """What a runner may bear: at most one taint of each key and owner."""
    unique = st.lists(taints(), max_size=2, unique_by=lambda taint: (taint.key, taint.owner))
    return unique.map(tuple)


@cache
def tolerations() -> st.SearchStrategy[Toleration]:
    """Statements that some taints do not count."""
    return st.builds(
        Toleration,
        key=st.none() | KEYS,
        operator=st.sampled_from(Operator),
        value=st.none() | VALUES,
        effect=st.none() | EFFECTS,
    )


@cache
def settings() -> st.SearchStrategy[Settings]:
    """Settings of a group with the policy that ships."""
    return st.builds(
        Settings,
        lease=LEASES,
        handover_timeout=st.sampled_from([0, 5, 60]).map(lambda s: timedelta(seconds=s)),
        tolerations=st.lists(tolerations(), max_size=1).map(tuple),
    )


@cache
def policies(
    *, preempt: bool | None = None, selective: bool = True
) -> st.SearchStrategy[OldestActive]:
    """The policy that ships, with all its options; `selective`: it may require labels."""
    return st.builds(
        OldestActive,
        preempt=st.booleans() if preempt is None else st.just(preempt),
        stable_for=st.sampled_from([0, 5, 30]).map(lambda s: timedelta(seconds=s)),
        prefer_labels=LABELS,
        require_labels=st.one_of(st.just({}), st.just({}), LABELS) if selective else st.just({}),
    )


@cache
def sessions(runner_id: str, *, well: bool = False) -> st.SearchStrategy[Session]:
    """Sessions of a standby, live and lapsed; live and ready, if `well`."""
    return st.builds(
        Session,
        id=st.just(f"session-{runner_id}"),
        key=st.just(f"key-{runner_id}"),
        opened_at=st.just(_at(-60)),
        lease_expires_at=times(1 if well else -5, 20),
        ready=st.just(True) if well else st.sampled_from([True, True, True, False]),
        seq=st.integers(0, 3),
        healthy_since=times(-60, 0),
        standing_version=st.integers(1, 5),
    )


@cache
def runners(runner_id: str, *, well: bool = False) -> st.SearchStrategy[Runner]:
    """Runners as they may stand beside a leader; those that nothing keeps from it, if `well`."""
    barred = st.just(()) | taint_sets()
    shunned = barred.map(lambda taints: tuple(t for t in taints if not excluding(t)))
    drained = st.builds(Drain, at=times(-60, 0), timeout=st.none() | spans(0, 30))
    return st.builds(
        Runner,
        id=st.just(runner_id),
        group_id=st.just("g"),
        name=st.just(runner_id),
        created_at=times(-120, -115),
        labels=LABELS,
        taints=shunned if well else barred,
        drain=st.none() if well else st.one_of(st.none(), st.none(), st.none(), drained),
        steady_since=times(-60, 0),
        session=sessions(runner_id, well=True)
        if well
        else st.one_of(st.none(), sessions(runner_id), sessions(runner_id)),
        opened=st.integers(1, 3),
    )


@cache
def outages() -> st.SearchStrategy[tuple[Outage, ...]]:
    """Outages as the mark records them: apart, each longer than three ticks, the oldest first."""

    def from_lengths(pairs: list[tuple[int, int]]) -> tuple[Outage, ...]:
        found: list[Outage] = []
        ended = START
        for up, down in pairs:
            ended -= timedelta(seconds=up)
            began = ended - timedelta(seconds=down)
            found.insert(0, Outage(began, ended))
            ended = began
        return tuple(found)

    return st.lists(st.tuples(st.integers(0, 20), st.integers(4, 60)), max_size=3).map(from_lengths)


@cache
def marks() -> st.SearchStrategy[Mark]:
    """The mark, fresh or stale, with or without recent outages."""

    @st.composite
    def build(draw: st.DrawFn) -> Mark:
        recorded = draw(st.just(()) | outages())
        newest = max((outage.ended for outage in recorded), default=_at(-30))
        age = draw(st.sampled_from([0, 0, 0, 1, 3, 4, 20]))
        return Mark(at=max(newest, _at(-age)), outages=recorded)

    return build()


@cache
def pins(runner_ids: tuple[str, ...]) -> st.SearchStrategy[Pin]:
    """A person's choice of one of these runners."""
    return st.builds(
        Pin,
        runner_id=st.sampled_from(runner_ids),
        owner=OWNERS,
        created_at=times(-60, 0),
        expires_at=st.none() | times(),
        immediate=st.booleans(),
        eligible_at=st.none() | times(-60, 0),
    )


@st.composite
def snapshots(
    draw: st.DrawFn,
    *,
    least: int = 0,
    most: int = 5,
    led: bool | None = None,
    pinned: bool | None = None,
    well: bool = False,
    of_settings: st.SearchStrategy[Settings] | None = None,
) -> Snapshot:
    """Any group that a store may hold.

    Args:
        draw: Hypothesis' own.
        least: The fewest runners.
        most: The most.
        led: Whether there is a term, live or not; either, unless it is given.
        pinned: Whether there is a pin; either, unless it is given.
        well: Whether nothing but the policy keeps any runner from leading.
        of_settings: What settings it has.
    """
    count = draw(st.integers(max(least, 1 if led else 0), most))
    members = [draw(runners(f"r{index}", well=well)) for index in range(count)]
    group = Group(
        id="g",
        settings=draw(of_settings if of_settings is not None else settings()),
        created_at=_at(-120),
        epoch=draw(st.integers(0, 9)),
        decided_at=_at(-1),
        grant_not_before=draw(st.none() | times(-5, 20)),
    )
    leading = led if led is not None else bool(members) and draw(st.booleans())
    if leading:
        index = draw(st.integers(0, count - 1))
        group, members[index] = _led(draw, group, members[index])
    elif draw(st.booleans()):
        ended = draw(st.sampled_from(Kind))
        group = evolve(group, ended=ended, ended_at=draw(times(-60, 0)))
    choosing = pinned if pinned is not None else draw(st.booleans())
    if choosing and members:
        group = evolve(group, pin=draw(pins(tuple(runner.id for runner in members))))
    released = None
    if group.term is None and members:
        released = draw(st.none() | st.sampled_from([runner.id for runner in members]))
    return Snapshot(
        at=START,
        revision=draw(st.integers(1, 9)),
        group=group,
        runners=tuple(members),
        mark=draw(marks()),
        released=released,
    )


def _led(draw: st.DrawFn, group: Group, runner: Runner) -> tuple[Group, Runner]:
    """The group with a term of the runner's, in a handover or not."""
    session = runner.session or draw(sessions(runner.id))
    epoch = group.epoch + 1
    ends = session.lease_expires_at
    handover = None
    if draw(st.sampled_from([False, False, True])):
        started = draw(times(-30, 0))
        handover = Handover(
            cause=draw(st.sampled_from(Cause)),
            started_at=started,
            deadline=started + draw(spans(0, 60)),
        )
        if draw(st.booleans()):
            ends = min(ends, max(handover.deadline, _at(-5)))
    session = evolve(
        session,
        held_epoch=epoch,
        term_expires_at=ends,
        step_down_at=None if handover is None else handover.deadline,
    )
    term = Term(
        epoch=epoch,
        runner_id=runner.id,
        session_id=session.id,
        elected_at=_at(-60),
        kind=draw(st.sampled_from(Kind)),
        reason="oldest",
    )
    group = evolve(group, epoch=epoch, term=term, handover=handover, grant_not_before=None)
    return group, evolve(runner, session=session)
