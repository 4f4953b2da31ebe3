"""Structured logs that never hold a secret.

The package logs through the standard library under ``election_ctl_api``, so a host's own logging
applies. `configure_logging` is for programs that have none.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TextIO

import structlog

from election_ctl_api._access import SECRET_PREFIX

__all__ = ["SECRET_FIELDS", "configure_logging", "log", "without_secrets"]

SECRET_FIELDS = frozenset(
    {"authorization", "claim_token", "instance_key", "secret", "session_key", "token"}
)
"""Names whose values are never logged."""

_OURS = ("election_cli", "election_core", "election_ctl_api", "election_sqlite")
_HIDDEN = "[hidden]"
_TOKEN = re.compile(re.escape(SECRET_PREFIX) + r"[\w-]{8,}|(?i:bearer)\s+[^\s\"']+")


def without_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with these secrets, and whatever looks like a token, taken out."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, _HIDDEN)
    return _TOKEN.sub(_HIDDEN, text)


def _hide(
    logger: object, name: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    for key, value in event.items():
        event[key] = _HIDDEN if key.lower() in SECRET_FIELDS else _hidden(value)
    return event


def _hidden(value: object) -> object:
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {
            key: _HIDDEN if str(key).lower() in SECRET_FIELDS else _hidden(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_hidden(inner) for inner in value]
    return value


log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    logging.getLogger("election_ctl_api"),
    wrapper_class=structlog.stdlib.BoundLogger,
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.processors.format_exc_info,
        _hide,
        structlog.stdlib.render_to_log_kwargs,
    ],
)
"""The package's logger."""


def configure_logging(
    *, as_json: bool = False, level: str = "INFO", stream: TextIO | None = None
) -> None:
    """Send the logs of this process to a stream, one line each.

    Args:
        as_json: As JSON objects, for programs; for people otherwise.
        level: The least level that is shown. Requests are told at ``DEBUG``.
        stream: Where to; standard error unless given.
    """
    out = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _hide,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for other in list(root.handlers):
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
