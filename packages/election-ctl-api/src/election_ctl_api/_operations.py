"""A route as data: what it asks, takes and answers, and the one call that it is.

The application, the table of access and the OpenAPI document are all made from these, so they
cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from inspect import getdoc
from typing import TYPE_CHECKING, Literal, TypeVar

from attrs import define, field, frozen

from election_core import ElectionError, NotFound, decode
from election_core.engine import Engine
from election_ctl_api._access import Access, Caller, Gate
from election_ctl_api._answers import Reply, json_reply
from election_ctl_api._bodies import check_durations
from election_ctl_api._metrics import Metrics
from election_ctl_api._reading import (
    MAX_LIMIT,
    header,
    preferred_wait,
    query_of,
    read_body,
    read_document,
    whole_number,
)
from election_ctl_api._store import ControlStore

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Receive

__all__ = ["Call", "Method", "Operation", "Parameter", "Services", "operation"]

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
B = TypeVar("B")

_LONGEST_ID = 64
_NOW = timedelta()


@frozen(kw_only=True)
class Services:
    """What an application is made of."""

    engine: Engine
    store: ControlStore
    gate: Gate
    metrics: Metrics


@frozen(kw_only=True)
class Parameter:
    """A parameter of the query, or a header, that a route understands."""

    name: str
    place: Literal["query", "header"] = "query"
    type: object = str
    description: str
    example: object = None
    bounds: Mapping[str, object] = field(factory=dict)
    """What its schema says beyond the type."""


LIMIT = Parameter(
    name="limit",
    type=int,
    description=f"How many at most: 1 to {MAX_LIMIT}.",
    example=100,
    bounds={"minimum": 1, "maximum": MAX_LIMIT, "default": 100},
)
CURSOR = Parameter(
    name="cursor",
    description="The `next_cursor` of the answer before; opaque.",
    bounds={"minLength": 1},
)
PREFER = Parameter(
    name="Prefer",
    place="header",
    description="`wait=N` lets the answer be held up to N seconds until there is news (RFC 7240).",
    example="wait=5",
)


@define(kw_only=True, slots=False)
class Call:
    """One request while it is answered."""

    scope: HTTPScope
    receive: Receive
    services: Services
    operation: Operation
    caller: Caller | None = None
    """``None`` on public routes."""

    @property
    def engine(self) -> Engine:
        """What answers."""
        return self.services.engine

    @property
    def store(self) -> ControlStore:
        """What keeps tokens and counts."""
        return self.services.store

    @property
    def actor(self) -> str:
        """Who is to stand in the history."""
        return "" if self.caller is None else self.caller.actor

    def path(self, name: str) -> str:
        """A parameter of the path.

        Raises:
            NotFound: Nothing can have that id.
        """
        found = str(self.scope["path_params"][name])
        if len(found) > _LONGEST_ID or "\x00" in found:
            raise NotFound(f"no such {name.removesuffix('_id')}")
        return found

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The parameters of the query."""
        return query_of(self.scope)

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return header(self.scope, name.lower().encode())

    @property
    def limit(self) -> int:
        """How much of a list is asked for.

        Raises:
            Invalid: It is not in 1 to 500.
        """
        text = self.query.get("limit")
        if text is None:
            return 100
        return whole_number(text, field="limit", least=1, most=MAX_LIMIT)

    @property
    def cursor(self) -> str | None:
        """Where the part that is asked for begins."""
        return self.query.get("cursor")

    @cached_property
    def wait(self) -> timedelta:
        """How long the answer may be held."""
        return preferred_wait(
            value.decode("latin-1") for key, value in self.scope["headers"] if key == b"prefer"
        )


@frozen(kw_only=True)
class Operation:
    """One route."""

    method: Method
    path: str
    """With parameters as ``{name}``."""
    access: Access
    answers: Mapping[int, object]
    """The type of the answer for each status, the usual one first; ``None`` for no content."""
    errors: Sequence[type[ElectionError]] = ()
    """What it may refuse with, beyond what every route may."""
    body: type | None = None
    lenient: bool = False
    """Whether unknown fields of the body are ignored: they are in what runners send."""
    parameters: Sequence[Parameter] = ()
    media_types: Sequence[str] = ()
    """What it answers instead of JSON."""
    function: Callable[..., Awaitable[object]] = field(repr=False)

    @property
    def name(self) -> str:
        """Its name, unique among the routes."""
        return self.function.__name__

    @property
    def tag(self) -> str:
        """What it is about: the name of the module it is in."""
        return self.function.__module__.rpartition("._")[2]

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return (getdoc(self.function) or "").partition("\n")[0].rstrip(".")

    @property
    def description(self) -> str:
        """What else there is to say."""
        text = (getdoc(self.function) or "").partition("\n")[2]
        return re.sub(r"(?<!\n)\n(?!\n)", " ", text.partition("\nRaises:")[0].strip())

    @property
    def path_parameters(self) -> list[str]:
        """The names in its path."""
        return re.findall(r"{(\w+)}", self.path)

    @property
    def waits(self) -> bool:
        """Whether its answer may be held until there is news."""
        return PREFER in self.parameters

    async def run(self, scope: HTTPScope, receive: Receive, services: Services) -> ASGIApp:
        """Answer one request: let the caller in, read, make the call, write.

        Raises:
            ElectionError: It is refused.
        """
        call = Call(scope=scope, receive=receive, services=services, operation=self)
        if self.access is not Access.PUBLIC:
            caller = await services.gate.caller(header(scope, b"authorization"))
            await services.gate.admit(caller, self.access, scope["path_params"])
            call.caller = caller
        if self.body is None:
            return self._answer(await self.function(call))
        document = read_document(await read_body(scope, receive))
        body: object = decode(self.body, document, lenient=self.lenient)
        if not self.lenient:
            check_durations(body)
        if not self.waits or call.wait <= _NOW:
            return self._answer(await self.function(call, body))
        with services.metrics.waiting():
            return self._answer(await self.function(call, body), waited=True)

    def _answer(self, value: object, *, waited: bool = False) -> ASGIApp:
        if isinstance(value, Reply) or callable(value):
            return value
        headers = ((b"preference-applied", b"wait"),) if waited else ()
        return json_reply(value, status=next(iter(self.answers)), headers=headers)


class operation:  # noqa: N801 - reads as the decorator it is
    """Make a route of the one call that it is.

    Args:
        method: The method.
        path: The path, with parameters as ``{name}``.
        access: What it asks of its caller.
        answers: The type of the answer for each status, the usual one first.
        errors: What it may refuse with, beyond what every route may.
        parameters: What it understands beside path and body.
        media_types: What it answers instead of JSON.
    """

    def __init__(
        self,
        method: Method,
        path: str,
        *,
        access: Access,
        answers: Mapping[int, object],
        errors: Sequence[type[ElectionError]] = (),
        parameters: Sequence[Parameter] = (),
        media_types: Sequence[str] = (),
    ) -> None:
        self._method: Method = method
        self._path = path
        self._access = access
        self._answers = answers
        self._errors = errors
        self._parameters = parameters
        self._media_types = media_types

    def __call__(self, function: Callable[[Call], Awaitable[object]]) -> Operation:
        """A route that takes no body."""
        return self._make(function, None, lenient=False)

    def taking(
        self, body: type[B], *, lenient: bool = False
    ) -> Callable[[Callable[[Call, B], Awaitable[object]]], Operation]:
        """A route that takes a body of this type.

        Args:
            body: The type.
            lenient: Ignore unknown fields.
        """

        def make(function: Callable[[Call, B], Awaitable[object]]) -> Operation:
            return self._make(function, body, lenient=lenient)

        return make

    def _make(
        self, function: Callable[..., Awaitable[object]], body: type | None, *, lenient: bool
    ) -> Operation:
        return Operation(
            method=self._method,
            path=self._path,
            access=self._access,
            answers=self._answers,
            errors=self._errors,
            parameters=self._parameters,
            media_types=self._media_types,
            body=body,
            lenient=lenient,
            function=function,
        )
