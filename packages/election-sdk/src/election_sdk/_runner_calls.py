"""The calls about runners: their registration, their marks, and what a session says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from attrs import evolve

from election_core import Page, Registration, RunnerInfo, Standing
from election_sdk._calls import Calls, given, seconds, wait_header
from election_sdk._http import Call, path

__all__ = ["RunnerCalls"]


class RunnerCalls(Calls):
    """Runners and their sessions."""

    async def register(
        self,
        group_id: str,
        name: str,
        *,
        platform: str | None = None,
        labels: Mapping[str, str] | None = None,
        version: str | None = None,
        taints: Sequence[Mapping[str, object]] = (),
        instance_key: str | None = None,
    ) -> Registration:
        """Register a runner, or update the one of that name.

        Args:
            group_id: Its group.
            name: Unique in the group.
            platform: Where it runs.
            labels: What policies may select by.
            version: Of its program.
            taints: It starts with; in the form of `taint`. Ignored for one that exists.
            instance_key: A secret of the caller, by which a ``join`` token gets its runner back.

        Returns:
            The runner, and a fresh token for it.

        Raises:
            ConflictError: The name is taken, and the token and the instance key do not allow to
                take it over.
        """
        body = {
            "name": name,
            "taints": [dict(taint) for taint in taints],
            **given(
                platform=platform,
                labels=None if labels is None else dict(labels),
                version=version,
                instance_key=instance_key,
            ),
        }
        call = Call(method="POST", path=path("runner-groups", group_id, "runners"), body=body)
        response = await self._http.send(call, retries=self._retries)
        assert response is not None  # noqa: S101 - only deletions may find nothing
        registration = self._http.read(Registration, response, call)
        return evolve(registration, created=response.status_code == 201)

    async def runners(
        self, group_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> Page[RunnerInfo]:
        """The runners of a group, oldest first."""
        where = path("runner-groups", group_id, "runners")
        return await self._page(where, Page[RunnerInfo], cursor=cursor, limit=limit)

    async def runner(self, runner_id: str) -> RunnerInfo:
        """One runner.

        Raises:
            NotFound: There is none of that id.
        """
        return await self._ask(Call(method="GET", path=path("runners", runner_id)), RunnerInfo)

    async def delete_runner(self, runner_id: str) -> None:
        """Delete a runner; its session ends, and a term of its own ends behind the barrier."""
        await self._ask(Call(method="DELETE", path=path("runners", runner_id)))

    async def taint(
        self,
        runner_id: str,
        *,
        key: str | None = None,
        value: str | None = None,
        effect: str | None = None,
        owner: str | None = None,
        reason: str | None = None,
        ttl: timedelta | None = None,
    ) -> RunnerInfo:
        """Taint a runner: with the key ``manual`` and the effect ``no-lead`` unless chosen.

        A taint of the same key and owner is replaced.
        """
        body = given(
            key=key,
            value=value,
            effect=effect,
            owner=owner,
            reason=reason,
            ttl_seconds=seconds(ttl),
        )
        return await self._mark(runner_id, "taint", body)

    async def untaint(
        self,
        runner_id: str,
        *,
        key: str | None = None,
        owner: str | None = None,
        force: bool = False,
    ) -> RunnerInfo:
        """Remove the taints of the owner and those that have none; with `force` all.

        Raises:
            OwnedByOther: The key is held by others only.
        """
        body = given(key=key, owner=owner, force=force or None)
        return await self._mark(runner_id, "untaint", body)

    async def drain(
        self, runner_id: str, *, reason: str = "", timeout: timedelta | None = None
    ) -> RunnerInfo:
        """Let a runner finish and take no new work, until it is undrained.

        Args:
            runner_id: The runner.
            reason: Why.
            timeout: How long it may take to hand leadership over; the group's otherwise.
        """
        body = given(reason=reason or None, timeout_seconds=seconds(timeout))
        return await self._mark(runner_id, "drain", body)

    async def undrain(self, runner_id: str) -> RunnerInfo:
        """End a drain."""
        return await self._mark(runner_id, "undrain", {})

    async def _mark(self, runner_id: str, what: str, body: Mapping[str, object]) -> RunnerInfo:
        call = Call(method="POST", path=path("runners", runner_id, what), body=body)
        return await self._ask(call, RunnerInfo)

    async def open_session(
        self,
        runner_id: str,
        *,
        session_key: str,
        previous_session_id: str | None = None,
        version: str | None = None,
        ready: bool = True,
    ) -> Standing:
        """Open a session; it supersedes the runner's earlier one.

        Args:
            runner_id: The runner.
            session_key: Chosen by the caller; the same key again is the same session.
            previous_session_id: Asserts that everything that acted under that session is gone.
            version: Of its program.
            ready: Whether it may lead.

        Raises:
            SessionSuperseded: The session of that key was superseded meanwhile.
        """
        body = {
            "session_key": session_key,
            "ready": ready,
            **given(previous_session_id=previous_session_id, version=version),
        }
        call = Call(method="POST", path=path("runners", runner_id, "sessions"), body=body)
        return await self._ask(call, Standing)

    async def heartbeat(
        self,
        runner_id: str,
        session_id: str,
        *,
        seq: int | None = None,
        ready: bool | None = None,
        seen: int | None = None,
        wait: timedelta | None = None,
    ) -> Standing:
        """Renew a session.

        Args:
            runner_id: The runner.
            session_id: Its session.
            seq: Rises from call to call; a renewal with a lower one than the last is ignored.
            ready: Whether it may lead; left as it is otherwise.
            seen: The ``standing_version`` that is known: *wait* for a newer one.
            wait: How long the server may hold the answer. The renewal counts from the start.

        Raises:
            SessionSuperseded, SessionEnded: The session is over.
        """
        call = Call(
            method="POST",
            path=path("runners", runner_id, "heart-beats"),
            body=given(session_id=session_id, seq=seq, ready=ready, seen=seen),
            headers=wait_header(wait),
            hold=wait or timedelta(),
        )
        return await self._ask(call, Standing)

    async def release(
        self, runner_id: str, session_id: str, epoch: int, *, reason: str = ""
    ) -> Standing:
        """Give leadership up. Everything that acted under the epoch must have stopped."""
        body = {"session_id": session_id, "epoch": epoch, **given(reason=reason or None)}
        call = Call(method="POST", path=path("runners", runner_id, "release"), body=body)
        return await self._ask(call, Standing)

    async def leave(self, runner_id: str, session_id: str) -> None:
        """End a session, giving leadership up first."""
        where = path("runners", runner_id, "sessions", session_id)
        await self._ask(Call(method="DELETE", path=where))
