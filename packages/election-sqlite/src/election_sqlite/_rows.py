"""Rows as the core's types, and back.

Each type has one tuple of column names; a reader takes the columns in that order, a writer gives
them in that order.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from election_core import (
    Drain,
    Ended,
    EndedSession,
    Event,
    Group,
    Handover,
    Kind,
    Mark,
    Outage,
    Pin,
    Runner,
    Session,
    Settings,
    Taint,
    Term,
    Token,
    TokenKind,
)
from election_sqlite._values import dump, micros, moment, parse, span

__all__ = [
    "ENDED_SESSION",
    "EVENT",
    "GROUP",
    "RUNNER",
    "SESSION",
    "TOKEN",
    "columns",
    "ended_session_of",
    "event_of",
    "event_values",
    "group_of",
    "group_values",
    "mark_of",
    "runner_of",
    "runner_values",
    "session_of",
    "session_values",
    "token_of",
]

_Row = tuple[Any, ...]
"""Columns as SQLite gives them."""

GROUP = (
    "id", "settings", "lease", "heartbeat", "retention", "created_at", "epoch", "term_epoch",
    "term_runner_id", "term_session_id", "term_elected_at", "term_kind", "term_reason", "ended",
    "ended_at", "pin", "handover", "grant_not_before", "decided_at", "look_again_at", "deleted_at",
)  # fmt: skip
SESSION = (
    "session_id", "session_key", "session_opened_at", "lease_expires_at", "ready", "seq",
    "healthy_since", "held_epoch", "term_expires_at", "step_down_at", "standing_version",
)  # fmt: skip
RUNNER = (
    "id", "group_id", "name", "created_at", "platform", "labels", "version", "instance_key_hash",
    "taints", "drain", "steady_since", "opened",
)  # fmt: skip
EVENT = (
    "id", "group_id", "happened_at", "kind", "epoch", "runner_id", "reason", "actor", "details",
)  # fmt: skip
ENDED_SESSION = ("runner_id", "session_id", "session_key", "how", "ended_at")
TOKEN = ("id", "kind", "group_id", "runner_id", "created_at", "expires_at")


def columns(names: tuple[str, ...], table: str = "") -> str:
    """The names as a list of SQL, of one table if others are joined."""
    return ", ".join(f"{table}.{name}" if table else name for name in names)


@lru_cache(maxsize=4096)
def _settings(text: str) -> Settings:
    """Settings by their JSON: groups share few, and policies are kept by the object's identity."""
    return parse(Settings, text)


def group_of(row: _Row) -> Group:
    """The group in the columns of `GROUP`."""
    (
        id_, settings, _, _, _, created_at, epoch, term_epoch, runner_id, session_id, elected_at,
        kind, reason, ended, ended_at, pin, handover, barrier, decided_at, look_again_at,
        deleted_at,
    ) = row  # fmt: skip
    term = None
    if term_epoch is not None:
        term = Term(
            epoch=term_epoch,
            runner_id=runner_id,
            session_id=session_id,
            elected_at=moment(elected_at),
            kind=Kind(kind),
            reason=reason,
        )
    return Group(
        id=id_,
        settings=_settings(settings),
        created_at=moment(created_at),
        epoch=epoch,
        term=term,
        ended=None if ended is None else Kind(ended),
        ended_at=moment(ended_at),
        pin=None if pin is None else parse(Pin, pin),
        handover=None if handover is None else parse(Handover, handover),
        grant_not_before=moment(barrier),
        decided_at=moment(decided_at),
        look_again_at=moment(look_again_at),
        deleted_at=moment(deleted_at),
    )


def group_values(group: Group) -> _Row:
    """A group as the columns of `GROUP`."""
    term = group.term
    settings = group.settings
    return (
        group.id,
        dump(settings),
        micros(settings.lease),
        micros(settings.heartbeat_interval),
        micros(settings.retention),
        micros(group.created_at),
        group.epoch,
        None if term is None else term.epoch,
        None if term is None else term.runner_id,
        None if term is None else term.session_id,
        None if term is None else micros(term.elected_at),
        None if term is None else term.kind.value,
        None if term is None else term.reason,
        None if group.ended is None else group.ended.value,
        micros(group.ended_at),
        None if group.pin is None else dump(group.pin),
        None if group.handover is None else dump(group.handover),
        micros(group.grant_not_before),
        micros(group.decided_at),
        micros(group.look_again_at),
        micros(group.deleted_at),
    )


def runner_of(row: _Row) -> Runner:
    """The runner in the columns of `RUNNER` and `SESSION`."""
    (
        id_, group_id, name, created_at, platform, labels, version, key_hash, taints, drain,
        steady_since, opened,
    ) = row[: len(RUNNER)]  # fmt: skip
    return Runner(
        id=id_,
        group_id=group_id,
        name=name,
        created_at=moment(created_at),
        platform=platform,
        labels=json.loads(labels),
        version=version,
        instance_key_hash=key_hash,
        taints=() if taints == "[]" else parse(tuple[Taint, ...], taints),
        drain=None if drain is None else parse(Drain, drain),
        steady_since=moment(steady_since),
        session=session_of(row[len(RUNNER) :]),
        opened=opened,
    )


def runner_values(runner: Runner) -> _Row:
    """A runner as the columns of `RUNNER`."""
    return (
        runner.id,
        runner.group_id,
        runner.name,
        micros(runner.created_at),
        runner.platform,
        dump(runner.labels),
        runner.version,
        runner.instance_key_hash,
        dump(runner.taints),
        None if runner.drain is None else dump(runner.drain),
        micros(runner.steady_since),
        runner.opened,
    )


def session_of(row: _Row) -> Session | None:
    """The session in the columns of `SESSION`, if there is one."""
    (
        id_, key, opened_at, lease_expires_at, ready, seq, healthy_since, held_epoch,
        term_expires_at, step_down_at, standing_version,
    ) = row  # fmt: skip
    if id_ is None:
        return None
    return Session(
        id=id_,
        key=key,
        opened_at=moment(opened_at),
        lease_expires_at=moment(lease_expires_at),
        ready=bool(ready),
        seq=seq,
        healthy_since=moment(healthy_since),
        held_epoch=held_epoch,
        term_expires_at=moment(term_expires_at),
        step_down_at=moment(step_down_at),
        standing_version=standing_version,
    )


def session_values(session: Session | None) -> _Row:
    """A session as the columns of `SESSION`."""
    if session is None:
        return (None,) * len(SESSION)
    return (
        session.id,
        session.key,
        micros(session.opened_at),
        micros(session.lease_expires_at),
        session.ready,
        session.seq,
        micros(session.healthy_since),
        session.held_epoch,
        micros(session.term_expires_at),
        micros(session.step_down_at),
        session.standing_version,
    )


def ended_session_of(row: _Row) -> EndedSession:
    """The end of a session in the columns of `ENDED_SESSION`."""
    runner_id, session_id, key, how, ended_at = row
    return EndedSession(
        runner_id=runner_id, session_id=session_id, key=key, how=Ended(how), at=moment(ended_at)
    )


def event_of(row: _Row) -> Event:
    """The event in the columns of `EVENT`."""
    id_, group_id, happened_at, kind, epoch, runner_id, reason, actor, details = row
    return Event(
        id=id_,
        group_id=group_id,
        at=moment(happened_at),
        kind=kind,
        epoch=epoch,
        runner_id=runner_id,
        reason=reason,
        actor=actor,
        data=json.loads(details),
    )


def event_values(event: Event) -> _Row:
    """An event as the columns of `EVENT`, behind its id."""
    return (
        event.group_id,
        micros(event.at),
        str(event.kind),
        event.epoch,
        event.runner_id,
        event.reason,
        event.actor,
        dump(event.data),
    )


def token_of(row: _Row) -> Token:
    """The token in the columns of `TOKEN`."""
    id_, kind, group_id, runner_id, created_at, expires_at = row
    return Token(
        id=id_,
        kind=TokenKind(kind),
        group_id=group_id,
        runner_id=runner_id,
        created_at=moment(created_at),
        expires_at=moment(expires_at),
    )


def mark_of(at: int, tick: int, outages: str) -> Mark:
    """The mark in its columns of the meta row."""
    return Mark(
        at=moment(at),
        tick=span(tick),
        outages=tuple(Outage(moment(began), moment(ended)) for began, ended in json.loads(outages)),
    )
