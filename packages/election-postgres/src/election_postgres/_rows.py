"""Rows as the core's types, and the core's types as the documents that commits are made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

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
    encode,
)
from election_postgres._values import moment, parse, span, text

__all__ = [
    "ENDED_SESSION",
    "GROUP",
    "RUNNER",
    "TOKEN",
    "Row",
    "columns",
    "ended_session_document",
    "ended_session_of",
    "event_document",
    "event_of",
    "group_document",
    "group_of",
    "look_again_at",
    "mark_of",
    "runner_document",
    "runner_of",
    "token_of",
]


class Row(Protocol):
    """A record of the driver, or a part of one, by the names of its columns."""

    def __getitem__(self, name: str, /) -> Any:  # noqa: ANN401 - as the driver has it
        """The value of a column."""
        ...


GROUP = (
    "id", "settings", "created_at", "epoch", "term_epoch", "term_runner_id", "term_session_id",
    "term_elected_at", "term_kind", "term_reason", "ended", "ended_at", "pin", "handover",
    "grant_not_before", "decided_at", "look_again_at", "deleted_at",
)  # fmt: skip
RUNNER = (
    "id", "group_id", "name", "created_at", "platform", "labels", "version", "instance_key_hash",
    "taints", "drain", "steady_since", "opened", "session_id", "session_key", "session_opened_at",
    "lease_expires_at", "ready", "seq", "healthy_since", "held_epoch", "term_expires_at",
    "step_down_at", "standing_version",
)  # fmt: skip
ENDED_SESSION = ("runner_id", "session_id", "session_key", "how", "ended_at")
TOKEN = ("id", "kind", "group_id", "runner_id", "created_at", "expires_at")


def columns(names: Sequence[str], table: str, prefix: str = "") -> str:
    """The names as a list of SQL; a prefix tells columns of one table from another's."""
    return ", ".join(f"{table}.{name}" + (f" AS {prefix}{name}" * bool(prefix)) for name in names)


@lru_cache(maxsize=4096)
def _settings(document: str) -> Settings:
    """Settings by their JSON: groups share few, and policies are kept by the object's identity."""
    return parse(Settings, document)


def look_again_at(row: Row) -> datetime | None:
    """When the group is to be decided again: at once if a renewal asked for it."""
    due_since: datetime | None = row["due_since"]
    return row["look_again_at"] if due_since is None else due_since


def group_of(row: Row) -> Group:
    """The group in the columns of `GROUP`, and `due_since` of its runners."""
    term = None
    if row["term_epoch"] is not None:
        term = Term(
            epoch=row["term_epoch"],
            runner_id=row["term_runner_id"],
            session_id=row["term_session_id"],
            elected_at=row["term_elected_at"],
            kind=Kind(row["term_kind"]),
            reason=row["term_reason"],
        )
    return Group(
        id=row["id"],
        settings=_settings(row["settings"]),
        created_at=row["created_at"],
        epoch=row["epoch"],
        term=term,
        ended=None if row["ended"] is None else Kind(row["ended"]),
        ended_at=row["ended_at"],
        pin=None if row["pin"] is None else parse(Pin, row["pin"]),
        handover=None if row["handover"] is None else parse(Handover, row["handover"]),
        grant_not_before=row["grant_not_before"],
        decided_at=row["decided_at"],
        look_again_at=look_again_at(row),
        deleted_at=row["deleted_at"],
    )


def group_document(group: Group) -> dict[str, object]:
    """A group as a document of its row."""
    term, settings = group.term, group.settings
    return {
        "id": group.id,
        "settings": encode(settings),
        "lease": span(settings.lease),
        "heartbeat": span(settings.heartbeat_interval),
        "retention": span(settings.retention),
        "retry_backoff": span(settings.retry_backoff),
        "created_at": text(group.created_at),
        "epoch": group.epoch,
        "term_epoch": None if term is None else term.epoch,
        "term_runner_id": None if term is None else term.runner_id,
        "term_session_id": None if term is None else term.session_id,
        "term_elected_at": None if term is None else text(term.elected_at),
        "term_kind": None if term is None else term.kind.value,
        "term_reason": None if term is None else term.reason,
        "ended": None if group.ended is None else group.ended.value,
        "ended_at": text(group.ended_at),
        "pin": None if group.pin is None else encode(group.pin),
        "handover": None if group.handover is None else encode(group.handover),
        "grant_not_before": text(group.grant_not_before),
        "decided_at": text(group.decided_at),
        "look_again_at": text(group.look_again_at),
        "deleted_at": text(group.deleted_at),
    }


def runner_of(row: Row, prefix: str = "") -> Runner:
    """The runner in the columns of `RUNNER`."""
    taints = row[f"{prefix}taints"]
    drain = row[f"{prefix}drain"]
    return Runner(
        id=row[f"{prefix}id"],
        group_id=row[f"{prefix}group_id"],
        name=row[f"{prefix}name"],
        created_at=row[f"{prefix}created_at"],
        platform=row[f"{prefix}platform"],
        labels=json.loads(row[f"{prefix}labels"]),
        version=row[f"{prefix}version"],
        instance_key_hash=row[f"{prefix}instance_key_hash"],
        taints=() if taints == "[]" else parse(tuple[Taint, ...], taints),
        drain=None if drain is None else parse(Drain, drain),
        steady_since=row[f"{prefix}steady_since"],
        session=_session_of(row, prefix),
        opened=row[f"{prefix}opened"],
    )


def _session_of(row: Row, prefix: str) -> Session | None:
    if row[f"{prefix}session_id"] is None:
        return None
    return Session(
        id=row[f"{prefix}session_id"],
        key=row[f"{prefix}session_key"],
        opened_at=row[f"{prefix}session_opened_at"],
        lease_expires_at=row[f"{prefix}lease_expires_at"],
        ready=row[f"{prefix}ready"],
        seq=row[f"{prefix}seq"],
        healthy_since=row[f"{prefix}healthy_since"],
        held_epoch=row[f"{prefix}held_epoch"],
        term_expires_at=row[f"{prefix}term_expires_at"],
        step_down_at=row[f"{prefix}step_down_at"],
        standing_version=row[f"{prefix}standing_version"],
    )


def runner_document(runner: Runner) -> dict[str, object]:
    """A runner with its session as a document of its row."""
    session = runner.session
    document: dict[str, object] = {
        "id": runner.id,
        "group_id": runner.group_id,
        "name": runner.name,
        "created_at": text(runner.created_at),
        "platform": runner.platform,
        "labels": encode(runner.labels),
        "version": runner.version,
        "instance_key_hash": runner.instance_key_hash,
        "taints": encode(runner.taints),
        "drain": None if runner.drain is None else encode(runner.drain),
        "steady_since": text(runner.steady_since),
        "opened": runner.opened,
    }
    if session is not None:
        document |= {
            "session_id": session.id,
            "session_key": session.key,
            "session_opened_at": text(session.opened_at),
            "lease_expires_at": text(session.lease_expires_at),
            "ready": session.ready,
            "seq": session.seq,
            "healthy_since": text(session.healthy_since),
            "held_epoch": session.held_epoch,
            "term_expires_at": text(session.term_expires_at),
            "step_down_at": text(session.step_down_at),
            "standing_version": session.standing_version,
        }
    return document


def ended_session_of(row: Row) -> EndedSession:
    """The end of a session in the columns of `ENDED_SESSION`."""
    return EndedSession(
        runner_id=row["runner_id"],
        session_id=row["session_id"],
        key=row["session_key"],
        how=Ended(row["how"]),
        at=row["ended_at"],
    )


def ended_session_document(ended: EndedSession) -> dict[str, object]:
    """The end of a session as a document of its row."""
    return {
        "session_id": ended.session_id,
        "runner_id": ended.runner_id,
        "session_key": ended.key,
        "how": ended.how.value,
        "ended_at": text(ended.at),
    }


def event_of(row: Row) -> Event:
    """The event in the columns of its table."""
    return Event(
        id=row["id"],
        group_id=row["group_id"],
        at=row["happened_at"],
        kind=row["kind"],
        epoch=row["epoch"],
        runner_id=row["runner_id"],
        reason=row["reason"],
        actor=row["actor"],
        data=json.loads(row["details"]),
    )


def event_document(event: Event) -> dict[str, object]:
    """An event as a document of its row, without its id."""
    return {
        "group_id": event.group_id,
        "happened_at": text(event.at),
        "kind": str(event.kind),
        "epoch": event.epoch,
        "runner_id": event.runner_id,
        "reason": event.reason,
        "actor": event.actor,
        "details": encode(event.data),
    }


def token_of(row: Row) -> Token:
    """The token in the columns of `TOKEN`."""
    return Token(
        id=row["id"],
        kind=TokenKind(row["kind"]),
        group_id=row["group_id"],
        runner_id=row["runner_id"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


def mark_of(row: Row, at: datetime) -> Mark:
    """The mark; before the first one, that of somebody who was here just now."""
    if row["mark_at"] is None:
        return Mark(at=at)
    outages = json.loads(row["outages"])
    return Mark(
        at=row["mark_at"],
        tick=row["mark_tick"],
        outages=tuple(Outage(moment(began), moment(ended)) for began, ended in outages),
    )
