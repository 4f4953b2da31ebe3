"""Serving over HTTP inside the caller's own event loop, and ending well."""

from __future__ import annotations

import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta

import anyio
import uvicorn
from typing_extensions import override

from election_core import Policies
from election_core.engine import Engine
from election_ctl_api._app import create_app
from election_ctl_api._logging import log
from election_ctl_api._metrics import Metrics
from election_ctl_api._store import ControlStore

__all__ = ["plain_listening_warning", "serve"]

_GRACE = 3
"""Seconds that calls under way get to end; with what uvicorn adds it stays below five."""
_BACKLOG = 2048


class _Server(uvicorn.Server):
    """A server whose signals are its caller's business."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    @contextmanager
    @override
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()


async def serve(
    store: ControlStore,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_listening: Callable[[str, int], None] | None = None,
    stop: anyio.Event | None = None,
    handle_signals: bool = True,
    policies: Policies | None = None,
    tick: timedelta = timedelta(seconds=1),
    tokens_remembered: timedelta = timedelta(seconds=60),
) -> None:
    """Run the engine and the control API over a store until told to end. Needs asyncio.

    Then it accepts nobody new, answers the calls that wait, ends the streams, and returns within
    five seconds.

    Args:
        store: An open store; it stays open.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        on_listening: Called once with the address and port that it listens on.
        stop: Set it to end.
        handle_signals: End on SIGTERM and SIGINT too. Only in a process's main thread.
        policies: The policies by name.
        tick: See `election_core.engine.Engine`.
        tokens_remembered: See `create_app`.

    Raises:
        OSError: It cannot listen there.
    """
    metrics = Metrics()
    ending = stop or anyio.Event()
    listener = await _listen(host, port)
    with listener:
        address, bound = listener.getsockname()[:2]

        def listening() -> None:
            log.info("listening", host=address, port=bound)
            if on_listening is not None:
                on_listening(address, bound)

        async with Engine(store, policies=policies, tick=tick, observer=metrics) as engine:
            app = create_app(engine, store, metrics=metrics, tokens_remembered=tokens_remembered)
            config = uvicorn.Config(
                app,
                access_log=False,
                # The other parser, taken wherever it is installed, refuses methods that it does
                # not know by itself, and not as a problem.
                http="h11",
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE,
                timeout_keep_alive=75,
                ws="none",
            )
            server = _Server(config, listening)
            async with anyio.create_task_group() as tasks:
                if handle_signals and threading.current_thread() is threading.main_thread():
                    tasks.start_soon(_on_signal, server, ending)
                tasks.start_soon(_on_stop, server, engine, ending)
                await server.serve([listener])
                tasks.cancel_scope.cancel()


async def _on_stop(server: _Server, engine: Engine, ending: anyio.Event) -> None:
    await ending.wait()
    server.should_exit = True
    engine.stop_waiting()


async def _on_signal(server: _Server, ending: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("ending", signal=signal.Signals(number).name)
            if ending.is_set():
                server.force_exit = True
            ending.set()


async def _listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to the first of the host's addresses."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    # With the protocol named, asyncio turns Nagle's delays off on each connection.
    listener = socket.socket(family, kind, protocol or socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def plain_listening_warning(host: str) -> str | None:
    """What to warn of when listening there without TLS, or ``None``."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if local:
        return None
    return (
        f"{host} can be reached from other machines and the connection is not encrypted: tokens "
        "can be read on the way. Listen on 127.0.0.1, or put a proxy that speaks TLS in front."
    )
