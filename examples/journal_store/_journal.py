"""The database: one file of transactions, which each process reads to its end before its own."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
from attrs import define, field

from election_core import Invalid, OutcomeUnknown, SchemaMismatch, Unavailable
from election_core.ports import Topic
from examples.journal_store._tables import Tables

__all__ = ["Ear", "Journal"]

T = TypeVar("T")
Ear = deque[frozenset[Topic] | None]
"""What others announced since somebody looked; `None`: some of it may have been missed."""
_PATIENCE = 5.0
"""How many seconds a transaction waits for those of other processes."""
_CHUNK = 1 << 20
_SLACK = 1000
"""How many lines more than rows a file may have before it is written anew."""


def _line(document: object) -> bytes:
    text = json.dumps(document, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


@define(repr=False)
class Journal:
    """A folder with the journal in it, and its tables in memory."""

    folder: Path
    elapsed: Callable[[], timedelta]
    """A clock that never steps and that all processes of the machine share."""
    tables: Tables = field(factory=Tables, init=False)
    ears: list[Ear] = field(factory=list, init=False)
    name: str = field(factory=lambda: secrets.token_hex(8), init=False)
    _one: anyio.CapacityLimiter = field(factory=lambda: anyio.CapacityLimiter(1), init=False)
    _lock: int = field(default=-1, init=False)
    _file: int = field(default=-1, init=False)
    _offset: int = field(default=0, init=False)
    _lines: int = field(default=0, init=False)
    _closed: bool = field(default=False, init=False)

    @property
    def path(self) -> Path:
        """The file of transactions."""
        return self.folder / "journal"

    # From async code.

    async def run(self, call: Callable[[Tables], T]) -> T:
        """Run a function as one transaction, in a thread.

        Whoever is cancelled while it waits for its turn has done nothing; whoever is cancelled
        later is kept until the transaction has ended, one way or the other.
        """
        return await anyio.to_thread.run_sync(self._run, call, limiter=self._one)

    async def close(self) -> None:
        """Close the files once the transaction that is under way has ended."""
        with anyio.CancelScope(shield=True):
            async with self._one:
                self._closed = True
                self._forget()
                if self._lock >= 0:
                    os.close(self._lock)

    # In the thread.

    def identity(self) -> str:
        """What a copy of the folder has not: the lock file as this file system made it."""
        lock = os.fstat(self._lock)
        return f"{lock.st_ino}.{lock.st_ctime_ns}"

    def note(self, at: datetime) -> None:
        """Note a time up to which all is on disk, for when an older journal is put back."""
        (self.folder / "newest").write_text(at.isoformat(), encoding="utf-8")

    def noted(self) -> datetime | None:
        """The time that was noted last, if it can be read."""
        try:
            return datetime.fromisoformat((self.folder / "newest").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def _run(self, call: Callable[[Tables], T]) -> T:
        if self._closed:
            raise Unavailable(f"{self.folder}: the store is closed; open it again")
        try:
            with self._locked():
                self._catch_up()
                try:
                    answer = call(self.tables)
                    self._commit()
                except BaseException:
                    if any(table.touched for table in self.tables.by_name().values()):
                        self._forget()
                    raise
                return answer
        except OSError as error:
            where = error.filename or self.folder
            raise Unavailable(f"{where}: {error.strerror}; check the folder") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock < 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise Unavailable(f"{self.folder}: another process keeps the lock") from None
                time.sleep(0.001)
            else:
                break
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Read what other processes have written, and set the time."""
        if self._file < 0 or os.fstat(self._file).st_ino != self._inode():
            self._open()
        self._read()
        if self._lines > _SLACK + 2 * sum(len(table) for table in self.tables.by_name().values()):
            try:
                self._compact()
            except OSError:
                pass  # nothing is lost; the next transaction tries again
            else:
                self._open()
                self._read()
        store = self.tables.meta.get("")
        if store is not None:
            now = store.began + (self.elapsed() - store.began_elapsed)
            self.tables.at = max(self.tables.at, now)

    def _read(self) -> None:
        chunks, end = [], self._offset
        while chunk := os.pread(self._file, _CHUNK, end):
            chunks.append(chunk)
            end += len(chunk)
        lines = b"".join(chunks).splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            text = line[9:-1]
            if not line.endswith(b"\n") or line[:8] != b"%08x" % zlib.crc32(text):
                if number < len(lines):
                    raise Unavailable(f"{self.path}: damaged; restore a backup")
                break  # whoever wrote it died; the next line is written over it
            self._apply(text)
            self._offset += len(line)
            self._lines += 1

    def _inode(self) -> int:
        try:
            return self.path.stat().st_ino
        except FileNotFoundError:
            return -1

    def _open(self) -> None:
        """Open the file that has the journal's name now, and forget what was in another."""
        self._forget()
        for ear in self.ears:
            ear.append(None)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self._sync_folder()
        for table in self.tables.by_name().values():
            table.clear()
        self._offset = self._lines = 0

    def _sync_folder(self) -> None:
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _apply(self, text: bytes) -> None:
        try:
            document = json.loads(text)
            if "news" in document:
                if document["by"] != self.name:
                    for ear in self.ears:
                        ear.append(frozenset((kind, about) for kind, about in document["news"]))
                return
            tables = self.tables.by_name()
            self.tables.at = max(self.tables.at, datetime.fromisoformat(document["at"]))
            for name, rows in document["rows"].items():
                tables[name].apply(tables[name].read(rows))
        except (ValueError, KeyError, TypeError, Invalid) as error:
            raise SchemaMismatch(f"{self.path}: not written by this version ({error})") from error

    def _commit(self) -> None:
        """Write what the transaction did, and take over what was written."""
        tables = self.tables.by_name()
        rows = {name: changed for name, table in tables.items() if (changed := table.changed())}
        if not rows:
            return
        line = _line({"at": self.tables.at.isoformat(), "rows": rows})
        # What could not be read back is refused before it is written.
        document = json.loads(line[9:])["rows"]
        written = {name: tables[name].read(changed) for name, changed in document.items()}
        self._append(line)
        for name, changed in written.items():
            tables[name].apply(changed)

    def announce(self, topics: list[Topic]) -> None:
        """Tell the others; it need not last, so it is not synced."""
        self._append(_line({"by": self.name, "news": topics}), durable=False)

    def _append(self, line: bytes, *, durable: bool = True) -> None:
        try:
            _write(self._file, line, self._offset)
            if durable:
                os.fsync(self._file)
        except OSError as error:
            try:
                os.ftruncate(self._file, self._offset)
                os.fsync(self._file)
            except OSError:
                # Whether the line will be there after a crash cannot be known.
                raise OutcomeUnknown(f"{self.path}: {error.strerror}; repeat the call") from error
            raise
        self._offset += len(line)
        self._lines += 1

    def _forget(self) -> None:
        """Have the next transaction read the file anew."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _compact(self) -> None:
        """Replace the file by one line with every row in it."""
        rows = {name: table.whole() for name, table in self.tables.by_name().items()}
        line = _line({"at": self.tables.at.isoformat(), "rows": rows})
        new = self.path.with_name("journal.new")
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write(descriptor, line, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.replace(self.path)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
