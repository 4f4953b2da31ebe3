"""Whether the service is well, what it measured, and what it can do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from election_core import Unavailable
from election_ctl_api._access import Access
from election_ctl_api._answers import Reply
from election_ctl_api._bodies import Health
from election_ctl_api._operations import Call, Operation, operation

__all__ = ["OPERATIONS"]

_HTML = "text/html"
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@operation("GET", "/healthz", access=Access.PUBLIC, answers={200: Health})
async def healthz(call: Call) -> object:
    """Tell that the process answers."""
    return Health()


@operation("GET", "/readyz", access=Access.PUBLIC, answers={200: Health}, errors=(Unavailable,))
async def readyz(call: Call) -> object:
    """Tell that the store answers and its schema matches."""
    await call.store.ready()
    return Health()


@operation(
    "GET",
    "/metrics",
    access=Access.READ,
    answers={200: str},
    media_types=("text/plain",),
)
async def metrics(call: Call) -> Reply:
    """Tell Prometheus what was measured."""
    census, jobs = await call.store.census(), await call.store.job_counts()
    body, media_type = call.services.metrics.render(census, jobs, call.header("Accept"))
    return Reply(body, status=200, headers=[(b"content-type", media_type.encode())])


@operation("GET", "/openapi.json", access=Access.PUBLIC, answers={200: object})
async def openapi(call: Call) -> Reply:
    """Describe this API as an OpenAPI 3.1 document."""
    return Reply(_document(), status=200, headers=[(b"content-type", b"application/json")])


@cache
def _document() -> bytes:
    from election_ctl_api._openapi import openapi_document

    return json.dumps(openapi_document(), ensure_ascii=False, separators=(",", ":")).encode()


@operation("GET", "/docs", access=Access.PUBLIC, answers={200: str}, media_types=(_HTML,))
async def docs(call: Call) -> Reply:
    """Show this API to people, from this server alone."""
    return Reply(
        _page(),
        status=200,
        headers=[
            (b"content-type", f"{_HTML}; charset=utf-8".encode()),
            (b"content-security-policy", _POLICY.encode()),
        ],
    )


@cache
def _page() -> bytes:
    return files("election_ctl_api").joinpath("docs.html").read_bytes()


OPERATIONS: Sequence[Operation] = (healthz, readyz, metrics, openapi, docs)
