"""Waking of the calls that wait for news."""

from __future__ import annotations

from datetime import timedelta

import anyio

from election_core.engine._wakeups import Wakeups

LONG = timedelta(minutes=1)


async def test_news_between_two_waits_is_not_lost() -> None:
    """Who looks away for a moment is told at once when it waits again."""
    wakeups = Wakeups()
    with wakeups.listen(("runner", "a")) as news:
        wakeups.wake([("runner", "a")])

        assert await news.wait(LONG)
        assert anyio.current_time() == 0
        assert not await news.wait(timedelta(seconds=1))


async def test_who_waits_for_something_else_is_left_alone() -> None:
    """Each topic wakes its own listeners, and all of them."""
    wakeups = Wakeups()
    with (
        wakeups.listen(("runner", "a"), ("jobs", "g")) as one,
        wakeups.listen(("runner", "b")) as other,
        wakeups.listen(("jobs", "g")) as third,
    ):
        assert len(wakeups) == 3
        wakeups.wake([("jobs", "g"), ("events", "g")])

        assert await one.wait(LONG)
        assert await third.wait(LONG)
        assert not await other.wait(timedelta(seconds=1))
    assert len(wakeups) == 0
