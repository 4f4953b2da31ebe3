"""The settings of a group as options of a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import update_wrapper
from typing import Concatenate, ParamSpec

import click
from attrs import frozen

from election_cli._arguments import key_values, read_json
from election_cli._durations import DURATION
from election_core import Effect, PolicySpec, encode

__all__ = ["Wanted", "settings_options", "toleration"]

P = ParamSpec("P")
_DAY = timedelta(days=1)


@frozen(kw_only=True)
class Wanted:
    """The settings that a command line names; ``None`` and ``()`` where it does not."""

    settings: str | None
    lease: timedelta | None
    heartbeat: timedelta | None
    handover_timeout: timedelta | None
    retry_backoff: timedelta | None
    retention: timedelta | None
    policy: str | None
    preempt: bool | None
    stable_for: timedelta | None
    prefer_label: tuple[str, ...]
    require_label: tuple[str, ...]
    tolerate: tuple[str, ...]

    @property
    def of_policy(self) -> bool:
        """Whether something of the policy is named."""
        return bool(self.policy or self._options())

    @property
    def nothing(self) -> bool:
        """Whether nothing is named at all."""
        return not self.document()

    def document(self, current: PolicySpec | None = None) -> dict[str, object]:
        """The settings in their JSON form: those of ``--settings`` with the other options' on top.

        Args:
            current: The group's policy, of which the options that are not named stay.

        Raises:
            click.UsageError: An option cannot be read.
        """
        found: dict[str, object] = {}
        if self.settings is not None:
            given = read_json(self.settings, "--settings")
            if not isinstance(given, dict):
                raise click.UsageError("--settings: a JSON object is wanted.")
            found.update(given)
        for name in ("lease", "heartbeat", "handover_timeout", "retry_backoff"):
            duration: timedelta | None = getattr(self, name)
            if duration is not None:
                found[f"{name}_seconds"] = duration.total_seconds()
        if self.retention is not None:
            found["retention_days"] = self.retention / _DAY
        if self.tolerate:
            found["tolerations"] = [toleration(text) for text in self.tolerate]
        if self.of_policy:
            found["policy"] = self._policy(found.get("policy"), current)
        return found

    def _policy(self, given: object, current: PolicySpec | None) -> dict[str, object]:
        start: dict[str, object] = {}
        if isinstance(given, dict):
            start = given
        elif current is not None and self.policy in (None, current.name):
            start = {"name": current.name, **_object(encode(current.options))}
        named = {} if self.policy is None else {"name": self.policy}
        return {**start, **named, **self._options()}

    def _options(self) -> dict[str, object]:
        found: dict[str, object] = {}
        if self.preempt is not None:
            found["preempt"] = self.preempt
        if self.stable_for is not None:
            found["stable_for_seconds"] = self.stable_for.total_seconds()
        if self.prefer_label:
            found["prefer_labels"] = key_values(self.prefer_label, "--prefer-label")
        if self.require_label:
            found["require_labels"] = key_values(self.require_label, "--require-label")
        return found


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def toleration(text: str) -> dict[str, object]:
    """A toleration from ``KEY[=VALUE][:EFFECT]``, as of Kubernetes; ``*`` is every key.

    Raises:
        click.UsageError: The effect is none.
    """
    rest, colon, effect = text.partition(":")
    key, equals, value = rest.partition("=")
    if colon and effect not in list(Effect):
        raise click.UsageError(f"--tolerate: one of {', '.join(Effect)} is wanted, not {effect!r}.")
    if not key:
        raise click.UsageError(f"--tolerate: KEY[=VALUE][:EFFECT] is wanted, not {text!r}.")
    found: dict[str, object] = {"operator": "equal", "value": value} if equals else {}
    found.setdefault("operator", "exists")
    if key != "*":
        found["key"] = key
    if colon:
        found["effect"] = effect
    return found


_OPTIONS = (
    click.option("--lease", type=DURATION, help="How long a silent leader is believed alive."),
    click.option(
        "--heartbeat", type=DURATION, help="How often runners renew; a third of the lease."
    ),
    click.option("--handover-timeout", type=DURATION, help="How long a leader may take to finish."),
    click.option("--policy", metavar="NAME", help="Who is preferred: oldest-active."),
    click.option("--preempt/--no-preempt", default=None, help="Let an older runner take over."),
    click.option("--stable-for", type=DURATION, help="Once it has been healthy for so long."),
    click.option("--prefer-label", metavar="KEY=VALUE", multiple=True, help="Prefer its bearers."),
    click.option("--require-label", metavar="KEY=VALUE", multiple=True, help="Elect none without."),
    click.option(
        "--tolerate",
        metavar="KEY[=VALUE][:EFFECT]",
        multiple=True,
        help="Taints that do not count here; * is every key.",
    ),
    click.option("--retry-backoff", type=DURATION, help="The wait before a failed job's next try."),
    click.option("--retention", type=DURATION, help="How long events and finished jobs are kept."),
    click.option(
        "--settings", metavar="JSON", help="All of it as JSON, @FILE, or - for standard input."
    ),
)


def settings_options(
    function: Callable[Concatenate[Wanted, P], None],
) -> Callable[..., None]:
    """Give a command the options of a group's settings, and what they say as ``wanted``."""

    def command(*args: object, **kwargs: object) -> None:
        wanted = Wanted(**{name: kwargs.pop(name) for name in _NAMES})  # type: ignore[arg-type]
        function(*args, wanted=wanted, **kwargs)  # type: ignore[arg-type]

    own = getattr(function, "__click_params__", [])
    update_wrapper(command, function)
    command.__click_params__ = list(own)  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        option(command)
    return command


_NAMES = tuple(Wanted.__annotations__)
