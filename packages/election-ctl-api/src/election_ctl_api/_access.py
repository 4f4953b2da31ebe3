"""Who may call what: bearer tokens, their kinds, and one table of what each kind reaches.

A token is 256 random bits. Only its SHA-256 digest is kept, and it is found by that digest: nobody
can choose digests, so how long a look-up takes tells nothing about a secret.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import anyio
from attrs import frozen

from election_core import Forbidden, NotFound, Token, TokenKind, Unauthenticated
from election_core.ports import StoredToken
from election_ctl_api._store import ControlStore

__all__ = [
    "GRANTS",
    "SECRET_PREFIX",
    "Access",
    "Caller",
    "Gate",
    "Reach",
    "digest_of",
    "mint_token",
]

SECRET_PREFIX = "elt_"  # noqa: S105 - what secrets begin with, not one
"""What every token begins with, so that people and scanners recognise one."""

_MOST_CACHED = 65536
_MOST_ASKED_AT_ONCE = 4
"""How many look-ups the store has in hand, or a fleet that starts would keep it from all else."""


class Access(StrEnum):
    """What a route asks of its caller."""

    PUBLIC = "public"
    """Nothing."""
    OPERATE = "operate"
    """To change or see anything."""
    READ = "read"
    """To read what is not of one group."""
    READ_GROUP = "read-group"
    """To read the group of the path, or that of its runner or job."""
    JOIN = "join"
    """To register runners in the group of the path."""
    ACT = "act"
    """To act as the runner of the path."""
    SETTLE = "settle"
    """To settle a claim; its own token decides the rest."""


class Reach(StrEnum):
    """How far a grant goes."""

    ALL = "all"
    OWN_GROUP = "own-group"
    OWN_RUNNER = "own-runner"


GRANTS: Mapping[Access, Mapping[TokenKind, Reach]] = {
    Access.PUBLIC: {},
    Access.OPERATE: {TokenKind.OPERATOR: Reach.ALL},
    Access.READ: {TokenKind.OPERATOR: Reach.ALL, TokenKind.VIEWER: Reach.ALL},
    Access.READ_GROUP: {
        TokenKind.OPERATOR: Reach.ALL,
        TokenKind.VIEWER: Reach.ALL,
        TokenKind.RUNNER: Reach.OWN_GROUP,
    },
    Access.JOIN: {TokenKind.OPERATOR: Reach.ALL, TokenKind.JOIN: Reach.OWN_GROUP},
    Access.ACT: {TokenKind.OPERATOR: Reach.ALL, TokenKind.RUNNER: Reach.OWN_RUNNER},
    Access.SETTLE: {TokenKind.OPERATOR: Reach.ALL, TokenKind.RUNNER: Reach.ALL},
}
"""What each kind of token may do. What is not here is forbidden."""


@frozen(kw_only=True)
class Caller:
    """Who calls."""

    token: Token

    @property
    def actor(self) -> str:
        """How the history names them: a runner by its own id, others by their token's."""
        token = self.token
        if token.kind is TokenKind.RUNNER:
            return f"runner:{token.runner_id}"
        return f"{token.kind.value}:{token.id}"


def digest_of(secret: str) -> bytes:
    """What the store keeps of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def mint_token(
    kind: TokenKind, *, group_id: str | None = None, runner_id: str | None = None
) -> tuple[str, StoredToken]:
    """A fresh secret, and the token to keep for it."""
    secret = SECRET_PREFIX + secrets.token_urlsafe(32)
    token = Token(
        id=f"tok-{secrets.token_hex(8)}",
        kind=kind,
        group_id=group_id,
        runner_id=runner_id,
        created_at=datetime.min.replace(tzinfo=UTC),  # the store's time is put in by the store
    )
    return secret, StoredToken(token=token, digest=digest_of(secret))


class Gate:
    """Lets callers in.

    Tokens that do not expire are remembered for a short while, so that a heartbeat need not ask the
    store. When one is revoked all are forgotten, here at once and in other replicas as soon as they
    hear of it; should they not, `remembered` is the longest they go on.

    Args:
        store: Where tokens, runners and jobs are looked up.
        news: Rises whenever a token may have been revoked.
        remembered: How long a token is remembered.
    """

    def __init__(
        self,
        store: ControlStore,
        *,
        news: Callable[[], int] = lambda: 0,
        remembered: timedelta = timedelta(seconds=60),
    ) -> None:
        self._store = store
        self._news = news
        self._heard = 0
        self._remembered = remembered.total_seconds()
        self._asking = anyio.CapacityLimiter(_MOST_ASKED_AT_ONCE)
        self._cache: dict[bytes, tuple[Caller, float]] = {}

    async def caller(self, authorization: str | None) -> Caller:
        """Who presents this ``Authorization`` header.

        Raises:
            Unauthenticated: It is missing, malformed, unknown, revoked or expired.
        """
        scheme, _, secret = (authorization or "").strip().partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise Unauthenticated("a token is wanted: Authorization: Bearer …")
        digest = digest_of(secret)
        heard = self._news()
        if heard != self._heard:
            self._heard = heard
            self._cache.clear()
        known = self._cache.get(digest)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        async with self._asking:
            token = await self._store.find_token(digest)
        if token is None:
            raise Unauthenticated("the token is unknown, revoked or expired")
        caller = Caller(token=token)
        # One that was revoked meanwhile must not come back.
        if token.expires_at is None and heard == self._news():
            if len(self._cache) >= _MOST_CACHED:
                self._cache.clear()
            self._cache[digest] = caller, time.monotonic() + self._remembered
        return caller

    async def admit(self, caller: Caller, access: Access, path: Mapping[str, str]) -> None:
        """Check that a caller may make a call.

        Args:
            caller: Who calls.
            access: What the route asks.
            path: The path's parameters; ``group``, ``runner_id`` or ``job_id`` is what is reached
                for.

        Raises:
            Forbidden: The token does not allow it.
            NotFound: What is reached for does not exist, so it belongs to no group.
        """
        token = caller.token
        reach = GRANTS[access].get(token.kind)
        match reach:
            case Reach.ALL:
                return
            case None:
                raise Forbidden(f"a {token.kind.value} token does not allow this")
            case Reach.OWN_RUNNER:
                if token.runner_id is None or path.get("runner_id") != token.runner_id:
                    raise Forbidden("this token is another runner's")
            case Reach.OWN_GROUP:
                await self._own_group(token, path)

    async def _own_group(self, token: Token, path: Mapping[str, str]) -> None:
        group_id = token.group_id
        if token.kind is TokenKind.RUNNER:
            # A deleted runner keeps its token, to be told that its session ended, and nothing more.
            try:
                group_id = (await self._store.find_runner(token.runner_id or "")).group_id
            except NotFound:
                raise Forbidden("this token's runner was deleted") from None
        wanted = path.get("group")
        if wanted is None and "runner_id" in path:
            wanted = (await self._store.find_runner(path["runner_id"])).group_id
        elif wanted is None and "job_id" in path:
            wanted = (await self._store.job(path["job_id"])).group_id
        if group_id is None or wanted != group_id:
            raise Forbidden("this token is another group's")
