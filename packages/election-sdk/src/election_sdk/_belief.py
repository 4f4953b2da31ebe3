"""What a runner may believe of its own standing, and for how long. Pure: times come in as numbers.

The trust window begins with the *start* of the attempt whose answer it rests on, never with its
arrival: the store counted the lease from some point in between (riverqueue/river#1213 had it the
other way round). All times are seconds of one clock that counts suspend.
"""

from __future__ import annotations

from datetime import timedelta

from attrs import frozen

from election_core import Role, Standing

__all__ = ["Belief", "Window", "window"]

_DRIFT = 0.02
"""Two clocks that differ by more than this in rate are broken."""
_LEAST_MARGIN = 0.05
_CLEAN_UP = 0.1
"""The part of a lease that is left for what acts under it to stop."""
_LONGEST_CLEAN_UP = 10.0


@frozen
class Window:
    """How long an answer may be believed."""

    stop_at: float
    """When what acts under it is told to stop."""
    ends_at: float
    """When it must have stopped."""

    def joined(self, other: Window) -> Window:
        """The window of two answers about the same lease, which never gets shorter."""
        return Window(max(self.stop_at, other.stop_at), max(self.ends_at, other.ends_at))


def window(started: float, lease_remaining: timedelta, clean_up: timedelta | None = None) -> Window:
    """The window that an answer opens.

    Args:
        started: When the attempt began.
        lease_remaining: What the answer says.
        clean_up: How long before the end to tell to stop: a tenth, at most ten seconds, unless
            chosen, and never more than half of the lease.
    """
    remaining = lease_remaining.total_seconds()
    ends_at = started + remaining - max(_LEAST_MARGIN, _DRIFT * remaining)
    if clean_up is None:
        early = min(_LONGEST_CLEAN_UP, _CLEAN_UP * remaining)
    else:
        early = min(clean_up.total_seconds(), remaining / 2)
    return Window(stop_at=ends_at - early, ends_at=ends_at)


class Belief:
    """The newest standing of one session, with its trust window.

    Args:
        standing: The answer that opened the session.
        started: When that attempt began.
        clean_up: See :func:`window`.
    """

    def __init__(
        self, standing: Standing, started: float, clean_up: timedelta | None = None
    ) -> None:
        self._clean_up = clean_up
        self.standing = standing
        self._window = window(started, standing.lease_remaining, clean_up)
        self._step_down_at = _step_down_at(standing, started)

    def apply(self, standing: Standing, started: float) -> bool:
        """Take in an answer; whether it told anything new but more time.

        An answer that was overtaken by a newer one is ignored.
        """
        before = self.standing
        if standing.standing_version < before.standing_version:
            return False
        fresh = window(started, standing.lease_remaining, self._clean_up)
        same = _held(standing) == _held(before) is not None
        self._window = self._window.joined(fresh) if same else fresh
        self._step_down_at = _step_down_at(standing, started)
        self.standing = standing
        return (standing.standing_version, standing.role, standing.cancel) != (
            before.standing_version,
            before.role,
            before.cancel,
        )

    @property
    def epoch(self) -> int | None:
        """The epoch that the session holds by the newest answer, whatever the time."""
        return _held(self.standing)

    @property
    def stepping_down(self) -> bool:
        """Whether it was told to hand over."""
        return self.standing.role is Role.STEPPING_DOWN

    @property
    def step_down_at(self) -> float | None:
        """The deadline of the handover."""
        return self._step_down_at

    @property
    def window(self) -> Window:
        """The trust window of the newest answers."""
        return self._window

    def leads(self, now: float) -> int | None:
        """The epoch under which work may begin now."""
        if self.standing.role is Role.LEADER and now < self._window.stop_at:
            return self.standing.epoch
        return None


def _held(standing: Standing) -> int | None:
    if standing.role in (Role.LEADER, Role.STEPPING_DOWN):
        return standing.epoch
    return None


def _step_down_at(standing: Standing, started: float) -> float | None:
    if standing.role is not Role.STEPPING_DOWN:
        return None
    left = standing.step_down_in
    return started + (0.0 if left is None else left.total_seconds())
