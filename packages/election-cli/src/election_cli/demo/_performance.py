"""One performance of the demo: set the stage, play the script, then read what the store kept."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType

import anyio
from attrs import evolve, field, frozen

from election_cli._stores import PostgresDatabase, SqliteFile, StoreLocation, open_store
from election_cli.demo._audit import Findings, audit
from election_cli.demo._evidence import Evidence, collect, in_store_time
from election_cli.demo._journal import Journals
from election_cli.demo._processes import Child, Processes, StartError, first_line
from election_cli.demo._report import Report
from election_cli.demo._script import LEASE_SECONDS, play
from election_cli.demo._stage import BrokenPromise, Stage
from election_cli.demo._timeline import Timeline
from election_core import ElectionError
from election_ctl_api import OPERATOR_TOKEN_FILE
from election_sdk import Client

__all__ = ["Performance", "perform", "refusals"]

_LEAST_JOBS = 30
_LEAST_TERMS = 6
_SCRIPT_LIMIT = 46.0
"""With what comes after it, the demo ends within a minute, whatever happens."""
_SERVER_START_LIMIT = 20.0
_METRICS_LIMIT = 2.0
_SERVER_STOP_LIMIT = 5.0
_AUDIT_OVER = 56.0
"""Seconds from the start: at least three, and all the time that the script left."""
_FAREWELL_LIMIT = 3.0
_REFUSAL = re.compile(r'^election_refusals_total\{code="([^"]+)"\} (\S+)$', re.MULTILINE)


@frozen(kw_only=True)
class Performance:
    """Where one is given.

    Attributes:
        folder: For the state files, the journals and what the processes write.
        store: Where the server keeps everything else.
    """

    folder: Path
    store: StoreLocation

    @property
    def server_environment(self) -> Mapping[str, str]:
        """How the server is told of the store: not where `ps` shows it."""
        match self.store:
            case SqliteFile():
                return {"ELECTION_STORE": self.store.url}
            case PostgresDatabase(dsn=dsn, listen_dsn=listen_dsn):
                direct = {} if listen_dsn is None else {"ELECTION_DIRECT_STORE": listen_dsn}
                return {"ELECTION_STORE": dsn, **direct}

    @property
    def token(self) -> Path:
        """Where the server keeps the operator's token."""
        return self.folder / "server" / OPERATOR_TOKEN_FILE


def perform(performance: Performance, timeline: Timeline) -> Report:
    """Give a performance. Whatever happens, no process is left when this returns or raises."""
    before = {number: signal.signal(number, _interrupted) for number in _ENDING}
    try:
        with Processes(performance.folder) as processes, timeline:
            return anyio.run(_perform, performance, processes, timeline)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_ENDING = (signal.SIGTERM, signal.SIGHUP)


def _interrupted(number: int, frame: FrameType | None) -> None:
    """End like Ctrl-C does, so that the children are ended as well."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


@frozen
class _Notes:
    """What is known of a performance without a look at the store."""

    enqueued: list[str] = field(factory=list)
    refused: dict[str, int] = field(factory=dict)
    broken: list[str] = field(factory=list)


async def _perform(performance: Performance, processes: Processes, timeline: Timeline) -> Report:
    try:
        return await _played_and_audited(performance, processes, timeline)
    finally:
        processes.kill_all()
        with anyio.move_on_after(_FAREWELL_LIMIT, shield=True):
            await _revoke_token(performance)


async def _played_and_audited(
    performance: Performance, processes: Processes, timeline: Timeline
) -> Report:
    group = f"demo-{secrets.token_hex(4)}"
    notes = _Notes()
    audit_over = anyio.current_time() + _AUDIT_OVER
    server = _start_server(performance, processes)
    timeline.did("server", f"is started (process {server.pid})")
    try:
        with anyio.fail_after(_SCRIPT_LIMIT):
            await _with_server(performance, processes, timeline, server, group, notes)
    except* (BrokenPromise, StartError, ElectionError) as errors:
        notes.broken.extend(str(error) for error in _leaves(errors))
    except* TimeoutError:
        notes.broken.append(
            f"the script did not come to its end within {_SCRIPT_LIMIT:g} s; it was at: "
            f"{timeline.title}"
        )
    if not await server.stop(within=_SERVER_STOP_LIMIT):
        notes.broken.append(f"the server did not stop within {_SERVER_STOP_LIMIT:g} s of SIGTERM")
    processes.kill_all()
    evidence = await _evidence(performance, group, notes, until=audit_over)
    findings = Findings(enqueued=len(notes.enqueued)) if evidence is None else audit(evidence)
    return Report(
        findings=findings,
        terms=() if evidence is None else evidence.terms,
        refused=notes.refused,
        broken=[*notes.broken, *findings.broken],
    )


async def _with_server(
    performance: Performance,
    processes: Processes,
    timeline: Timeline,
    server: Child,
    group: str,
    notes: _Notes,
) -> None:
    """Play the script once the server is up, and ask it in the end what it refused."""
    url, token = await _address_and_token(performance, server)
    async with Client(url, token=token) as client:
        stage = Stage(
            client=client,
            url=url,
            group=group,
            folder=performance.folder,
            journals=Journals(performance.folder),
            processes=processes,
            timeline=timeline,
            enqueued=notes.enqueued,
        )
        try:
            await client.create_group(group, settings={"lease_seconds": LEASE_SECONDS})
            async with stage.alive():
                await play(stage)
        finally:
            with anyio.move_on_after(_METRICS_LIMIT, shield=True):
                notes.refused.update(refusals(await client.metrics()))


def _start_server(performance: Performance, processes: Processes) -> Child:
    return processes.start(
        "server",
        [
            *("election_cli", "serve", "--listen", "127.0.0.1:0"),
            *("--state-dir", os.fspath(performance.token.parent)),
        ],
        environment=performance.server_environment,
    )


async def _address_and_token(performance: Performance, server: Child) -> tuple[str, str]:
    """Where the server listens, as it prints it, and the operator's token, where it keeps it."""
    line = await first_line(server, "http://", within=_SERVER_START_LIMIT)
    found = re.search(r"http://[\w.\[\]:]+", line)
    if found is None:
        raise StartError(f"the server told no address in {line!r}")
    return found[0].rstrip(".:"), performance.token.read_text(encoding="utf-8").strip()


async def _evidence(
    performance: Performance, group: str, notes: _Notes, *, until: float
) -> Evidence | None:
    """What the store and the journals tell; nothing where the store holds or tells nothing."""
    if not notes.enqueued:
        return None
    try:
        with anyio.fail_after(until - anyio.current_time()):
            async with open_store(performance.store) as store:
                executions = Journals(performance.folder).executions()
                if isinstance(performance.store, PostgresDatabase):
                    executions = await in_store_time(store, group, executions)
                evidence = await collect(
                    store, group, enqueued=notes.enqueued, executions=executions
                )
    except (ElectionError, TimeoutError) as error:
        notes.broken.append(f"the store could not be read: {str(error) or 'it took too long'}")
        return None
    if not notes.broken:
        notes.broken.extend(_too_little(evidence))
    return evolve(evidence, complete=not notes.broken)


async def _revoke_token(performance: Performance) -> None:
    """Leave no token that nobody knows in a database that stays."""
    if isinstance(performance.store, SqliteFile) or not performance.token.exists():
        return
    digest = hashlib.sha256(performance.token.read_bytes().strip()).digest()
    with suppress(ElectionError):
        async with open_store(performance.store) as store:
            token = await store.find_token(digest)
            if token is not None:
                await store.revoke_token(token.id)


def _too_little(evidence: Evidence) -> list[str]:
    """A performance that shows too little proves nothing."""
    found = []
    if len(evidence.jobs) < _LEAST_JOBS:
        found.append(f"only {len(evidence.jobs)} jobs were enqueued, not {_LEAST_JOBS}")
    if len(evidence.terms) < _LEAST_TERMS:
        found.append(f"only {len(evidence.terms)} terms were seen, not {_LEAST_TERMS}")
    return found


def refusals(metrics: str) -> dict[str, int]:
    """How many calls were refused, by code, from the server's metrics."""
    found = {code: int(float(count)) for code, count in _REFUSAL.findall(metrics)}
    return {code: count for code, count in sorted(found.items()) if count}


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """The exceptions of a group, however deep they are."""
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
