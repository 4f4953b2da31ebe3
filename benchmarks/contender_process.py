"""A contender in a process of its own, as runners are: what one does takes nothing from another."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum, auto
from multiprocessing.connection import Connection

import anyio
from attrs import frozen
from contender import Contender
from fleet import Server

from election_sdk import Client

__all__ = ["Remote", "contending"]

_PROCESSES = multiprocessing.get_context("forkserver")


class _Order(StrEnum):
    LEAD = auto()
    STAND_BY = auto()
    RELEASE = auto()
    END = auto()


@frozen
class Remote:
    """One that is told what to do, and tells when that was, by the machine's monotonic clock."""

    _pipe: Connection

    def leads(self) -> float:
        """Wait until it knows that it leads; since when."""
        return self._ask(_Order.LEAD)

    def stands_by(self) -> float:
        """Wait until it knows that it does not; since when."""
        return self._ask(_Order.STAND_BY)

    def release(self) -> float:
        """Have it give leadership up; when it began to."""
        return self._ask(_Order.RELEASE)

    def _ask(self, order: _Order) -> float:
        self._pipe.send(order)
        answer: float = self._pipe.recv()
        return answer


@contextmanager
def contending(to: Server, token: str, group: str, name: str) -> Iterator[Remote]:
    """A contender that has joined a group, as long as the block lasts."""
    ours, theirs = multiprocessing.Pipe()
    process = _PROCESSES.Process(target=_contend, args=(theirs, to.url, token, group, name))
    process.start()
    try:
        assert ours.recv() == "joined"
        yield Remote(ours)
    finally:
        ours.send(_Order.END)
        process.join()


def _contend(pipe: Connection, url: str, token: str, group: str, name: str) -> None:
    anyio.run(_obey, pipe, url, token, group, name)


async def _obey(pipe: Connection, url: str, token: str, group: str, name: str) -> None:
    async with (
        Client(url, token=token) as client,
        Client(url, token=token) as releases,
        anyio.create_task_group() as tasks,
    ):
        await releases.create_group(group)
        contender = await Contender.join(client, releases, group, name)
        tasks.start_soon(contender.beat)
        pipe.send("joined")
        while True:
            order: _Order = await anyio.to_thread.run_sync(pipe.recv)
            match order:
                case _Order.LEAD:
                    pipe.send(await contender.until(leads=True))
                case _Order.STAND_BY:
                    pipe.send(await contender.until(leads=False))
                case _Order.RELEASE:
                    began = time.monotonic()
                    await contender.release()
                    pipe.send(began)
                case _Order.END:
                    break
        tasks.cancel_scope.cancel()
