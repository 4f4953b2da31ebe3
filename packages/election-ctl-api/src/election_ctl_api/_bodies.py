"""The bodies of requests, and the few answers that the core has no type for.

Names on the wire follow the core's codec: a :class:`~datetime.timedelta` field ``ttl`` is
``ttl_seconds``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from attrs import asdict, fields, frozen, has

from election_core import (
    ClaimedJob,
    Command,
    DecisionInfo,
    DrainRunner,
    Invalid,
    JobOutcome,
    LoseRunner,
    NewTaint,
    PinLeader,
    Settings,
    TaintRunner,
    Token,
    TokenKind,
    Undrain,
    Unpin,
    Untaint,
)

__all__ = [
    "Accepted",
    "ChangeLeader",
    "ClaimJobs",
    "ClaimedJobs",
    "DrainIt",
    "GroupPatch",
    "Health",
    "HeartBeat",
    "IssuedToken",
    "NewGroup",
    "NewRunner",
    "NewSession",
    "NewToken",
    "NoFields",
    "ReleaseEpoch",
    "RemoveTaints",
    "SettleJob",
    "SupposedTaint",
    "Supposition",
    "Suppositions",
    "check_durations",
    "issued",
]


@frozen(kw_only=True)
class NoFields:
    """A body that has nothing to say."""


def check_durations(value: object, path: str = "") -> None:
    """Check that what is to last does, and that nobody is given less than no time.

    Raises:
        Invalid: A ``ttl`` is not more than 0, or a ``timeout`` less.
    """
    if isinstance(value, tuple):
        for index, inner in enumerate(value):
            check_durations(inner, f"{path}[{index}]")
    elif has(cls := type(value)):
        for attribute in fields(cls):
            name = f"{path}.{attribute.name}".removeprefix(".")
            inner = getattr(value, attribute.name)
            if not isinstance(inner, timedelta):
                check_durations(inner, name)
            elif attribute.name == "ttl" and inner <= timedelta():
                raise Invalid(f"{name}_seconds: more than 0 is wanted", field=f"{name}_seconds")
            elif attribute.name == "timeout" and inner < timedelta():
                raise Invalid(f"{name}_seconds: 0 or more is wanted", field=f"{name}_seconds")


# Groups.


@frozen(kw_only=True)
class NewGroup:
    """A group to create."""

    id: str | None = None
    """A slug of the caller's choice; one is generated without it."""
    settings: Settings | None = None
    """The defaults apply to what is left out."""


@frozen(kw_only=True)
class GroupPatch:
    """Settings to change."""

    settings: Mapping[str, object]
    """Merged into the current ones at the top level."""


@frozen(kw_only=True)
class ChangeLeader:
    """A person's choice of leader."""

    runner_id: str | None
    """Who is to lead; ``null`` leaves the choice to the policy again."""
    owner: str = ""
    """Who says so."""
    reason: str = ""
    ttl: timedelta | None = None
    """How long the choice stands; for good without it."""
    immediate: bool = False
    """The leader of now has no time to finish."""
    when_eligible: bool = False
    """Accept a runner that cannot lead yet."""

    def command(self) -> PinLeader | Unpin:
        """The command that it amounts to."""
        if self.runner_id is None:
            return Unpin()
        return PinLeader(
            runner_id=self.runner_id,
            owner=self.owner,
            reason=self.reason,
            ttl=self.ttl,
            immediate=self.immediate,
            when_eligible=self.when_eligible,
        )


@frozen(kw_only=True)
class SupposedTaint(NewTaint):
    """A taint that a runner might have."""

    runner_id: str


@frozen(kw_only=True)
class Supposition:
    """One change to suppose: exactly one of the fields."""

    taint: SupposedTaint | None = None
    untaint: Untaint | None = None
    pin: ChangeLeader | None = None
    unpin: NoFields | None = None
    lose: LoseRunner | None = None
    """The runner's lease is over."""
    drain: DrainRunner | None = None
    undrain: Undrain | None = None

    def command(self, path: str) -> Command:
        """The command that it amounts to.

        Raises:
            Invalid: None of the fields is given, or more than one.
        """
        commands: list[Command] = [
            command
            for command in (self.untaint, self.lose, self.drain, self.undrain)
            if command is not None
        ]
        if self.taint is not None:
            commands.append(_taint(self.taint))
        if self.pin is not None:
            commands.append(self.pin.command())
        if self.unpin is not None:
            commands.append(Unpin())
        if len(commands) != 1:
            raise Invalid(
                f"{path}: exactly one of {', '.join(_CHANGES)} is wanted",
                field=path,
            )
        return commands[0]


_CHANGES = tuple(change.name for change in fields(Supposition))


def _taint(supposed: SupposedTaint) -> TaintRunner:
    return TaintRunner(
        runner_id=supposed.runner_id,
        taint=NewTaint(
            key=supposed.key,
            value=supposed.value,
            effect=supposed.effect,
            owner=supposed.owner,
            reason=supposed.reason,
            ttl=supposed.ttl,
        ),
    )


@frozen(kw_only=True)
class Suppositions:
    """Changes to suppose together."""

    changes: tuple[Supposition, ...]

    def commands(self) -> list[Command]:
        """The commands that they amount to.

        Raises:
            Invalid: One of them does not name exactly one change.
        """
        return [change.command(f"changes[{index}]") for index, change in enumerate(self.changes)]


@frozen(kw_only=True)
class Accepted:
    """The answer to a choice of leader."""

    status: str = "accepted"
    decision: DecisionInfo


# Runners.


@frozen(kw_only=True)
class NewRunner:
    """A runner to register, or what is new about the one of that name."""

    name: str
    platform: str | None = None
    labels: Mapping[str, str] | None = None
    version: str | None = None
    taints: tuple[NewTaint, ...] | None = None
    """Of a new runner; those of an existing one are never touched."""
    instance_key: str | None = None
    """A secret of the runner's own, by which it gets its registration again with a join token."""


@frozen(kw_only=True)
class RemoveTaints:
    """Which taints to remove."""

    key: str | None = None
    """Those of this key; of every key without it."""
    owner: str = ""
    force: bool = False
    """Whoever owns them."""


@frozen(kw_only=True)
class DrainIt:
    """A drain."""

    reason: str = ""
    timeout: timedelta | None = None
    """Replaces the group's handover timeout for this handover."""


# Sessions.


@frozen(kw_only=True)
class NewSession:
    """A session to open."""

    session_key: str
    """The caller's key: the same key again is the same session."""
    previous_session_id: str | None = None
    """Asserts that everything that acted under that session is gone."""
    version: str | None = None
    ready: bool | None = None
    """True unless said otherwise."""


@frozen(kw_only=True)
class HeartBeat:
    """A renewal."""

    session_id: str
    seq: int | None = None
    """A lower one than the last changes nothing."""
    ready: bool | None = None
    """Left as it is without it."""
    seen: int | None = None
    """The ``standing_version`` that the runner knows; a waiting call answers on anything newer."""


@frozen(kw_only=True)
class ReleaseEpoch:
    """Leadership to give up."""

    session_id: str
    epoch: int
    reason: str | None = None


# Jobs.


@frozen(kw_only=True)
class ClaimJobs:
    """Jobs that are asked for."""

    session_id: str
    claim_id: str
    """The caller's key of this claim: the same again is answered with the same jobs."""
    epoch: int | None = None
    """The epoch it leads under; without it only jobs addressed to this runner."""
    limit: int | None = None
    """How many at most: 1 to 500, 1 unless said otherwise."""


@frozen(kw_only=True)
class ClaimedJobs:
    """The answer to a claim."""

    items: tuple[ClaimedJob, ...] = ()


@frozen(kw_only=True)
class SettleJob:
    """What the holder of a claim says of it."""

    claim_token: str
    outcome: JobOutcome
    result: object = None
    error: str | None = None
    retry: bool | None = None
    """Whether a failed attempt may be repeated while attempts remain; true by default."""


# Tokens and service.


@frozen(kw_only=True)
class NewToken:
    """A token to make."""

    kind: TokenKind
    group_id: str | None = None
    """The group of a join token."""
    runner_id: str | None = None
    """The runner of a runner token."""
    ttl: timedelta | None = None
    """How long it is valid; for good without it."""


@frozen(kw_only=True)
class IssuedToken(Token):
    """A token with its secret, which is shown this once."""

    token: str


def issued(token: Token, secret: str) -> IssuedToken:
    """The token with its secret."""
    return IssuedToken(**asdict(token, recurse=False), token=secret)


@frozen(kw_only=True)
class Health:
    """Whether the service is well."""

    status: str = "ok"
