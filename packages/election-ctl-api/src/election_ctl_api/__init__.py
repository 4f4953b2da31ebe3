"""HTTP control API over the election-core engine: OpenAPI, problem details, tokens, metrics."""

from __future__ import annotations

from election_ctl_api._answers import API_VERSION
from election_ctl_api._app import create_app
from election_ctl_api._bootstrap import OPERATOR_TOKEN_FILE, bootstrap_operator_token
from election_ctl_api._logging import configure_logging
from election_ctl_api._metrics import Metrics
from election_ctl_api._serve import plain_listening_warning, serve
from election_ctl_api._store import ControlStore

__all__ = [
    "API_VERSION",
    "OPERATOR_TOKEN_FILE",
    "ControlStore",
    "Metrics",
    "bootstrap_operator_token",
    "configure_logging",
    "create_app",
    "plain_listening_warning",
    "serve",
]
