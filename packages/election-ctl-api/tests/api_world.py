"""What the tests of the control API share: a running application, and short ways to speak to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
from attrs import define, field
from litestar.types import ASGIApp
from typing_extensions import override

from election_core import TokenKind
from election_core.engine import Engine
from election_core.memory import MemoryStore
from election_ctl_api import ControlStore, Metrics, create_app, serve
from election_ctl_api._access import mint_token

NO_WAIT = timedelta()


@define
class Clock:
    """The wall clock, which a test may put forward."""

    ahead: timedelta = NO_WAIT

    def __call__(self) -> datetime:
        """The time."""
        return datetime.now(UTC) + self.ahead

    def advance(self, **by: float) -> None:
        """Put it forward."""
        self.ahead += timedelta(**by)


@define(kw_only=True)
class Member:
    """A runner with its token, and its session once it has one."""

    id: str
    token: str
    session_id: str = ""


@define(kw_only=True)
class World:
    """A running control plane."""

    url: str
    store: ControlStore
    operator: str
    transport: httpx.AsyncBaseTransport
    clock: Clock = field(factory=Clock)
    app: ASGIApp | None = None
    """Where it runs without a socket."""

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """A client that presents a token."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(
            base_url=self.url,
            transport=self.transport,
            headers=headers,
            timeout=10,
            trust_env=False,
        )

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = "",
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Make a call, as the operator unless another token, or ``None``, is given."""
        found = dict(headers or {})
        if token is not None:
            found["Authorization"] = f"Bearer {token or self.operator}"
        async with httpx.AsyncClient(
            base_url=self.url, transport=self.transport, timeout=10, trust_env=False
        ) as client:
            answer = await client.request(
                method, path, json=body if content is None else None, content=content, headers=found
            )
        assert answer.headers["election-api"] == "1.0"
        return answer

    async def ok(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        """The value of an answer that is no error."""
        answer = await self.call(method, path, body, **options)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        """The problem of an answer that is an error, checked for what each of them holds."""
        answer = await self.call(method, path, body, **options)
        return problem_of(answer)

    async def group(self, group_id: str = "g", **settings: object) -> Any:
        """A group that is new."""
        return await self.ok("POST", "/v1/runner-groups", {"id": group_id, "settings": settings})

    async def member(self, name: str = "a", group_id: str = "g", *, live: bool = True) -> Member:
        """A runner that is new, with a session unless it is not to be live."""
        answer = await self.ok("POST", f"/v1/runner-groups/{group_id}/runners", {"name": name})
        member = Member(id=answer["runner"]["id"], token=answer["token"])
        if live:
            standing = await self.ok(
                "POST", f"/v1/runners/{member.id}/sessions", {"session_key": f"key-{name}"}
            )
            member.session_id = standing["session_id"]
        return member

    async def beat(self, member: Member, **fields: object) -> Any:
        """A heartbeat's standing."""
        body = {"session_id": member.session_id, **fields}
        return await self.ok("POST", f"/v1/runners/{member.id}/heart-beats", body)

    async def job(self, group_id: str = "g", **fields: object) -> Any:
        """A job that is new."""
        body = {"kind": "build", **fields}
        return await self.ok("POST", f"/v1/runner-groups/{group_id}/jobs", body)

    async def claim(self, member: Member, claim_id: str = "c1", **fields: object) -> Any:
        """The items of a claim."""
        body = {"session_id": member.session_id, "claim_id": claim_id, **fields}
        return (await self.ok("POST", f"/v1/runners/{member.id}/jobs/claim", body))["items"]

    async def token(
        self,
        kind: TokenKind,
        *,
        group_id: str | None = None,
        runner_id: str | None = None,
        ttl: timedelta | None = None,
    ) -> str:
        """A token that is new."""
        secret, stored = mint_token(kind, group_id=group_id, runner_id=runner_id)
        await self.store.add_token(stored, ttl=ttl)
        return secret


def problem_of(answer: httpx.Response) -> Any:
    """The problem that an answer tells, checked for what each of them holds."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["type"] == f"urn:election:problem:{problem['code']}"
    assert problem["title"]
    assert problem["detail"]
    return problem


async def until(true: Callable[[], Awaitable[bool]], *, seconds: float = 5) -> None:
    """Ask again and again until it is true, within a deadline."""
    with anyio.fail_after(seconds):
        while True:
            if await true():
                return
            await anyio.sleep(0.01)


@asynccontextmanager
async def running(store: ControlStore | None = None) -> AsyncIterator[World]:
    """An application in this process, without a socket."""
    clock, metrics = Clock(), Metrics()
    kept: ControlStore = store or MemoryStore(clock=clock)
    async with Engine(kept, observer=metrics) as engine:
        app = create_app(engine, kept, metrics=metrics)
        world = World(
            url="http://test",
            store=kept,
            operator="",
            transport=in_process(app),
            clock=clock,
            app=app,
        )
        world.operator = await world.token(TokenKind.OPERATOR)
        yield world


def in_process(app: ASGIApp, *, below: str = "") -> httpx.AsyncBaseTransport:
    """Speaks to an application without a socket, mounted below a path or not."""
    return httpx.ASGITransport(
        app=app,  # type: ignore[arg-type]
        root_path=below,
        raise_app_exceptions=False,
    )


@asynccontextmanager
async def listening(store: ControlStore | None = None) -> AsyncIterator[World]:
    """A server on loopback, in this process."""
    clock = Clock()
    kept: ControlStore = store or MemoryStore(clock=clock)
    stop, bound = anyio.Event(), anyio.Event()
    found: list[str] = []

    def told(host: str, port: int) -> None:
        found.append(f"http://{host}:{port}")
        bound.set()

    async def run() -> None:
        await serve(kept, on_listening=told, stop=stop, handle_signals=False)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        with anyio.fail_after(10):
            await bound.wait()
        transport = httpx.AsyncHTTPTransport(verify=False, trust_env=False)
        world = World(
            url=found[0], store=kept, operator="", transport=Shared(transport), clock=clock
        )
        world.operator = await world.token(TokenKind.OPERATOR)
        try:
            yield world
        finally:
            await transport.aclose()
            stop.set()


@define
class Shared(httpx.AsyncBaseTransport):
    """A transport that outlives the clients that use it."""

    transport: httpx.AsyncBaseTransport

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass it on."""
        return await self.transport.handle_async_request(request)
