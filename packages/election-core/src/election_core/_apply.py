"""What each command does to a group, before the decision that follows it."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from typing import assert_never

from attrs import evolve

from election_core._commands import (
    Command,
    Configure,
    Decide,
    DeleteGroup,
    DeleteRunner,
    DrainRunner,
    Leave,
    LoseRunner,
    NewTaint,
    OpenSession,
    PinLeader,
    RegisterRunner,
    Reincarnate,
    Release,
    TaintRunner,
    Undrain,
    Unpin,
    Untaint,
)
from election_core._draft import Draft
from election_core._elect import refusals
from election_core._errors import ConflictError, NotEligible, OwnedByOther
from election_core._events import EventKind
from election_core._names import named
from election_core._policy import Policy
from election_core._state import EPOCH_JUMP, Drain, Kind, Mark, Pin, Runner, Session
from election_core._states import Ended, SessionState, session_state, term_live
from election_core._taints import Taint, excluding

__all__ = ["apply"]


def apply(draft: Draft, command: Command, policy: Policy) -> None:
    """Apply one command to a draft.

    Raises:
        ElectionError: It is refused; each command says with what.
    """
    match command:
        case Decide():
            pass
        case Configure():
            _configure(draft, command)
        case DeleteGroup():
            _delete_group(draft, command)
        case RegisterRunner():
            _register(draft, command)
        case DeleteRunner():
            _delete_runner(draft, command)
        case TaintRunner():
            _taint(draft, command)
        case Untaint():
            _untaint(draft, command)
        case DrainRunner():
            _drain(draft, command)
        case Undrain():
            _undrain(draft, command)
        case PinLeader():
            _pin(draft, command, policy)
        case Unpin():
            _unpin(draft)
        case OpenSession():
            _open(draft, command)
        case Release():
            _release(draft, command)
        case Leave():
            _leave(draft, command)
        case LoseRunner():
            _lose(draft, command)
        case Reincarnate():
            _reincarnate(draft, command)
        case _:
            assert_never(command)


def _configure(draft: Draft, command: Configure) -> None:
    if command.settings != draft.group.settings:
        draft.group = evolve(draft.group, settings=command.settings)
        draft.note(EventKind.GROUP_CONFIGURED)


def _delete_group(draft: Draft, command: DeleteGroup) -> None:
    if not command.force and any(_live(draft, runner) for runner in draft.runners.values()):
        raise ConflictError(
            f"group {draft.group.id!r} has live sessions; stop its runners, or force it"
        )
    draft.end_term(Kind.DELETED)
    for runner in list(draft.runners.values()):
        draft.end_session(runner, Ended.DELETED)
    draft.deleted.extend(draft.runners)
    draft.runners.clear()
    draft.group = evolve(
        draft.group, deleted_at=draft.at, pin=None, handover=None, look_again_at=None
    )
    draft.note(EventKind.GROUP_DELETED)


def _register(draft: Draft, command: RegisterRunner) -> None:
    known = next((r for r in draft.runners.values() if r.name == command.name), None)
    if known is None:
        taints = tuple(
            _new_taint(draft, taint, f"taints[{index}].key")
            for index, taint in enumerate(command.taints)
        )
        draft.put(
            Runner(
                id=command.runner_id,
                group_id=draft.group.id,
                name=command.name,
                created_at=draft.at,
                platform=command.platform or "",
                labels=command.labels or {},
                version=command.version or "",
                instance_key_hash=command.instance_key_hash,
                taints=tuple({(t.key, t.owner): t for t in taints}.values()),
                steady_since=draft.at,
            )
        )
        draft.note(EventKind.RUNNER_REGISTERED, runner_id=command.runner_id)
        return
    if command.joining and not _proves(known.instance_key_hash, command.instance_key_hash):
        raise ConflictError(
            f"a runner named {command.name!r} exists and the instance key is not its own;"
            " choose another name, or register it with an operator's token"
        )
    updated = evolve(
        known,
        platform=known.platform if command.platform is None else command.platform,
        labels=known.labels if command.labels is None else command.labels,
        version=known.version if command.version is None else command.version,
        instance_key_hash=known.instance_key_hash
        if command.joining
        else command.instance_key_hash or known.instance_key_hash,
    )
    if updated != known:
        draft.put(updated)
        draft.note(EventKind.RUNNER_UPDATED, runner_id=known.id)


def _proves(kept: str | None, brought: str | None) -> bool:
    return kept is not None and brought is not None and hmac.compare_digest(kept, brought)


def _delete_runner(draft: Draft, command: DeleteRunner) -> None:
    runner = draft.runner(command.runner_id)
    term = draft.group.term
    if term is not None and term.runner_id == runner.id:
        draft.end_term(Kind.DELETED)
    draft.end_session(draft.runner(runner.id), Ended.DELETED)
    del draft.runners[runner.id]
    draft.deleted.append(runner.id)
    if draft.group.pin is not None and draft.group.pin.runner_id == runner.id:
        draft.group = evolve(draft.group, pin=None)
    draft.note(EventKind.RUNNER_DELETED, runner_id=runner.id, data={"name": runner.name})


def _new_taint(draft: Draft, wanted: NewTaint, field: str = "key") -> Taint:
    return Taint(
        key=named(wanted.key, field),
        value=wanted.value,
        effect=wanted.effect,
        owner=wanted.owner,
        reason=wanted.reason,
        created_at=draft.at,
        expires_at=_after(draft, wanted.ttl),
    )


def _taint(draft: Draft, command: TaintRunner) -> None:
    runner = draft.runner(command.runner_id)
    new = _new_taint(draft, command.taint)
    old = [t for t in runner.taints if (t.key, t.owner) == (new.key, new.owner)]
    if old and evolve(old[0], created_at=new.created_at) == new:
        return  # said before, word for word
    others = tuple(t for t in runner.taints if t not in old)
    steady = draft.at if _freed(old) and not excluding(new) else runner.steady_since
    draft.put(evolve(runner, taints=(*others, new), steady_since=steady))
    draft.note(
        EventKind.TAINTED,
        runner_id=runner.id,
        reason=new.reason,
        data={
            "key": new.key,
            "value": new.value,
            "effect": new.effect.value,
            "owner": new.owner,
            "expires_at": None if new.expires_at is None else new.expires_at.isoformat(),
        },
    )


def _freed(gone: list[Taint]) -> bool:
    """Whether any of the taints that go kept its runner from being elected."""
    return any(excluding(taint) for taint in gone)


def _untaint(draft: Draft, command: Untaint) -> None:
    runner = draft.runner(command.runner_id)
    meant = [t for t in runner.taints if command.key is None or t.key == command.key]
    gone = [t for t in meant if command.force or t.owner in ("", command.owner)]
    if not gone:
        current = [t for t in meant if t.current(draft.at)]
        if command.key is not None and current:
            owners = ", ".join(sorted({t.owner for t in current}))
            raise OwnedByOther(
                f"taint {command.key!r} is held by {owners}; name that owner, or force it",
                owner=owners,
            )
        return
    left = tuple(t for t in runner.taints if t not in gone)
    steady = draft.at if _freed(gone) else runner.steady_since
    draft.put(evolve(runner, taints=left, steady_since=steady))
    for taint in gone:
        draft.note(
            EventKind.UNTAINTED,
            runner_id=runner.id,
            data={"key": taint.key, "owner": taint.owner},
        )


def _drain(draft: Draft, command: DrainRunner) -> None:
    runner = draft.runner(command.runner_id)
    if runner.drain is not None and (runner.drain.reason, runner.drain.timeout) == (
        command.reason,
        command.timeout,
    ):
        return
    drain = Drain(at=draft.at, reason=command.reason, timeout=command.timeout)
    draft.put(evolve(runner, drain=drain))
    draft.note(EventKind.DRAINED, runner_id=runner.id, reason=command.reason)


def _undrain(draft: Draft, command: Undrain) -> None:
    runner = draft.runner(command.runner_id)
    if runner.drain is not None:
        draft.put(evolve(runner, drain=None, steady_since=draft.at))
        draft.note(EventKind.UNDRAINED, runner_id=runner.id)


def _pin(draft: Draft, command: PinLeader, policy: Policy) -> None:
    runner = draft.runner(command.runner_id)
    snapshot = draft.snapshot()
    if not command.when_eligible:
        leads = snapshot.incumbent is runner and term_live(snapshot.group, snapshot)
        reasons = refusals(runner, snapshot, policy, staying=leads)
        if reasons:
            why = "; ".join(f"{reason.code}: {reason.detail}" for reason in reasons)
            raise NotEligible(
                f"runner {runner.name!r} cannot lead now ({why}); pin it when eligible instead",
                runner_id=runner.id,
                reason=reasons[0].code,
            )
    pin = Pin(
        runner_id=runner.id,
        owner=command.owner,
        reason=command.reason,
        created_at=draft.at,
        expires_at=_after(draft, command.ttl),
        immediate=command.immediate,
    )
    old = draft.group.pin
    if old is not None and pin == evolve(old, created_at=draft.at, eligible_at=None):
        return
    draft.group = evolve(draft.group, pin=pin)
    draft.note(
        EventKind.PINNED,
        runner_id=runner.id,
        reason=command.reason,
        data={
            "owner": command.owner,
            "expires_at": None if pin.expires_at is None else pin.expires_at.isoformat(),
        },
    )


def _unpin(draft: Draft) -> None:
    pin = draft.group.pin
    if pin is not None:
        draft.group = evolve(draft.group, pin=None)
        draft.note(EventKind.UNPINNED, runner_id=pin.runner_id)


def _open(draft: Draft, command: OpenSession) -> None:
    runner = draft.runner(command.runner_id)
    current = runner.session
    if current is not None and current.key == command.session_key:
        return
    if current is not None:
        term = draft.group.term
        if term is not None and term.session_id == current.id:
            draft.end_term(Kind.RESTART, gone=command.previous_session_id == current.id)
        runner = draft.end_session(draft.runner(runner.id), Ended.SUPERSEDED)
        draft.note(
            EventKind.SESSION_SUPERSEDED, runner_id=runner.id, data={"session_id": current.id}
        )
    draft.put(
        evolve(
            runner,
            opened=runner.opened + 1,
            version=runner.version if command.version is None else command.version,
            session=Session(
                id=command.session_id,
                key=command.session_key,
                opened_at=draft.at,
                lease_expires_at=draft.at + draft.group.settings.lease,
                ready=command.ready,
                healthy_since=draft.at,
            ),
        )
    )
    draft.note(
        EventKind.SESSION_OPENED, runner_id=runner.id, data={"session_id": command.session_id}
    )


def _release(draft: Draft, command: Release) -> None:
    runner, session = draft.session(command.runner_id, command.session_id)
    if session.held_epoch is None or session.held_epoch != command.epoch:
        return
    kind = Kind.RELEASE if draft.group.handover is None else Kind.HANDOVER
    draft.end_term(kind, handed_back=True)
    draft.put(evolve(draft.runner(runner.id), steady_since=draft.at))
    draft.released = runner.id
    draft.note(EventKind.RELEASED, runner_id=runner.id, reason=command.reason)


def _leave(draft: Draft, command: Leave) -> None:
    runner, session = draft.session(command.runner_id, command.session_id)
    if session.held_epoch is not None:
        draft.end_term(Kind.LEFT, handed_back=True)
    draft.end_session(draft.runner(runner.id), Ended.LEFT)
    draft.note(EventKind.SESSION_LEFT, runner_id=runner.id, data={"session_id": session.id})


def _lose(draft: Draft, command: LoseRunner) -> None:
    runner = draft.runner(command.runner_id)
    session = runner.session
    if session is None:
        return
    draft.put(
        evolve(
            runner,
            session=evolve(
                session,
                lease_expires_at=min(session.lease_expires_at, draft.at),
                term_expires_at=None
                if session.term_expires_at is None
                else min(session.term_expires_at, draft.at),
            ),
        )
    )
    if session.held_epoch is not None:
        # What is asked is who follows, not whether an outage would put that off.
        draft.mark = Mark(at=draft.at, tick=draft.mark.tick)


def _reincarnate(draft: Draft, command: Reincarnate) -> None:
    draft.end_term(Kind.RESTORED, gone=True)
    barrier = draft.group.grant_not_before
    draft.group = evolve(
        draft.group,
        epoch=draft.group.epoch + EPOCH_JUMP,
        grant_not_before=command.not_before
        if barrier is None
        else max(barrier, command.not_before),
    )
    draft.note(EventKind.STORE_RESTORED, reason="the store may have lost its newest commits")


def _live(draft: Draft, runner: Runner) -> bool:
    session = runner.session
    return session is not None and session_state(session, draft.at) is SessionState.LIVE


def _after(draft: Draft, ttl: timedelta | None) -> datetime | None:
    return None if ttl is None else draft.at + ttl
