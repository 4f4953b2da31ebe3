"""The database of the how-to's adapter: what disks, crashes and copies do to it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from election_core import EPOCH_JUMP, MAX_EPOCH, OutcomeUnknown, SchemaMismatch, Unavailable
from election_testkit import Fleet, FullStore, ManualClock
from examples.journal_store import JournalStore, _journal
from tests.docs.test_journal_store import open_at

WRITER = """
import sys, anyio
from examples.journal_store import JournalStore
from election_testkit import Fleet
async def main():
    async with JournalStore.open(sys.argv[1]) as store:
        fleet = Fleet(store, group_id="theirs")
        await fleet.create()
        await fleet.join("a")
        print("led", flush=True)
        while True:
            await fleet.beat("a")
anyio.run(main)
"""


@pytest.fixture
def anyio_backend() -> str:
    """Disks do not know who waits for them; the suites run on trio too."""
    return "asyncio"


async def led(store: FullStore) -> Fleet:
    """A group with a leader."""
    fleet = Fleet(store)
    await fleet.create()
    await fleet.join("a")
    return fleet


async def test_half_a_line_is_written_over(tmp_path: Path) -> None:
    """What a process that died left at the end is no transaction, and in nobody's way."""
    clock = ManualClock()
    async with open_at(tmp_path, clock) as store:
        fleet = await led(store)
        before = await fleet.load()
        with (tmp_path / "journal").open("ab") as journal:
            journal.write(b'00000000 {"at":' + b"x" * 10_000)
        assert await fleet.load() == before
        await fleet.reopen("a")
    async with open_at(tmp_path, clock) as store:
        assert (await store.load(fleet.group_id)).revision > before.revision


async def test_damage_is_told(tmp_path: Path) -> None:
    """A journal whose middle is damaged is refused, rather than cut."""
    async with open_at(tmp_path, ManualClock()) as store:
        await led(store)
    path = tmp_path / "journal"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"x" + lines[1], *lines[2:]]))
    with pytest.raises(Unavailable, match="damaged"):
        async with open_at(tmp_path, ManualClock()):
            pass


async def test_what_another_version_wrote_is_a_mismatch(tmp_path: Path) -> None:
    """Rows that cannot be read are told as another version's, and not touched."""
    line = _journal._line({"at": "2026-01-31T12:00:00+00:00", "rows": {"stars": {}}})
    (tmp_path / "journal").write_bytes(line)
    with pytest.raises(SchemaMismatch, match="this version"):
        async with open_at(tmp_path, ManualClock()):
            pass
    assert (tmp_path / "journal").read_bytes() == line


async def test_a_disk_that_fails_undoes_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that could not be made durable has not happened, and is told so."""
    async with open_at(tmp_path, ManualClock()) as store:
        fleet = await led(store)
        before = await fleet.load()
        planned = await fleet.plan(fleet.deleting("a"))
        fails = iter([True])

        def fsync(descriptor: int) -> None:
            if next(fails, False):
                raise OSError(5, "the disk failed")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fsync)
            with pytest.raises(Unavailable, match="the disk failed") as failed:
                await fleet.commit(planned, "once")
        assert not isinstance(failed.value, OutcomeUnknown)
        assert await fleet.load() == before


async def test_a_disk_that_fails_twice_leaves_the_outcome_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the line could not be taken back either, the call is to be repeated, and may be."""
    async with open_at(tmp_path, ManualClock()) as store:
        fleet = await led(store)
        planned = await fleet.plan(fleet.deleting("a"))

        def fsync(descriptor: int) -> None:
            raise OSError(5, "the disk failed")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fsync)
            with pytest.raises(OutcomeUnknown):
                await fleet.commit(planned, "once")
        committed = await fleet.commit(planned, "once")
        assert committed.revision == planned.before.revision + 1
        assert (await fleet.load()).runners == ()


async def test_a_lock_that_is_kept_is_waited_for_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is frozen inside a transaction makes calls fail, not hang."""
    monkeypatch.setattr(_journal, "_PATIENCE", 0)
    async with open_at(tmp_path, ManualClock()) as store:
        fleet = await led(store)
        with (tmp_path / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(Unavailable, match="another process"):
                await fleet.load()
        assert await fleet.leader() == "a"


async def test_the_journal_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written anew when it is much longer than what it holds; others notice, and go on."""
    monkeypatch.setattr(_journal, "_SLACK", 10)
    clock = ManualClock()
    async with open_at(tmp_path, clock) as store, open_at(tmp_path, clock) as other:
        fleet = await led(store)
        async with other.changes() as heard:
            for _ in range(200):
                clock.advance(1)
                await fleet.beat("a")
            with anyio.fail_after(30):
                assert await anext(heard) is None  # something may have been missed
        assert len((tmp_path / "journal").read_bytes().splitlines()) < 60
        assert await other.load(fleet.group_id) == await fleet.load()


async def test_time_does_not_follow_a_clock_that_goes_back(tmp_path: Path) -> None:
    """Not even the clock that only counts is believed when it goes back."""
    clock = ManualClock()
    async with open_at(tmp_path, clock) as store:
        before = (await store.due(0)).at
        clock.advance(-10)
        assert (await store.due(0)).at == before
    async with open_at(tmp_path, clock) as store:
        assert (await store.due(0)).at == before
        clock.advance(1)
        assert (await store.due(0)).at > before


@pytest.mark.parametrize("what", ["journal", "folder"])
async def test_a_copy_that_is_put_back_makes_epochs_jump(tmp_path: Path, what: str) -> None:
    """Whichever way an older state comes back, no epoch that it may have granted comes again."""
    folder, backup = tmp_path / "fleet", tmp_path / "backup"
    folder.mkdir()
    clock = ManualClock()
    async with open_at(folder, clock) as store:
        fleet = await led(store)
        shutil.copytree(folder, backup)
        clock.advance(5)
        for _ in range(2):  # the second notes what the first one made durable
            await store.mark(timedelta(seconds=1))
        await fleet.release("a")
        lost, version = await fleet.load(), (await fleet.pulse("a")).standing_version
        newest = await store.newest_event()
        clock.advance(100)  # within the second minute
    if what == "journal":
        shutil.copy(backup / "journal", folder / "journal")
    else:
        shutil.rmtree(folder)
        shutil.copytree(backup, folder)
    async with open_at(folder, clock) as store:
        restored = await store.load(fleet.group_id)
        assert restored.group.epoch == 1 + 2 * EPOCH_JUMP > lost.group.epoch
        assert restored.group.term is None
        assert restored.group.grant_not_before is not None
        assert restored.group.grant_not_before > clock()
        fleet.store = store
        assert (await fleet.pulse("a")).standing_version > version + EPOCH_JUMP
        assert [event.kind for event in await store.events(None, after=newest)] == [
            "store-restored"
        ]
        assert (await store.load("never")).group.epoch == 2 * EPOCH_JUMP


async def test_a_journal_that_is_lost_makes_epochs_jump(tmp_path: Path) -> None:
    """Where only the note of a mark is left, no group begins with epochs that were granted."""
    clock = ManualClock()
    async with open_at(tmp_path, clock) as store:
        fleet = await led(store)
        await store.mark(timedelta(seconds=1))
    (tmp_path / "journal").unlink()
    async with open_at(tmp_path, clock) as store:
        lost = (await store.load(fleet.group_id)).group
        assert lost.epoch > 10**6 * EPOCH_JUMP
        assert lost.epoch < MAX_EPOCH


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that leads a group of its own in the folder, and renews all the time."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "led\n"
        yield process
        process.kill()


async def test_a_process_that_is_killed_leaves_nothing_behind(
    tmp_path: Path, other_process: subprocess.Popen[str]
) -> None:
    """Two processes share the folder; when one is killed at its work, the other goes on at once."""
    async with JournalStore.open(tmp_path) as store:
        before = await store.load("theirs")
        with anyio.fail_after(30):
            while (await store.load("theirs")).runners == before.runners:
                pass
        other_process.kill()
        assert await (await led(store)).leader() == "a"
