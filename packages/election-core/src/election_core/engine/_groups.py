"""The engine's calls about groups."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from election_core._commands import Command, Configure, DeleteGroup, PinLeader, Unpin
from election_core._elect import Decision, elect
from election_core._errors import Conflict, ConflictError, NoLeader, NotFound
from election_core._events import Event, EventKind
from election_core._plan import create_group, what_if
from election_core._settings import check_group_id, check_settings, merge_settings, same_settings
from election_core._state import Settings, Snapshot
from election_core._views import GroupInfo, Leader, Page, group_info, runner_info
from election_core.engine._base import EngineBase, new_id

__all__ = ["GroupCalls"]


class GroupCalls(EngineBase):
    """Groups, their leaders and their history."""

    async def create_group(
        self, group_id: str | None = None, settings: Settings | None = None, *, actor: str = ""
    ) -> tuple[GroupInfo, bool]:
        """Create a group, or find the one of that id with the same settings.

        Returns:
            The group, and whether this call created it.

        Raises:
            Invalid: The id is no slug, or the settings are wrong.
            ConflictError: A group of that id has other settings.
        """
        group_id = new_id("group") if group_id is None else check_group_id(group_id)
        settings = check_settings(settings or Settings(), self.policies)
        while True:
            found = await self._remains(group_id)
            if found is not None and found.group.deleted_at is None:
                if not same_settings(found.group.settings, settings):
                    raise ConflictError(
                        f"group {group_id!r} exists with other settings; change them with PATCH"
                    )
                return _info(found), False
            # Nothing to load yet: any answer of the store tells its time.
            at = found.at if found is not None else (await self.store.due(0)).at
            remains = None if found is None else found.group
            changes = create_group(group_id, settings, at=at, remains=remains, actor=actor)
            revision = 0 if found is None else found.revision
            try:
                await self._commits.commit(changes, expected_revision=revision)
            except Conflict:
                continue
            return group_info(changes.group, None, at), True

    async def _remains(self, group_id: str) -> Snapshot | None:
        try:
            return await self.store.load(group_id)
        except NotFound:
            return None

    async def group(self, group_id: str) -> GroupInfo:
        """A group.

        Raises:
            NotFound: There is none of that id.
        """
        return _info(await self._commits.load(group_id))

    async def groups(self, *, cursor: str | None = None, limit: int = 100) -> Page[GroupInfo]:
        """The groups by id.

        Raises:
            Invalid: The cursor is malformed.
        """
        return await self.store.groups(cursor=cursor, limit=limit)

    async def update_group(
        self, group_id: str, patch: Mapping[str, object], *, actor: str = ""
    ) -> GroupInfo:
        """Replace the given settings, which are in their JSON form.

        Raises:
            NotFound: There is no such group.
            Invalid: A setting is unknown or out of its range.
        """

        def configure(snapshot: Snapshot) -> Command:
            merged = merge_settings(snapshot.group.settings, patch)
            return Configure(settings=check_settings(merged, self.policies))

        return _info((await self._commits.carry_out(group_id, configure, actor=actor)).after)

    async def delete_group(self, group_id: str, *, force: bool = False, actor: str = "") -> None:
        """Delete a group with its runners, jobs and tokens; its epoch and barrier remain.

        Raises:
            NotFound: There is no such group.
            ConflictError: Sessions are live, and it is not forced.
        """
        await self._commits.carry_out(group_id, DeleteGroup(force=force), actor=actor)

    async def leader(self, group_id: str) -> Leader:
        """Who leads, and why.

        Raises:
            NotFound: There is no such group.
            NoLeader: Nobody does now.
        """
        snapshot = await self._commits.load(group_id)
        term, holder = snapshot.group.term, snapshot.incumbent
        session = None if holder is None else holder.session
        ends = None if session is None else session.term_expires_at
        if term is None or holder is None or ends is None or ends <= snapshot.at:
            raise NoLeader(
                f"group {group_id!r} has no leader now", current_epoch=snapshot.group.epoch
            )
        return Leader(
            runner=runner_info(holder, snapshot.at),
            epoch=term.epoch,
            session_id=term.session_id,
            elected_at=term.elected_at,
            lease_expires_at=ends,
            reason=term.reason,
            kind=term.kind.value,
        )

    async def pin(self, group_id: str, command: PinLeader, *, actor: str = "") -> Decision:
        """Choose the leader.

        Raises:
            NotFound: There is no such group, or the runner is not in it.
            NotEligible: It cannot lead now, and the pin is not for when it can.
        """
        return (await self._commits.carry_out(group_id, command, actor=actor)).decision

    async def unpin(self, group_id: str, *, actor: str = "") -> Decision:
        """Leave the choice to the policy again.

        Raises:
            NotFound: There is no such group.
        """
        return (await self._commits.carry_out(group_id, Unpin(), actor=actor)).decision

    async def explain(self, group_id: str) -> Decision:
        """The decision as it comes out now, with its ballot; nothing is written.

        Raises:
            NotFound: There is no such group.
        """
        snapshot = await self._commits.load(group_id)
        return elect(snapshot, self.policies.of(snapshot.group.settings))

    async def what_if(self, group_id: str, commands: Sequence[Command]) -> Decision:
        """The decision that would come out at once if all this were done; nothing is written.

        Raises:
            NotFound: There is no such group, or a runner is not in it.
            ElectionError: A command would be refused.
        """
        snapshot = await self._commits.load(group_id)
        return what_if(snapshot, commands, self.policies.of(snapshot.group.settings))

    async def events(
        self, group_id: str | None, *, after: int | None = None, limit: int = 100
    ) -> list[Event]:
        """The history of a group, or of all, from behind `after`.

        Raises:
            NotFound: There is no such group.
            CursorExpired: Events behind `after` are not kept any more.
        """
        if group_id is not None:
            await self._commits.load(group_id)
        return await self.store.events(group_id, after=after, limit=limit)

    async def follow(
        self, group_id: str | None, *, after: int | None = None
    ) -> AsyncIterator[Event]:
        """The history from behind `after`, or from its beginning, and then what happens.

        Ends when the group is deleted, with the event that says so, or when the engine stops
        waiting.

        Raises:
            NotFound: There is no such group.
            CursorExpired: Events behind `after` are not kept any more.
        """
        with self._wakeups.listen(("events", group_id or "*")) as news:
            page = await self.events(group_id, after=after)
            over = False
            while page or not (over or self._wakeups.stopped):
                for event in page:
                    yield event
                    after = event.id
                    over = group_id is not None and event.kind == EventKind.GROUP_DELETED
                if not (page or over):
                    await news.wait(self._tick)
                page = await self.store.events(group_id, after=after)


def _info(snapshot: Snapshot) -> GroupInfo:
    holder = snapshot.incumbent
    session = None if holder is None else holder.session
    return group_info(
        snapshot.group, None if session is None else session.term_expires_at, snapshot.at
    )
