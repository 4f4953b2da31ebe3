"""A real control plane over HTTP, in a thread of its own, and a proxy that breaks connections."""

from __future__ import annotations

import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.from_thread import start_blocking_portal
from attrs import define, field

from election_core import Role, TokenKind
from election_core.memory import MemoryStore
from election_ctl_api import serve
from election_ctl_api._access import mint_token
from election_sdk import Client, Runner

DEADLINE = 20.0
"""Seconds after which a test that waits for something has failed."""
_names = itertools.count(1)


@define
class Plane:
    """A running control plane."""

    url: str
    token: str
    store: MemoryStore

    def client(self, **options: Any) -> Client:
        """An operator's client."""
        return Client(self.url, token=self.token, **options)

    @asynccontextmanager
    async def group(self, **settings: object) -> AsyncIterator[tuple[str, Client]]:
        """A new group, and an operator's client."""
        async with self.client() as client:
            group = await client.create_group(f"g{next(_names)}", settings=settings)
            yield group.id, client

    def runner(self, group: str, name: str = "a", **options: Any) -> Runner:
        """A runner that registers with the operator's token."""
        options = {"url": self.url, "token": self.token, **options}
        return Runner(options.pop("url"), group=group, name=name, **options)


@contextmanager
def running_plane() -> Iterator[Plane]:
    """A control plane for as long as the block lasts."""
    store = MemoryStore()
    secret, stored = mint_token(TokenKind.OPERATOR)
    listening = threading.Event()
    where: list[str] = []

    def on_listening(host: str, port: int) -> None:
        where.append(f"http://{host}:{port}")
        listening.set()

    async def run() -> None:
        await store.add_token(stored, ttl=None)
        await serve(
            store,
            on_listening=on_listening,
            stop=stop,
            handle_signals=False,
            tick=timedelta(seconds=0.1),
        )

    with start_blocking_portal("asyncio") as portal:
        stop = portal.call(anyio.Event)
        serving = portal.start_task_soon(run)
        assert listening.wait(DEADLINE)
        yield Plane(where[0], secret, store)
        portal.call(stop.set)
        serving.result(DEADLINE)


Rule = Callable[[str], bool]


@define
class Proxy:
    """What stands between a client and the control plane.

    It reads the request lines that pass, so that a rule can pick the calls it is to break.
    """

    url: str
    target: tuple[str, int]
    seen: list[str] = field(factory=list)
    """The request lines that were forwarded, e.g. ``POST /v1/runner-groups``."""
    cut: int = 0
    """How many answers were lost."""
    _open: bool = True
    _flowing: anyio.Event = field(factory=anyio.Event)
    _lose: Rule | None = None
    _hold: Rule | None = None
    _drop: Rule | None = None
    _released: anyio.Event = field(factory=anyio.Event)
    _connections: set[ByteStream] = field(factory=set)

    def freeze(self) -> None:
        """Let nothing pass any more, in no direction; connections stay open."""
        self._flowing = anyio.Event()

    def thaw(self) -> None:
        """Let everything pass."""
        self._flowing.set()

    async def refuse(self) -> None:
        """Break all connections, and accept none."""
        self._open = False
        for connection in tuple(self._connections):
            await anyio.aclose_forcefully(connection)

    def accept(self) -> None:
        """Accept connections again."""
        self._open = True

    def lose_answers(self, rule: Rule | None) -> None:
        """Forward the calls that the rule picks, and cut the connection instead of answering."""
        self._lose = rule

    def drop_calls(self, rule: Rule | None) -> None:
        """Cut the connections of the calls that the rule picks instead of forwarding them."""
        self._drop = rule

    def hold_answers(self, rule: Rule) -> None:
        """Forward the calls that the rule picks, and keep the answers until they are let go."""
        self._hold, self._released = rule, anyio.Event()

    def let_go(self) -> None:
        """Pass on what was held."""
        self._hold = None
        self._released.set()

    async def handle(self, client: SocketStream) -> None:
        """Serve one connection."""
        if not self._open:
            await anyio.aclose_forcefully(client)
            return
        current = [""]
        with anyio.CancelScope(shield=True):  # or a connection that is just made may be lost
            server = await anyio.connect_tcp(*self.target)
        async with server, client:
            self._connections |= {client, server}
            try:
                async with anyio.create_task_group() as tasks:

                    async def up() -> None:
                        async for data in client:
                            line = data.split(b"\r\n", 1)[0].decode("latin-1")
                            if line.endswith("HTTP/1.1"):
                                current[0] = line.removesuffix(" HTTP/1.1")
                                self.seen.append(current[0])
                                if self._drop is not None and self._drop(current[0]):
                                    break
                            await self._flowing.wait()
                            await server.send(data)
                        tasks.cancel_scope.cancel()

                    async def down() -> None:
                        async for data in server:
                            if self._lose is not None and self._lose(current[0]):
                                self.cut += 1
                                break
                            if self._hold is not None and self._hold(current[0]):
                                await self._released.wait()
                            await self._flowing.wait()
                            await client.send(data)
                        tasks.cancel_scope.cancel()

                    tasks.start_soon(_quietly, up, tasks)
                    tasks.start_soon(_quietly, down, tasks)
            finally:
                self._connections -= {client, server}


async def _quietly(relay: Callable[[], Any], tasks: Any) -> None:
    try:
        await relay()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of a control plane."""
    host, _, port = url.removeprefix("http://").partition(":")
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        own = listener.extra(SocketAttribute.local_port)
        proxy = Proxy(f"http://127.0.0.1:{own}", (host, int(port)))
        proxy.thaw()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, proxy.handle)
            yield proxy
            tasks.cancel_scope.cancel()


async def until(holds: Callable[[], object]) -> None:
    """Look again and again until something holds."""
    with anyio.fail_after(DEADLINE):
        while not holds():  # noqa: ASYNC110 - it looks at what tells nobody of its changes
            await anyio.sleep(0.01)


async def until_told(holds: Callable[[], Awaitable[object]]) -> None:
    """Ask again and again until something holds."""
    with anyio.fail_after(DEADLINE):
        while not await holds():  # noqa: ASYNC110 - the server tells nobody of its changes
            await anyio.sleep(0.01)


async def until_role(runner: Runner, role: Role) -> None:
    """Wait until a runner was told a role."""
    await until(lambda: runner.standing is not None and runner.standing.role is role)
