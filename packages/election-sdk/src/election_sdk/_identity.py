"""Who a runner is: registered before, or registering now."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence

from attrs import field, frozen

from election_core import ElectionError, Forbidden, NotFound, Unauthenticated
from election_sdk._client import Client
from election_sdk._log import log
from election_sdk._patience import until_answered
from election_sdk._state_file import StateFile

__all__ = ["Description", "Identity", "identify", "is_forgotten"]


@frozen(kw_only=True)
class Description:
    """What a runner tells of itself at registration."""

    group: str
    name: str
    platform: str | None = None
    labels: Mapping[str, str] | None = None
    version: str | None = None
    taints: Sequence[Mapping[str, object]] = ()

    @property
    def fingerprint(self) -> str:
        """The same for the same description."""
        told = [self.platform, self.labels, self.version, list(self.taints)]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@frozen(kw_only=True)
class Identity:
    """Who a runner is, and whether that was found out by registering just now."""

    runner_id: str
    token: str | None = field(repr=False)
    fresh: bool


async def identify(
    client: Client,
    description: Description,
    *,
    runner_id: str | None,
    token: str | None,
    join_token: str | None,
    state: StateFile | None,
    forget: bool = False,
) -> Identity:
    """Find out the runner's id, and the token to act with.

    What the state file remembers is used if it was registered with the same description; otherwise
    the runner is registered, with the ``join`` token if there is one. A given `runner_id` is taken
    as it is, with `token`.

    Args:
        client: Connections.
        description: What to tell.
        runner_id: Who it is, if that is known.
        token: A ``runner`` token for a known runner, or one that may register it.
        join_token: A token to register with.
        state: What is remembered.
        forget: Register whatever is remembered.

    Raises:
        ElectionError: The server refuses.
    """
    memory = None if state is None else state.memory
    known = runner_id or (memory.runner_id if memory is not None else None)
    registrar = join_token or token
    if runner_id is not None or registrar is None:
        if known is None:
            raise ValueError("a token, a join_token, or a runner_id with its token is needed")
        own = token or (memory.token if memory is not None else None)
        return Identity(runner_id=known, token=own, fresh=False)
    if (
        not forget
        and memory is not None
        and memory.runner_id is not None
        and memory.registered == description.fingerprint
    ):
        return Identity(runner_id=memory.runner_id, token=memory.token or token, fresh=False)
    try:
        return await _register(client, description, registrar, token, state)
    except Forbidden:
        if known is None or forget or join_token is not None:
            raise
        # It is the runner's own token, which may not tell anew what the runner is like.
        return Identity(runner_id=known, token=token, fresh=False)


async def _register(
    client: Client,
    description: Description,
    registrar: str,
    token: str | None,
    state: StateFile | None,
) -> Identity:
    key = secrets.token_hex(32) if state is None else state.memory.instance_key
    if state is not None:
        # Before the call: should its answer be lost with this process, the next one has the key.
        state.remember(instance_key=key)
    client.use_token(registrar)
    registration = await until_answered(
        lambda: client.register(
            description.group,
            description.name,
            platform=description.platform,
            labels=description.labels,
            version=description.version,
            taints=description.taints,
            instance_key=key,
        )
    )
    runner = registration.runner
    own = registration.token or token
    if state is not None:
        same = runner.id == state.memory.runner_id
        state.remember(
            runner_id=runner.id,
            token=own,
            registered=description.fingerprint,
            session_id=state.memory.session_id if same else None,
        )
    log.info("runner %s registered as %s", runner.name, runner.id)
    return Identity(runner_id=runner.id, token=own, fresh=True)


def is_forgotten(error: ElectionError) -> bool:
    """Whether an error says that what is remembered is no longer known to the server."""
    return isinstance(error, NotFound | Unauthenticated)
