"""A server in a process of its own, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest
from attrs import define

from api_world import listening
from election_core.memory import MemoryStore
from election_ctl_api import serve

PROGRAM = textwrap.dedent(
    """
    import asyncio, sys
    from election_core.memory import MemoryStore
    from election_ctl_api import bootstrap_operator_token, configure_logging, serve

    async def main():
        configure_logging(as_json=True)
        store = MemoryStore()
        print(await bootstrap_operator_token(store, sys.argv[1]), flush=True)
        await serve(store, on_listening=lambda host, port: print(port, flush=True))
        print("ended", flush=True)

    asyncio.run(main())
    """
)


@define
class Served:
    """A server in a process."""

    process: subprocess.Popen[str]
    client: httpx.Client

    def ok(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """The value of an answer that is no error."""
        answer = self.client.request(method, path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()


@pytest.fixture
def served(tmp_path: Any) -> Iterator[Served]:
    """A server that runs until the test ends it, or is over."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        token = process.stdout.readline().strip()
        port = process.stdout.readline().strip()
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=20,
            trust_env=False,
        ) as client:
            yield Served(process, client)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_ends_well(served: Served, number: signal.Signals) -> None:
    """Waiting calls are answered, streams end cleanly, and the process is over in five seconds."""
    served.ok("POST", "/v1/runner-groups", {"id": "g", "settings": {"lease_seconds": 3600}})
    runner = served.ok("POST", "/v1/runner-groups/g/runners", {"name": "a"})["runner"]["id"]
    session = served.ok("POST", f"/v1/runners/{runner}/sessions", {"session_key": "k"})
    body = {"session_id": session["session_id"]}
    answers: dict[str, Any] = {}

    def beat() -> None:
        answers["beat"] = served.ok(
            "POST", f"/v1/runners/{runner}/heart-beats", body, Prefer="wait=900"
        )

    def claim() -> None:
        claim = {**body, "claim_id": "c", "epoch": 1}
        answers["claim"] = served.ok(
            "POST", f"/v1/runners/{runner}/jobs/claim", claim, Prefer="wait=900"
        )

    def follow() -> None:
        answer = served.client.get(
            "/v1/runner-groups/g/events", headers={"Accept": "text/event-stream"}
        )
        answers["stream"] = answer.text

    threads = [threading.Thread(target=target) for target in (beat, claim, follow)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    wanted = ("election_waiting_calls 2.0", "election_event_streams 1.0")
    while not all(line in served.client.get("/metrics").text for line in wanted):
        assert time.monotonic() < deadline

    began = time.monotonic()
    served.process.send_signal(number)
    out, err = served.process.communicate(timeout=10)
    took = time.monotonic() - began
    for thread in threads:
        thread.join(5)

    assert took < 5
    assert served.process.returncode == 0, err
    assert out == "ended\n"
    assert answers["beat"]["role"] == "leader"
    assert answers["claim"] == {"items": []}
    assert "event: session-opened" in answers["stream"]
    assert "Traceback" not in err


def test_a_stalled_client_does_not_hold_the_end_up(served: Served) -> None:
    """A request whose body never comes is given up when the server ends."""
    import socket

    host, port = served.client.base_url.host, served.client.base_url.port
    with socket.create_connection((host, port or 0)) as stalled:
        authorization = served.client.headers["authorization"]
        stalled.sendall(
            f"POST /v1/runner-groups HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
            "Content-Length: 10\r\n\r\n{".encode()
        )
        served.ok("GET", "/v1/runner-groups")
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        served.process.communicate(timeout=10)

    assert time.monotonic() - began < 5
    assert served.process.returncode == 0


async def test_it_says_where_it_listens() -> None:
    """Port 0 takes a free one, and two servers may run in one program."""
    async with listening() as one, listening() as two:
        assert one.url != two.url
        for world in (one, two):
            assert (await world.call("GET", "/healthz")).status_code == 200


async def test_an_address_that_is_taken_is_an_error() -> None:
    """Where it cannot listen it raises, and does not end the program."""
    async with listening() as world:
        host, port = world.url.removeprefix("http://").split(":")
        with pytest.raises(OSError, match="in use"):
            await serve(MemoryStore(), host=host, port=int(port), handle_signals=False)


async def test_it_speaks_ipv6_where_there_is_any() -> None:
    """An address of either family will do."""
    bound = anyio.Event()
    found: list[tuple[str, int]] = []
    stop = anyio.Event()

    def told(host: str, port: int) -> None:
        found.append((host, port))
        bound.set()

    async def run() -> None:
        await serve(MemoryStore(), host="::1", on_listening=told, stop=stop, handle_signals=False)

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            with anyio.fail_after(5):
                await bound.wait()
            host, port = found[0]
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.get(f"http://[{host}]:{port}/healthz")
            assert answer.status_code == 200
            stop.set()
    except* OSError:
        pytest.skip("this machine has no IPv6")


async def test_answers_are_not_held_back() -> None:
    """An answer's body follows its head at once: Nagle's delay would be forty milliseconds."""
    async with listening() as world, world.client(world.operator) as client:
        await client.get("/healthz")
        times = []
        for _ in range(10):
            began = time.perf_counter()
            await client.get("/healthz")
            times.append(time.perf_counter() - began)

    assert min(times) < 0.03
