"""The application: every route behind one gate, one reader and one writer."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from litestar import Litestar, Request, Response
from litestar.enums import HttpMethod, ScopeType
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, ControllerRouterHandler, Message, Scope

from election_core import (
    ElectionError,
    Forbidden,
    InternalError,
    Invalid,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    Unauthenticated,
)
from election_core.engine import Engine
from election_ctl_api._access import Gate
from election_ctl_api._answers import API_VERSION, Reply, problem_response
from election_ctl_api._logging import log, without_secrets
from election_ctl_api._metrics import Metrics
from election_ctl_api._operations import Operation, Services
from election_ctl_api._reading import header
from election_ctl_api._routes import OPERATIONS
from election_ctl_api._store import ControlStore

__all__ = ["create_app"]

HttpRequest = Request[Any, Any, Any]

_logger = logging.getLogger("election_ctl_api")
_VERSION_HEADER = (b"election-api", API_VERSION.encode())


def create_app(
    engine: Engine,
    store: ControlStore,
    *,
    metrics: Metrics | None = None,
    tokens_remembered: timedelta = timedelta(seconds=60),
) -> Litestar:
    """The control API as an ASGI application.

    Args:
        engine: What carries calls out; it has to be running while requests are answered.
        store: The engine's store, for tokens, readiness and counts.
        metrics: What `/metrics` tells; give the same to the engine as its observer.
        tokens_remembered: How long a token is believed without asking the store. One that is
            revoked through this application is forgotten at once.
    """
    services = Services(
        engine=engine,
        store=store,
        gate=Gate(store, news=lambda: engine.token_news, remembered=tokens_remembered),
        metrics=metrics or Metrics(),
    )
    refuse = _Refusals(services.metrics)
    return Litestar(
        _handlers(services),
        before_send=[_Sent(services.metrics)],
        debug=False,
        exception_handlers={Exception: refuse, HTTPException: refuse},
        logging_config=None,
        openapi_config=None,
        request_max_body_size=None,  # the one reader of bodies has the limit
    )


def _handlers(services: Services) -> list[ControllerRouterHandler]:
    """A handler for each route; the first of each path answers `OPTIONS` too.

    Litestar's own answer to `OPTIONS` knows only some of a path's methods.
    """
    methods: dict[str, list[str]] = {}
    for operation in OPERATIONS:
        methods.setdefault(operation.path, []).extend(_methods(operation))
    found: list[ControllerRouterHandler] = []
    for operation in OPERATIONS:
        allowed = methods.pop(operation.path, None)
        options = None
        if allowed is not None:
            allow = ", ".join([*allowed, "OPTIONS"])
            options = Reply(b"", status=204, headers=[(b"allow", allow.encode())])
        found.append(_bind(operation, services, options))
    return found


def _methods(operation: Operation) -> list[HttpMethod]:
    """What a route answers: where there is `GET` there is `HEAD`, whose body the server drops."""
    method = HttpMethod(operation.method)
    return [method, HttpMethod.HEAD] if method is HttpMethod.GET else [method]


def _bind(operation: Operation, services: Services, options: Reply | None) -> HTTPRouteHandler:
    """A route's handler for these services."""

    async def handle(request: HttpRequest) -> ASGIApp:
        if options is not None and request.method == "OPTIONS":
            return options
        return await operation.run(request.scope, request.receive, services)

    handle.__name__ = handle.__qualname__ = operation.name
    path = re.sub(r"{(\w+)}", r"{\1:str}", operation.path)
    methods = _methods(operation)
    if options is not None:
        methods.append(HttpMethod.OPTIONS)
    return HTTPRouteHandler(path, http_method=methods, name=operation.name, status_code=200)(handle)


class _Sent:
    """Marks every answer with the version of the API, and counts it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start" or scope["type"] != ScopeType.HTTP:
            return
        message["headers"] = [*message["headers"], _VERSION_HEADER]
        method, status = str(scope["method"]), message["status"]
        route = str(cast("Mapping[str, object]", scope).get("path_template", "none"))
        self._metrics.answered(method, route, status)
        if _logger.isEnabledFor(logging.DEBUG):
            log.debug("answered", method=method, route=route, status=status)


_STORE_TROUBLE = (
    "the store did not answer as it must; the call may be repeated, and the server's log says why"
)


class _Refusals:
    """Tells errors as problems."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, request: HttpRequest, error: Exception) -> Response[bytes]:
        headers: dict[str, str] = {}
        match error:
            case ElectionError():
                told = error
            case HTTPException():
                told = _as_election_error(error)
                allow = (error.headers or {}).get("allow")
                if allow is not None:
                    headers["allow"] = allow
            case _:
                told = InternalError("an unexpected error; the call may be repeated")
        if isinstance(told, Unauthenticated):
            presented = header(request.scope, b"authorization") is not None
            headers["www-authenticate"] = (
                'Bearer realm="election", error="invalid_token"'
                if presented
                else 'Bearer realm="election"'
            )
        if told.status >= 500:
            self._log(request, error, told)
            if told is error:
                told = type(told)(_STORE_TROUBLE)  # where the store is, strangers need not know
        self._metrics.refused(told.code)
        return problem_response(told, headers=headers)

    @staticmethod
    def _log(request: HttpRequest, error: Exception, told: ElectionError) -> None:
        route = str(cast("Mapping[str, object]", request.scope).get("path_template", "none"))
        facts = {"method": request.method, "route": route, "code": told.code}
        if told is error:
            log.warning("refused", detail=told.detail, **facts)
            return
        # Where it happened and what kind of error; its text might quote what was sent.
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.error(
            "unexpected error",
            error=type(error).__qualname__,
            traceback=without_secrets(frames),
            **facts,
        )


_BY_STATUS: Mapping[int, tuple[type[ElectionError], str]] = {
    400: (Invalid, "the request cannot be understood"),
    401: (Unauthenticated, ""),
    403: (Forbidden, ""),
    404: (NotFound, "there is nothing at this address"),
    405: (MethodNotAllowed, "this address does not take that method"),
    413: (PayloadTooLarge, ""),
}


def _as_election_error(error: HTTPException) -> ElectionError:
    if error.status_code >= 500:
        return InternalError("an unexpected error; the call may be repeated")
    cls, detail = _BY_STATUS.get(error.status_code, _BY_STATUS[400])
    return cls(detail)
