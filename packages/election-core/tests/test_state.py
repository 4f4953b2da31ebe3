"""The mark, outages and grace; and what a snapshot tells of itself."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from election_cases import a_runner, a_session, a_snapshot, a_taint, at, span
from election_core import (
    LONGEST_LEASE,
    Effect,
    Mark,
    Outage,
    Settings,
    grace_until,
    refresh_mark,
)
from election_testkit.strategies import marks
from election_world import TICK, World

# The mark.


def test_the_first_mark_knows_of_no_outage() -> None:
    """A new store was not out of reach before it was there."""
    assert refresh_mark(None, at(0), TICK) == Mark(at=at(0), tick=TICK)


@pytest.mark.parametrize(
    ("away", "outages"), [(1, 0), (3, 0), (3.001, 1), (100, 1)], ids=["1s", "3s", "over-3s", "100s"]
)
def test_more_than_three_ticks_are_an_outage(away: float, outages: int) -> None:
    """A gap counts from just over three ticks."""
    mark = refresh_mark(Mark(at=at(0)), at(away), TICK)

    assert mark.outages == (Outage(at(0), at(away)),) * outages
    assert mark.at == at(away)


def test_the_mark_does_not_go_back() -> None:
    """A refresh that carries an earlier time leaves the mark where it is."""
    assert refresh_mark(Mark(at=at(5)), at(3), TICK).at == at(5)


def test_outages_whose_grace_is_over_are_dropped() -> None:
    """An outage is forgotten when no lease is long enough to still be in its grace."""
    ended = at(10)
    mark = Mark(at=ended, outages=(Outage(at(0), ended),))
    over = ended + LONGEST_LEASE

    kept = refresh_mark(Mark(at=over - TICK * 2, outages=mark.outages), over - TICK, TICK)
    dropped = refresh_mark(kept, over, TICK)

    assert (len(kept.outages), dropped.outages) == (1, ())


def running_time(mark: Mark, lease: timedelta, until: datetime) -> timedelta:
    """Within the latest grace, the time before `until` in which the store could be reached."""
    begins = mark.outages[0].ended
    ends = begins + lease
    for outage in mark.outages[1:]:
        if outage.began >= ends:
            begins, ends = outage.ended, outage.ended + lease
        else:
            ends += outage.ended - outage.began
    down = sum(
        (outage.ended - outage.began for outage in mark.outages if outage.began >= begins),
        timedelta(),
    )
    return until - begins - down


@given(mark=marks(), lease=st.integers(1, 90).map(span))
def test_a_grace_is_one_lease_in_which_the_store_answers(mark: Mark, lease: timedelta) -> None:
    """However often a grace is cut short, it is one lease of time in which one could renew."""
    until = grace_until(mark, lease)

    if not mark.outages:
        assert until is None
    else:
        assert until is not None
        assert running_time(mark, lease, until) == lease


@given(
    gaps=st.lists(st.tuples(st.integers(1, 3), st.integers(4, 9)), min_size=70, max_size=90),
)
def test_ever_new_outages_do_not_put_a_failover_off_for_ever(gaps: list[tuple[int, int]]) -> None:
    """However many outages there were, a grace is over once it had its lease of running time."""
    lease = LONGEST_LEASE
    now = at(0)
    mark = refresh_mark(Mark(at=now), now + span(10), TICK)
    now += span(10)
    began, up = now, timedelta()
    down = timedelta()
    for running, away in gaps:
        now += span(running)
        mark = refresh_mark(mark, now, TICK)
        up += span(running)
        now += span(away)
        mark = refresh_mark(mark, now, TICK)
        down += span(away)

    assert grace_until(mark, lease) == began + lease + down
    assert len(mark.outages) <= 64


# Grace, as a group lives through it.

LEASE = span(10)


def a_world() -> tuple[World, str, str]:
    """A group of two, the first of which leads."""
    world = World(Settings(lease=LEASE))
    return world, world.join("first"), world.join("second")


def test_an_outage_longer_than_the_lease_deposes_nobody() -> None:
    """A leader that could not renew as nobody could keeps its epoch when it can again (bug 18)."""
    world, first, second = a_world()
    world.live(5, [first, second])

    world.wait(60, store=False)
    world.elector()
    assert (world.leader, world.epoch) == (None, 1)
    world.live(8, [second])
    world.live(1, [first, second])

    assert (world.leader, world.epoch) == (first, 1)


def test_a_leader_that_stays_away_is_deposed_after_one_lease_of_grace() -> None:
    """Grace puts a failover off by one lease from when the store is back, no longer."""
    world, first, second = a_world()
    world.wait(60, store=False)
    world.elector()
    back = world.now

    while world.leader != second:
        world.live(1, [second])

    assert first != second
    assert world.now == back + LEASE


def test_a_stale_mark_alone_deposes_nobody() -> None:
    """A call that decides before any elector has looked spares the silent leader."""
    world, first, second = a_world()
    world.wait(60, store=False)

    world.open(second)

    group = world.snapshot.group
    assert group.term is not None
    assert group.term.runner_id == first
    assert group.look_again_at == world.now + LEASE


def test_a_leader_spared_by_a_stale_mark_is_decided_about_later() -> None:
    """Being spared once, by whomever, does not leave a group without a leader for ever."""
    world, _, second = a_world()
    world.wait(60, store=False)
    world.open(second)

    world.live(25, [second])

    assert world.leader == second


def test_a_grace_cut_short_goes_on_with_what_was_left() -> None:
    """A second outage within a grace adds its own length and no more (bug 18)."""
    world, _, second = a_world()
    world.wait(60, store=False)
    world.elector()
    world.live(6, [second])

    world.wait(20, store=False)
    world.elector()
    back = world.now
    while world.leader != second:
        world.live(1, [second])

    assert world.now == back + span(4)


def test_a_leader_that_renewed_in_a_grace_has_a_whole_one_after_the_next_outage() -> None:
    """What a grace cut short has left is for the silent; who came back has one lease again."""
    world, first, second = a_world()
    world.wait(60, store=False)
    world.elector()
    world.live(9, [first, second])

    world.wait(20, store=False)
    world.elector()
    world.live(9, [second])
    assert (world.leader, world.epoch) == (None, 1)
    world.live(1, [first, second])

    assert (world.leader, world.epoch) == (first, 1)


def test_three_ticks_of_silence_are_not_an_outage() -> None:
    """A hiccup shorter than three ticks gives no grace to a leader that was silent anyway."""
    world, _, second = a_world()
    world.live(8, [second])

    world.wait(3, store=False)
    world.beat(second)
    world.elector()

    assert world.leader == second


# Snapshots.


def test_a_snapshot_finds_its_incumbent() -> None:
    """The incumbent is who holds the current term, live or not."""
    silent = a_runner("a", session=a_session("a", left=-1, epoch=7))

    assert a_snapshot(silent, leader="a").incumbent == silent
    assert a_snapshot(silent).incumbent is None
    assert a_snapshot(silent).runner("b") is None


def test_a_heartbeat_is_a_third_of_the_lease_unless_chosen() -> None:
    """Runners renew three times per lease by default."""
    assert Settings(lease=span(30)).heartbeat_interval == span(10)
    assert Settings(lease=span(30), heartbeat=span(2)).heartbeat_interval == span(2)


def test_health_counts_from_what_broke_it_last() -> None:
    """Without a session there is no health; with one it counts from the latest break."""
    runner = a_runner("a", steady=-5, session=a_session("a", since=-9))

    taints = (a_taint(until=-2), a_taint(key="a", until=-3), a_taint(key="b", until=4))

    assert runner.healthy_since(at(0)) == at(-5)
    assert evolve(runner, taints=taints).healthy_since(at(0)) == at(-2)
    mild = a_taint(Effect.PREFER_NO_ELECT, until=-2)
    assert evolve(runner, taints=(mild,)).healthy_since(at(0)) == at(-5)
    assert a_runner("a", offline=True).healthy_since(at(0)) is None
