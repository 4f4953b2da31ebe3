"""Runners, their taints and their drains."""

from __future__ import annotations

from collections.abc import Sequence

from election_core import (
    ConflictError,
    NewTaint,
    NotFound,
    OwnedByOther,
    Page,
    Registration,
    RunnerInfo,
    TokenKind,
)
from election_ctl_api._access import Access, mint_token
from election_ctl_api._answers import Reply, json_reply
from election_ctl_api._bodies import DrainIt, NewRunner, RemoveTaints
from election_ctl_api._operations import CURSOR, LIMIT, Call, Operation, operation

__all__ = ["OPERATIONS"]

_GROUP = "/v1/runner-groups/{group}/runners"
_RUNNER = "/v1/runners/{runner_id}"


@operation(
    "POST",
    _GROUP,
    access=Access.JOIN,
    answers={201: Registration, 200: Registration},
    errors=(NotFound, ConflictError),
).taking(NewRunner)
async def register_runner(call: Call, body: NewRunner) -> Reply:
    """Register a runner, or update the one of that name, with a fresh token for it.

    Earlier tokens stay valid. With a `join` token an existing runner is only given to who brings
    its `instance_key`.
    """
    joining = call.caller is not None and call.caller.token.kind is TokenKind.JOIN
    runner, created = await call.engine.register(
        call.path("group"),
        body.name,
        platform=body.platform,
        labels=body.labels,
        version=body.version,
        taints=body.taints or (),
        instance_key=body.instance_key,
        joining=joining,
        actor=call.actor,
    )
    secret, token = mint_token(TokenKind.RUNNER, group_id=runner.group_id, runner_id=runner.id)
    await call.store.add_token(token, ttl=None)
    answer = Registration(runner=runner, token=secret, created=created)
    return json_reply(answer, status=201 if created else 200)


@operation(
    "GET",
    _GROUP,
    access=Access.READ_GROUP,
    answers={200: Page[RunnerInfo]},
    errors=(NotFound,),
    parameters=(LIMIT, CURSOR),
)
async def list_runners(call: Call) -> object:
    """List the runners of a group, oldest first."""
    return await call.engine.runners(call.path("group"), cursor=call.cursor, limit=call.limit)


@operation("GET", _RUNNER, access=Access.READ_GROUP, answers={200: RunnerInfo}, errors=(NotFound,))
async def get_runner(call: Call) -> object:
    """Show a runner with its status, role and taints."""
    return await call.engine.runner(call.path("runner_id"))


@operation("DELETE", _RUNNER, access=Access.OPERATE, answers={204: None}, errors=(NotFound,))
async def delete_runner(call: Call) -> None:
    """Delete a runner; its session ends and, behind the barrier, its term."""
    await call.engine.delete_runner(call.path("runner_id"), actor=call.actor)


@operation(
    "POST",
    f"{_RUNNER}/taint",
    access=Access.OPERATE,
    answers={200: RunnerInfo},
    errors=(NotFound,),
).taking(NewTaint)
async def taint_runner(call: Call, body: NewTaint) -> object:
    """Taint a runner; without more said it cannot lead, and steps down if it does.

    A taint of the same key and owner replaces the earlier one.
    """
    return await call.engine.taint(call.path("runner_id"), body, actor=call.actor)


@operation(
    "POST",
    f"{_RUNNER}/untaint",
    access=Access.OPERATE,
    answers={200: RunnerInfo},
    errors=(NotFound, OwnedByOther),
).taking(RemoveTaints)
async def untaint_runner(call: Call, body: RemoveTaints) -> object:
    """Remove taints of a runner: those of the owner and those that have none."""
    return await call.engine.untaint(
        call.path("runner_id"),
        key=body.key,
        owner=body.owner,
        force=body.force,
        actor=call.actor,
    )


@operation(
    "POST",
    f"{_RUNNER}/drain",
    access=Access.OPERATE,
    answers={200: RunnerInfo},
    errors=(NotFound,),
).taking(DrainIt)
async def drain_runner(call: Call, body: DrainIt) -> object:
    """Drain a runner: it takes no new work and hands leadership over.

    It lasts until it is undrained, restarts included; jobs addressed to the runner go on.
    """
    return await call.engine.drain(
        call.path("runner_id"), reason=body.reason, timeout=body.timeout, actor=call.actor
    )


@operation(
    "POST",
    f"{_RUNNER}/undrain",
    access=Access.OPERATE,
    answers={200: RunnerInfo},
    errors=(NotFound,),
).taking(DrainIt)
async def undrain_runner(call: Call, body: DrainIt) -> object:
    """End a drain."""
    return await call.engine.undrain(call.path("runner_id"), actor=call.actor)


OPERATIONS: Sequence[Operation] = (
    register_runner,
    list_runners,
    get_runner,
    delete_runner,
    taint_runner,
    untaint_runner,
    drain_runner,
    undrain_runner,
)
