"""The engine's calls about runners."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta

from election_core._commands import (
    Command,
    DeleteRunner,
    DrainRunner,
    NewTaint,
    RegisterRunner,
    TaintRunner,
    Undrain,
    Untaint,
)
from election_core._errors import NotFound
from election_core._names import named
from election_core._views import Page, RunnerInfo, runner_info
from election_core.engine._base import EngineBase, new_id

__all__ = ["RunnerCalls"]


class RunnerCalls(EngineBase):
    """Registration, taints, drains."""

    async def register(
        self,
        group_id: str,
        name: str,
        *,
        platform: str | None = None,
        labels: Mapping[str, str] | None = None,
        version: str | None = None,
        taints: Sequence[NewTaint] = (),
        instance_key: str | None = None,
        joining: bool = False,
        actor: str = "",
    ) -> tuple[RunnerInfo, bool]:
        """Register a runner, or update the labels and version of the one of that name.

        Args:
            group_id: Its group.
            name: Unique in the group.
            platform: What it runs on.
            labels: What policies may select and prefer by.
            version: Of its program.
            taints: For a new runner.
            instance_key: A secret of the instance, by which it proves later that it is the same.
            joining: Whether an existing runner is only given to who brings its instance key.
            actor: Who asks.

        Returns:
            The runner, and whether this call created it.

        Raises:
            NotFound: There is no such group.
            Invalid: The name, or the key of a taint, is empty or too long.
            ConflictError: The name is taken and the instance key is not the runner's.
        """
        digest = None
        if instance_key is not None:
            digest = hashlib.sha256(named(instance_key, "instance_key").encode()).hexdigest()
        command = RegisterRunner(
            runner_id=new_id("runner"),
            name=named(name, "name"),
            platform=platform,
            labels=labels,
            version=version,
            taints=tuple(taints),
            instance_key_hash=digest,
            joining=joining,
        )
        planned = await self._commits.carry_out(group_id, command, actor=actor)
        for runner in planned.after.runners:
            if runner.name == name:
                return runner_info(runner, planned.after.at), runner.id == command.runner_id
        raise NotFound(f"no runner {name!r}")

    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        """The runners of a group, oldest first.

        Raises:
            NotFound: There is no such group.
            Invalid: The cursor is malformed.
        """
        return await self.store.runners(group_id, cursor=cursor, limit=limit)

    async def runner(self, runner_id: str) -> RunnerInfo:
        """A runner.

        Raises:
            NotFound: There is none of that id.
        """
        return await self.store.find_runner(runner_id)

    async def delete_runner(self, runner_id: str, *, actor: str = "") -> None:
        """Delete a runner. A term of its own ends behind the barrier.

        Raises:
            NotFound: There is none of that id.
        """
        group_id = await self._group_of(runner_id)
        await self._commits.carry_out(group_id, DeleteRunner(runner_id=runner_id), actor=actor)

    async def taint(self, runner_id: str, taint: NewTaint, *, actor: str = "") -> RunnerInfo:
        """Taint a runner; a taint of the same key and owner is replaced.

        Raises:
            NotFound: There is no such runner.
            Invalid: The key is empty or too long.
        """
        return await self._told(runner_id, TaintRunner(runner_id=runner_id, taint=taint), actor)

    async def untaint(
        self,
        runner_id: str,
        *,
        key: str | None = None,
        owner: str = "",
        force: bool = False,
        actor: str = "",
    ) -> RunnerInfo:
        """Remove taints: of one key or of all, those of the owner and those without one.

        Raises:
            NotFound: There is no such runner.
            OwnedByOther: Others alone hold the key, and it is not forced.
        """
        command = Untaint(runner_id=runner_id, key=key, owner=owner, force=force)
        return await self._told(runner_id, command, actor)

    async def drain(
        self,
        runner_id: str,
        *,
        reason: str = "",
        timeout: timedelta | None = None,
        actor: str = "",
    ) -> RunnerInfo:
        """Let a runner take no new work until it is undrained.

        Args:
            runner_id: Which.
            reason: For the history.
            timeout: Replaces the group's handover timeout for this handover.
            actor: Who asks.

        Raises:
            NotFound: There is no such runner.
        """
        command = DrainRunner(runner_id=runner_id, reason=reason, timeout=timeout)
        return await self._told(runner_id, command, actor)

    async def undrain(self, runner_id: str, *, actor: str = "") -> RunnerInfo:
        """End a drain.

        Raises:
            NotFound: There is no such runner.
        """
        return await self._told(runner_id, Undrain(runner_id=runner_id), actor)

    async def _told(self, runner_id: str, command: Command, actor: str) -> RunnerInfo:
        planned, runner = await self._on_runner(runner_id, command, actor)
        return runner_info(runner, planned.after.at)
