"""The calls about groups: their settings, their leader, their history."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta

from election_core import DecisionInfo, Event, GroupInfo, Leader, Page
from election_sdk._calls import Calls, given, seconds
from election_sdk._http import Call, path
from election_sdk._stream import follow

__all__ = ["GroupCalls"]

_GROUPS = "runner-groups"


class GroupCalls(Calls):
    """Groups, their leadership and their events."""

    async def create_group(
        self, group_id: str | None = None, *, settings: Mapping[str, object] | None = None
    ) -> GroupInfo:
        """Create a group, or get the one of that id if its settings are the same.

        Args:
            group_id: A slug; one is generated here if there is none, so that a repeated attempt
                makes no second group.
            settings: In their JSON form, e.g. ``{"lease_seconds": 5}``; what is left out has its
                default.

        Raises:
            ConflictError: It exists with other settings.
            Invalid: A setting is unknown or out of its range.
        """
        body = given(id=group_id or f"g-{secrets.token_hex(8)}", settings=settings)
        return await self._ask(Call(method="POST", path=path(_GROUPS), body=body), GroupInfo)

    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        """The groups, by id."""
        return await self._page(path(_GROUPS), Page[GroupInfo], cursor=cursor, limit=limit)

    async def group(self, group_id: str) -> GroupInfo:
        """One group.

        Raises:
            NotFound: There is none of that id.
        """
        return await self._ask(Call(method="GET", path=path(_GROUPS, group_id)), GroupInfo)

    async def update_group(self, group_id: str, settings: Mapping[str, object]) -> GroupInfo:
        """Replace the given settings, each as a whole; the others stay."""
        call = Call(method="PATCH", path=path(_GROUPS, group_id), body={"settings": settings})
        return await self._ask(call, GroupInfo)

    async def delete_group(self, group_id: str, *, force: bool = False) -> None:
        """Delete a group with its jobs and tokens; its epoch and barrier remain.

        Raises:
            ConflictError: Sessions are live, and it was not forced.
        """
        params = {"force": "true"} if force else {}
        await self._ask(Call(method="DELETE", path=path(_GROUPS, group_id), params=params))

    async def leader(self, group_id: str) -> Leader:
        """Who leads, since when and why.

        Raises:
            NoLeader: Nobody leads now.
        """
        return await self._ask(Call(method="GET", path=path(_GROUPS, group_id, "leader")), Leader)

    async def pin(
        self,
        group_id: str,
        runner_id: str,
        *,
        owner: str = "",
        reason: str = "",
        ttl: timedelta | None = None,
        immediate: bool = False,
        when_eligible: bool = False,
    ) -> DecisionInfo:
        """Choose the leader.

        Args:
            group_id: The group.
            runner_id: The runner that is to lead.
            owner: Who chooses.
            reason: Why.
            ttl: How long the pin lasts; until it is removed if there is none.
            immediate: Give the incumbent no time to finish.
            when_eligible: Accept a runner that cannot lead now; it leads once it can.

        Returns:
            The decision that the pin led to.

        Raises:
            NotEligible: The runner cannot lead now.
        """
        body = {
            "runner_id": runner_id,
            "owner": owner,
            "reason": reason,
            "immediate": immediate,
            "when_eligible": when_eligible,
            **given(ttl_seconds=seconds(ttl)),
        }
        return await self._put_leader(group_id, body)

    async def unpin(self, group_id: str) -> DecisionInfo:
        """Leave the choice to the policy again."""
        return await self._put_leader(group_id, {"runner_id": None})

    async def _put_leader(self, group_id: str, body: Mapping[str, object]) -> DecisionInfo:
        call = Call(method="PUT", path=path(_GROUPS, group_id, "leader"), body=body)
        return await self._ask(call, DecisionInfo, field="decision")

    async def explain(self, group_id: str) -> DecisionInfo:
        """The decision as it comes out now, with the ballot and its reasons."""
        call = Call(method="GET", path=path(_GROUPS, group_id, "explain"))
        return await self._ask(call, DecisionInfo)

    async def what_if(self, group_id: str, changes: Sequence[Mapping[str, object]]) -> DecisionInfo:
        """The decision that would come out after changes; nothing is written.

        Args:
            group_id: The group.
            changes: In their JSON form, e.g. ``{"lose": {"runner_id": "…"}}``.
        """
        body = {"changes": list(changes)}
        call = Call(method="POST", path=path(_GROUPS, group_id, "what-if"), body=body)
        return await self._ask(call, DecisionInfo)

    async def events(
        self, group_id: str, *, after: int | str | None = None, limit: int = 100
    ) -> Page[Event]:
        """What happened, in order, from the event behind `after`.

        Raises:
            CursorExpired: Events behind `after` are no longer kept.
        """
        where = path(_GROUPS, group_id, "events")
        return await self._page(where, Page[Event], after=after, limit=limit)

    def follow(self, group_id: str, *, after: int | None = None) -> AsyncGenerator[Event, None]:
        """What happens, while it happens; goes on where it was when the connection breaks.

        No event is missed and none comes twice. Without `after` it begins with the oldest event
        that is kept. Its connection is closed with the client; with `contextlib.aclosing`
        earlier.

        Raises:
            CursorExpired: Events behind the last one seen are no longer kept.
        """
        return self._opened(follow(self._http, path(_GROUPS, group_id, "events"), after))
