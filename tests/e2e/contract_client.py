"""A real server process and a plain HTTP client, for tests written from the contract alone."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Self, TypeVar
from urllib.parse import urlsplit

from attrs import define, field, frozen

T = TypeVar("T")

_numbers = itertools.count(1)


def fresh(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix}-{next(_numbers)}"


@frozen
class Answer:
    """What the server said to one call."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        """The JSON of the answer."""
        return json.loads(self.text)

    def ok(self, status: int = 200) -> Any:
        """The JSON of an answer that must have this status."""
        assert self.status == status, f"{self.status}, not {status}: {self.text[:2000]}"
        return self.body if self.text else None

    def refused(self, status: int, code: str) -> Any:
        """The problem of an answer that must be this refusal."""
        kind = self.headers.get("content-type", "")
        assert (self.status, kind.partition(";")[0]) == (status, "application/problem+json"), (
            f"{self.status} {kind}, not {status} {code}: {self.text[:2000]}"
        )
        problem = self.body
        assert problem["code"] == code, problem
        assert problem["status"] == status, problem
        assert all(isinstance(problem[name], str) for name in ("type", "title", "detail"))
        return problem


@frozen
class Api:
    """Calls to one server with one token."""

    url: str
    token: str | None

    def as_(self, token: str | None) -> "Api":
        """The same server with another token."""
        return Api(self.url, token)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """Send one request on a connection of its own."""
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if self.token is not None:
            sent.setdefault("authorization", f"Bearer {self.token}")
        if raw is None and body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            sent.setdefault("content-type", "application/json")
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.netloc, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, raw, sent)
            answer = connection.getresponse()
            got = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, got, answer.read().decode())

    def get(self, path: str) -> Answer:
        """Read."""
        return self.call("GET", path)

    def post(self, path: str, body: object = None, **headers: str) -> Answer:
        """Post JSON, `{}` unless told; headers are named with underscores for hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("POST", path, {} if body is None else body, headers=sent)

    def group(self, **settings: object) -> "Group":
        """A new group."""
        name = fresh("group")
        self.post("/v1/runner-groups", {"id": name, "settings": settings}).ok(201)
        return Group(self, name)


@define
class Runner:
    """A runner and, once opened, its session."""

    api: Api
    id: str
    name: str
    token: str
    session: str = ""

    @property
    def path(self) -> str:
        """Where the runner is."""
        return f"/v1/runners/{self.id}"

    def own(self) -> Api:
        """Calls with the runner's own token."""
        return self.api.as_(self.token)

    def open(self, *, ready: bool = True, **more: object) -> Any:
        """Open a session; the standing."""
        body = {"session_key": fresh("key"), "ready": ready, **more}
        standing = self.own().post(f"{self.path}/sessions", body).ok(201)
        self.session = standing["session_id"]
        return standing

    def try_beat(self, **more: object) -> Answer:
        """Beat once; whatever comes back."""
        return self.own().post(f"{self.path}/heart-beats", {"session_id": self.session, **more})

    def beat(self, **more: object) -> Any:
        """Beat once; the standing."""
        return self.try_beat(**more).ok()

    def waiting_beat(self, wait: float, **more: object) -> Any:
        """Beat once with leave to hold the answer; the standing."""
        body = {"session_id": self.session, **more}
        return self.own().post(f"{self.path}/heart-beats", body, prefer=f"wait={wait:g}").ok()

    def claim(self, epoch: int | None = None, **more: object) -> Answer:
        """Claim with a fresh id unless one is given."""
        body = {"session_id": self.session, "claim_id": fresh("claim"), **more}
        if epoch is not None:
            body["epoch"] = epoch
        return self.own().post(f"{self.path}/jobs/claim", body)

    def claim_one(self, epoch: int | None = None, **more: object) -> tuple[Any, str]:
        """Claim a job that must be there: it and its claim token."""
        (item,) = self.claim(epoch, limit=1, **more).ok()["items"]
        return item["job"], item["claim_token"]

    def release(self, epoch: int) -> Any:
        """Release a term; the standing."""
        body = {"session_id": self.session, "epoch": epoch}
        return self.own().post(f"{self.path}/release", body).ok()

    def leave(self) -> None:
        """End the session."""
        self.own().call("DELETE", f"{self.path}/sessions/{self.session}").ok(204)

    def do(self, verb: str, **body: object) -> Any:
        """Taint, untaint, drain or undrain as the operator; the runner."""
        return self.api.post(f"{self.path}/{verb}", body).ok()

    def view(self) -> Any:
        """What the operator sees of it."""
        return self.api.get(self.path).ok()


@frozen
class Group:
    """A group and what the operator does with it."""

    api: Api
    id: str

    @property
    def path(self) -> str:
        """Where the group is."""
        return f"/v1/runner-groups/{self.id}"

    def runner(self, name: str | None = None, **more: object) -> Runner:
        """Register a new runner."""
        name = name or fresh("runner")
        made = self.api.post(f"{self.path}/runners", {"name": name, **more}).ok(201)
        return Runner(self.api, made["runner"]["id"], name, made["token"])

    def runners(self, count: int) -> list[Runner]:
        """Register runners and open their sessions; the first leads."""
        made = [self.runner() for _ in range(count)]
        for runner in made:
            runner.open()
        return made

    def view(self) -> Any:
        """The group."""
        return self.api.get(self.path).ok()

    def leader(self) -> Answer:
        """Who leads."""
        return self.api.get(f"{self.path}/leader")

    def explain(self) -> Any:
        """What would be decided now."""
        return self.api.get(f"{self.path}/explain").ok()

    def what_if(self, *changes: object) -> Any:
        """What would be decided after these changes."""
        return self.api.post(f"{self.path}/what-if", {"changes": list(changes)}).ok()

    def pin(self, runner_id: str | None, **more: object) -> Answer:
        """Pin or unpin."""
        return self.api.call("PUT", f"{self.path}/leader", {"runner_id": runner_id, **more})

    def patch(self, **settings: object) -> Answer:
        """Change settings."""
        return self.api.call("PATCH", self.path, {"settings": settings})

    def events(self) -> list[Any]:
        """Everything that was recorded of the group."""
        items: list[Any] = self.api.get(f"{self.path}/events?limit=500").ok()["items"]
        return items

    def job(self, kind: str = "work", **more: object) -> Any:
        """Enqueue; the job."""
        return self.api.post(f"{self.path}/jobs", {"kind": kind, **more}).ok(201)


def until(look: Callable[[], T], *beating: Runner, within: float = 15.0) -> T:
    """Look again until it is true, while these runners beat; the last look."""
    deadline = time.monotonic() + within
    while True:
        for runner in beating:
            runner.beat()
        if seen := look():
            return seen
        assert time.monotonic() < deadline, f"still {seen!r} after {within} seconds"
        time.sleep(0.05)


def settle(api: Api, job_id: str, token: str, outcome: str, **more: object) -> Answer:
    """Settle a claim."""
    body = {"claim_token": token, "outcome": outcome, **more}
    return api.post(f"/v1/jobs/{job_id}/settle", body)


@define
class Later(Generic[T]):
    """A call that goes on in a thread of its own."""

    _thread: threading.Thread = field(init=False)
    _call: Callable[[], T]
    _result: list[T] = field(factory=list)
    started: float = field(init=False)
    ended: float = field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        """Start at once."""
        self.started = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._result.append(self._call())
        self.ended = time.monotonic()

    @property
    def pending(self) -> bool:
        """Whether the call has not come back."""
        return self._thread.is_alive()

    def result(self, within: float = 20.0) -> T:
        """What came back."""
        self._thread.join(within)
        assert self._result, "the call did not come back"
        return self._result[0]


@define
class Server:
    """The server's process on one state directory."""

    state: Path
    api: Api = field(init=False)
    process: subprocess.Popen[str] = field(init=False)
    _token: str = field(init=False, default="")

    def start(self) -> Self:
        """Run it until it says where it listens."""
        command = [sys.executable, "-m", "election_cli", "serve"]
        options = ["--state-dir", str(self.state), "--listen", "127.0.0.1:0", "--json"]
        with (self.state.parent / "server.log").open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [*command, *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.state.parent / "server.log").read_text(encoding="utf-8")
        told = json.loads(line)
        self._token = told.get("operator_token") or self._token
        self.api = Api(told["url"], self._token)
        return self

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait until it is gone."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server on a fresh state directory, ended afterwards."""
    state = folder / "state"
    state.mkdir()
    server = Server(state).start()
    try:
        yield server
    finally:
        server.end()
