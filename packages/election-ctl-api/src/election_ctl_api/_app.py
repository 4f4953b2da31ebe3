"""The application: every route behind one gate, one reader and one writer.

Litestar finds the route. Nearly all that a fleet sends is about one runner or one job, and so each
of a path of its own; these are found here, for finding them there took as long as answering them.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from litestar import Litestar, Request, Response
from litestar.enums import HttpMethod, ScopeType
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, ControllerRouterHandler, Message, Receive, Scope, Send

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
from election_ctl_api._answers import API_VERSION, Header, Reply, problem_reply
from election_ctl_api._logging import log, without_secrets
from election_ctl_api._metrics import Metrics
from election_ctl_api._operations import Operation, Services
from election_ctl_api._reading import header
from election_ctl_api._routes import OPERATIONS
from election_ctl_api._store import ControlStore

if TYPE_CHECKING:
    from litestar.types import HTTPScope

__all__ = ["create_app"]

HttpRequest = Request[Any, Any, Any]

_logger = logging.getLogger("election_ctl_api")
_VERSION_HEADER = (b"election-api", API_VERSION.encode())
_ROUTE = "path_template"
"""Where Litestar keeps the route in a request's scope."""


def create_app(
    engine: Engine,
    store: ControlStore,
    *,
    metrics: Metrics | None = None,
    tokens_remembered: timedelta = timedelta(seconds=60),
) -> ASGIApp:
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
    sent, refusals = _Sent(services.metrics), _Refusals(services.metrics)
    answers = _Answers(services, refusals)
    routes = Litestar(
        _handlers(answers),
        before_send=[sent],
        debug=False,
        exception_handlers={Exception: refusals.response, HTTPException: refusals.response},
        logging_config=None,
        openapi_config=None,
        request_max_body_size=None,  # the one reader of bodies has the limit
    )

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        found = _about_one(scope)
        if found is None:
            await routes(scope, receive, send)
            return
        operation, path_params = found
        facts: dict[str, object] = {"path_params": path_params, _ROUTE: operation.path}
        cast("dict[str, object]", scope).update(facts)

        async def marking(message: Message) -> None:
            await sent(message, scope)
            await send(message)

        answer = await answers(operation, cast("HTTPScope", scope), receive)
        await answer(scope, receive, marking)

    return application


def _around_id(path: str) -> tuple[str, str, str]:
    """What stands before a path's id, the id, and what stands behind it."""
    parts = path.split("/", 4)
    return ("", "", "") if len(parts) < 5 else ("/".join(parts[:3]), parts[3], parts[4])


def _routes_about_one() -> Mapping[tuple[str, str], tuple[Operation, str]]:
    """The routes to do something with one runner, job or group, and what they call its id."""
    found = {}
    for operation in OPERATIONS:
        before, id_, behind = _around_id(operation.path)
        if operation.method == "POST" and operation.path_parameters == [id_.strip("{}")]:
            found[before, behind] = operation, operation.path_parameters[0]
    return found


_ABOUT_ONE = _routes_about_one()
_PLAIN_HOST = re.compile(r"[\w.:\[\]-]*", re.ASCII)


def _about_one(scope: Scope) -> tuple[Operation, dict[str, str]] | None:
    """The route of such a call and its parameter, if it was sent as it is documented."""
    if scope["type"] != ScopeType.HTTP or scope["method"] != "POST" or scope.get("root_path"):
        return None
    before, id_, behind = _around_id(scope["path"])
    found = _ABOUT_ONE.get((before, behind)) if id_ else None
    if found is None or not _PLAIN_HOST.fullmatch(header(scope, b"host") or ""):
        return None
    operation, name = found
    return operation, {name: id_}


def _handlers(answers: _Answers) -> list[ControllerRouterHandler]:
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
        found.append(_bind(operation, answers, options))
    return found


def _methods(operation: Operation) -> list[HttpMethod]:
    """What a route answers: where there is `GET` there is `HEAD`, whose body the server drops."""
    method = HttpMethod(operation.method)
    return [method, HttpMethod.HEAD] if method is HttpMethod.GET else [method]


def _bind(operation: Operation, answers: _Answers, options: Reply | None) -> HTTPRouteHandler:
    """A route's handler."""

    async def handle(request: HttpRequest) -> ASGIApp:
        if options is not None and request.method == "OPTIONS":
            return options
        return await answers(operation, request.scope, request.receive)

    handle.__name__ = handle.__qualname__ = operation.name
    path = re.sub(r"{(\w+)}", r"{\1:str}", operation.path)
    methods = _methods(operation)
    if options is not None:
        methods.append(HttpMethod.OPTIONS)
    return HTTPRouteHandler(path, http_method=methods, name=operation.name, status_code=200)(handle)


class _Answers:
    """What a route answers, be it why not."""

    def __init__(self, services: Services, refusals: _Refusals) -> None:
        self._services = services
        self._refusals = refusals

    async def __call__(self, operation: Operation, scope: HTTPScope, receive: Receive) -> ASGIApp:
        try:
            return await operation.run(scope, receive, self._services)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told as a problem
            return self._refusals(scope, error)


class _Sent:
    """Marks every answer with the version of the API, and counts it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start" or scope["type"] != ScopeType.HTTP:
            return
        message["headers"] = [*message["headers"], _VERSION_HEADER]
        method, status = str(scope["method"]), message["status"]
        route = _route_of(scope)
        self._metrics.answered(method, route, status)
        if _logger.isEnabledFor(logging.DEBUG):
            log.debug("answered", method=method, route=route, status=status)


def _route_of(scope: Scope) -> str:
    """The path of the route with its parameters' names; for logs and metrics."""
    return str(cast("Mapping[str, object]", scope).get(_ROUTE, "none"))


_STORE_TROUBLE = (
    "the store did not answer as it must; the call may be repeated, and the server's log says why"
)


class _Refusals:
    """Tells errors as problems."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, scope: HTTPScope, error: Exception) -> Reply:
        headers: list[Header] = []
        match error:
            case ElectionError():
                told = error
            case HTTPException():
                told = _as_election_error(error)
                allow = (error.headers or {}).get("allow")
                if allow is not None:
                    headers.append((b"allow", allow.encode()))
            case _:
                told = InternalError("an unexpected error; the call may be repeated")
        if isinstance(told, Unauthenticated):
            presented = header(scope, b"authorization") is not None
            hint = b', error="invalid_token"' if presented else b""
            headers.append((b"www-authenticate", b'Bearer realm="election"' + hint))
        if told.status >= 500:
            self._log(scope, error, told)
            if told is error:
                told = type(told)(_STORE_TROUBLE)  # where the store is, strangers need not know
        self._metrics.refused(told.code)
        return problem_reply(told, headers=headers)

    def response(self, request: HttpRequest, error: Exception) -> Response[bytes]:
        """The same for what Litestar refuses."""
        return self(request.scope, error).response()

    @staticmethod
    def _log(scope: HTTPScope, error: Exception, told: ElectionError) -> None:
        facts = {"method": scope["method"], "route": _route_of(scope), "code": told.code}
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
