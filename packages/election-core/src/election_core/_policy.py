"""Policies: who is preferred as leader, as data plus pure functions.

What keeps a runner from leading in any group (no live session, not ready, draining, taints) and
what a person says (a pin, a release) is settled in [`elect`][election_core.elect] itself, so no
policy can break it. A policy adds filters of its own and orders what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from attrs import field, frozen

from election_core._errors import Invalid
from election_core._state import PolicySpec, Runner, Settings, Snapshot
from election_core._taints import Effect

__all__ = ["OldestActive", "Policies", "Policy", "Rank", "Reason"]

Rank = tuple[object, ...]
"""One value per preference, lower is better, compared in order. Values of a place are
comparable."""


@frozen
class Reason:
    """Why a runner is not eligible: a stable code and a sentence."""

    code: str
    detail: str = ""


class Policy(Protocol):
    """A rule of preference. Pure: the same arguments give the same answer, always."""

    @property
    def preferences(self) -> tuple[str, ...]:
        """The names of the places of `rank`, as they appear in reasons."""
        ...

    @property
    def stable_for(self) -> timedelta:
        """How long a runner is healthy before it may take leadership from a healthy leader."""
        ...

    def refusals(self, runner: Runner, snapshot: Snapshot) -> tuple[Reason, ...]:
        """Why this policy does not admit the runner; empty if it does."""
        ...

    def rank(self, runner: Runner, snapshot: Snapshot, incumbent: Runner | None) -> Rank:
        """The runner's place: one comparable value per preference, lower is better.

        Args:
            runner: Who is ranked, eligible or not.
            snapshot: The group.
            incumbent: The leader whose term is live and who may stay, if there is one.
        """
        ...

    def settles_at(self, runner: Runner, snapshot: Snapshot) -> datetime | None:
        """The next time after the snapshot's at which `runner` ranks differently by time alone."""
        ...


@frozen(kw_only=True)
class OldestActive:
    """The oldest active runner leads.

    Sticky by default: a healthy leader stays when an older runner comes back, because preferring
    the oldest over a healthy leader turns one flapping old runner into churn. With `preempt` an
    older runner takes over once it has been healthy for `stable_for`.
    """

    preempt: bool = False
    stable_for: timedelta = timedelta(seconds=30)
    prefer_labels: Mapping[str, str] = field(factory=dict)
    """Labels whose bearers are preferred; more matches are better."""
    require_labels: Mapping[str, str] = field(factory=dict)
    """Labels without which a runner is not eligible."""

    @property
    def preferences(self) -> tuple[str, ...]:
        """Incumbent (or steady, with `preempt`), fewest taints, labels, oldest."""
        return _PREEMPTING if self.preempt else _STICKY

    def refusals(self, runner: Runner, snapshot: Snapshot) -> tuple[Reason, ...]:
        """A runner without a required label is not selected."""
        if not self.require_labels:
            return ()
        return tuple(
            Reason("not-selected", f"label {key!r} is not {value!r}")
            for key, value in sorted(self.require_labels.items())
            if runner.labels.get(key) != value
        )

    def rank(self, runner: Runner, snapshot: Snapshot, incumbent: Runner | None) -> Rank:
        """See `Policy`."""
        behind = incumbent is not None and runner is not incumbent
        if behind and self.preempt:
            settles = self._stable_at(runner, snapshot)
            behind = settles is None or settles > snapshot.at
        shunned = 0
        if runner.taints:
            for taint in snapshot.untolerated(runner):
                shunned += taint.effect is Effect.PREFER_NO_ELECT
        missing = 0
        if self.prefer_labels:
            labels = runner.labels
            missing = sum(labels.get(key) != value for key, value in self.prefer_labels.items())
        return behind, shunned, missing, runner.created_at

    def settles_at(self, runner: Runner, snapshot: Snapshot) -> datetime | None:
        """With `preempt`, when the runner has been healthy for `stable_for`."""
        if not self.preempt:
            return None
        settles = self._stable_at(runner, snapshot)
        return settles if settles is not None and settles > snapshot.at else None

    def _stable_at(self, runner: Runner, snapshot: Snapshot) -> datetime | None:
        since = runner.healthy_since(snapshot.at)
        return None if since is None else since + self.stable_for


_STICKY = ("incumbent", "fewest-prefer-no-elect-taints", "preferred-labels", "oldest")
_PREEMPTING = ("steady", *_STICKY[1:])


class Policies:
    """Policies by name, so that a host can add its own.

    A factory takes the options of the group's settings, a JSON object without `name`, and raises
    [`Invalid`][election_core.Invalid] for options it does not know.
    """

    def __init__(self) -> None:
        self._factories: dict[str, Callable[[Mapping[str, object]], Policy]] = {}
        self._built: dict[int, tuple[PolicySpec, Policy]] = {}

    def register(self, name: str, factory: Callable[[Mapping[str, object]], Policy]) -> None:
        """Add a policy, or replace the one of that name."""
        self._factories[name] = factory
        self._built.clear()

    def of(self, settings: Settings) -> Policy:
        """The policy that a group's settings name.

        Raises:
            Invalid: No policy of that name is registered, or it refuses its options.
        """
        spec = settings.policy
        built = self._built.get(id(spec))
        if built is not None and built[0] is spec:
            return built[1]
        factory = self._factories.get(spec.name)
        if factory is None:
            known = ", ".join(sorted(self._factories))
            raise Invalid(
                f"policy.name: no policy {spec.name!r}; known: {known}", field="policy.name"
            )
        policy = factory(spec.options)
        if len(self._built) >= 4096:
            self._built.clear()
        self._built[id(spec)] = spec, policy
        return policy
