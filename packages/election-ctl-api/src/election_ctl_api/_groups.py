"""Runner groups and their leaders."""

from __future__ import annotations

from collections.abc import Sequence

from election_core import (
    ConflictError,
    DecisionInfo,
    GroupInfo,
    Invalid,
    Leader,
    NoLeader,
    NotEligible,
    NotFound,
    Page,
    Settings,
    Unpin,
)
from election_ctl_api._access import Access
from election_ctl_api._answers import Reply, json_reply
from election_ctl_api._bodies import Accepted, ChangeLeader, GroupPatch, NewGroup, Suppositions
from election_ctl_api._operations import CURSOR, LIMIT, Call, Operation, Parameter, operation

__all__ = ["OPERATIONS"]

_GROUP = "/v1/runner-groups/{group}"
_FORCE = Parameter(
    name="force", type=bool, description="Delete it although sessions live.", example=True
)


@operation(
    "POST",
    "/v1/runner-groups",
    access=Access.OPERATE,
    answers={201: GroupInfo, 200: GroupInfo},
    errors=(ConflictError,),
).taking(NewGroup)
async def create_group(call: Call, body: NewGroup) -> Reply:
    """Create a runner group.

    200 if it exists with the same settings. The id of a deleted group goes on from its last epoch.
    """
    settings = Settings() if body.settings is None else body.settings
    group, created = await call.engine.create_group(body.id, settings, actor=call.actor)
    return json_reply(group, status=201 if created else 200)


@operation(
    "GET",
    "/v1/runner-groups",
    access=Access.READ,
    answers={200: Page[GroupInfo]},
    parameters=(LIMIT, CURSOR),
)
async def list_groups(call: Call) -> object:
    """List the runner groups, by id."""
    return await call.engine.groups(cursor=call.cursor, limit=call.limit)


@operation("GET", _GROUP, access=Access.READ_GROUP, answers={200: GroupInfo}, errors=(NotFound,))
async def get_group(call: Call) -> object:
    """Show a runner group.

    `leader_runner_id` is null from the end of the leader's lease until another is elected.
    """
    return await call.engine.group(call.path("group"))


@operation(
    "PATCH", _GROUP, access=Access.OPERATE, answers={200: GroupInfo}, errors=(NotFound,)
).taking(GroupPatch)
async def update_group(call: Call, body: GroupPatch) -> object:
    """Change settings of a runner group.

    They are merged at the top level; a new lease length applies from the next renewal.
    """
    return await call.engine.update_group(call.path("group"), body.settings, actor=call.actor)


@operation(
    "DELETE",
    _GROUP,
    access=Access.OPERATE,
    answers={204: None},
    errors=(NotFound, ConflictError),
    parameters=(_FORCE,),
)
async def delete_group(call: Call) -> None:
    """Delete a runner group with its runners, jobs and tokens.

    Its last epoch and barrier are kept. 409 while sessions live, unless forced.
    """
    group_id = call.path("group")
    await call.engine.delete_group(group_id, force=_flag(call, "force"), actor=call.actor)
    call.engine.tokens_revoked()


def _flag(call: Call, name: str) -> bool:
    """Whether a parameter is there, with or without the value ``true``."""
    match call.query.get(name, "false").lower():
        case "" | "true" | "1":
            return True
        case "false" | "0":
            return False
        case _:
            raise Invalid(f"{name}: true or false is wanted", field=name)


@operation(
    "GET",
    f"{_GROUP}/leader",
    access=Access.READ_GROUP,
    answers={200: Leader},
    errors=(NotFound, NoLeader),
)
async def get_leader(call: Call) -> object:
    """Show who leads a runner group, since when and why."""
    return await call.engine.leader(call.path("group"))


@operation(
    "PUT",
    f"{_GROUP}/leader",
    access=Access.OPERATE,
    answers={202: Accepted},
    errors=(NotFound, NotEligible),
).taking(ChangeLeader)
async def change_leader(call: Call, body: ChangeLeader) -> Reply:
    """Choose the leader, or leave the choice to the policy again.

    The choice outlives elections; while the runner cannot lead, the policy decides.
    """
    group_id = call.path("group")
    command = body.command()
    if isinstance(command, Unpin):
        decision = await call.engine.unpin(group_id, actor=call.actor)
    else:
        decision = await call.engine.pin(group_id, command, actor=call.actor)
    return json_reply({"status": "accepted", "decision": decision}, status=202)


@operation(
    "GET",
    f"{_GROUP}/explain",
    access=Access.READ_GROUP,
    answers={200: DecisionInfo},
    errors=(NotFound,),
)
async def explain(call: Call) -> object:
    """Explain who leads, or would, and why, with the ballot in order of preference."""
    return await call.engine.explain(call.path("group"))


@operation(
    "POST",
    f"{_GROUP}/what-if",
    access=Access.READ_GROUP,
    answers={200: DecisionInfo},
    errors=(NotFound, NotEligible),
).taking(Suppositions)
async def what_if(call: Call, body: Suppositions) -> object:
    """Tell the decision that would come out if these changes were made together.

    Nothing is written.
    """
    return await call.engine.what_if(call.path("group"), body.commands())


OPERATIONS: Sequence[Operation] = (
    create_group,
    list_groups,
    get_group,
    update_group,
    delete_group,
    get_leader,
    change_leader,
    explain,
    what_if,
)
