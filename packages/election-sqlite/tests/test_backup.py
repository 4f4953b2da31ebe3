"""Backups, restoring them, and files swapped by hand: no epoch is ever granted twice."""

# ruff: noqa: ASYNC240 - a test may block its loop

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from election_core import (
    EPOCH_JUMP,
    Decide,
    DeleteGroup,
    Invalid,
    JobState,
    Kind,
    RegisterRunner,
    Release,
    SchemaMismatch,
    Settings,
    StaleEpoch,
    Unavailable,
    create_group,
)
from election_sqlite import SqliteStore, backup, restore
from election_sqlite._schema import SCHEMA_VERSION
from sqlite_clock import NOW, ManualClock
from sqlite_fleet import Fleet

_TICK = timedelta(seconds=1)


async def make(path: Path, clock: ManualClock, settings: Settings | None = None) -> None:
    """A database with a group g led under epoch 1, one job running, and remains of a group h."""
    async with SqliteStore.open(path, clock=clock) as store:
        fleet = Fleet(store)
        await fleet.create(settings)
        await fleet.join("a", "b")
        await fleet.enqueue("job")
        await store.claim("a", "a1", claim_id="c", epoch=1, limit=1, tokens=["t"])
        gone = Fleet(store, "h")
        await gone.create()
        await gone.join("c")
        await gone.do(DeleteGroup(force=True))
        await store.mark(_TICK)


def names(folder: Path) -> set[str]:
    """The files in a folder."""
    return {file.name for file in folder.iterdir()}


async def check_reincarnated(store: SqliteStore, *, barrier: timedelta) -> None:
    """All terms have ended, their jobs are queued, epochs are far ahead and behind a barrier."""
    snapshot = await store.load("g")
    group = snapshot.group
    assert (group.term, group.ended, group.epoch) == (None, Kind.RESTORED, 1 + EPOCH_JUMP)
    assert group.grant_not_before == snapshot.at + barrier
    assert group.look_again_at is not None
    assert (await store.load("h")).group.epoch == 1 + EPOCH_JUMP
    job = await store.job("job")
    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    async with store.connect() as connection:
        await connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StaleEpoch):
            await store.fence(connection, "g", 1)


async def test_backup_and_restore(path: Path, clock: ManualClock, tmp_path: Path) -> None:
    """A restored store has all that the backup had, and epochs beyond any of the lost time."""
    await make(path, clock)
    copy = tmp_path / "copy.db"
    async with SqliteStore.open(path, clock=clock) as store:
        await store.backup(copy)
        fleet = Fleet(store)
        await fleet.do(Release(runner_id="a", session_id="a1", epoch=1))
        await fleet.enqueue("lost")
        assert await fleet.epoch() == 2
    replaced = path.read_bytes()
    clock.advance(60)

    kept = await restore(copy, path, clock=clock)

    assert kept is not None
    assert kept.name.startswith("election.db.before-restore-")
    assert kept.read_bytes() == replaced
    assert copy.exists()
    async with SqliteStore.open(path, clock=clock) as store:
        await check_reincarnated(store, barrier=timedelta(seconds=15))
        assert await store.job_counts() == {"queued": 1}
        clock.advance(16)
        fleet = Fleet(store)
        fleet.sessions.update(a=1, b=1)
        await fleet.beat("a", "b")
        await fleet.decide()
        assert await fleet.epoch() == 2 + EPOCH_JUMP


async def test_restore_counts_once(path: Path, clock: ManualClock, tmp_path: Path) -> None:
    """Opening a restored store again does not end its terms again."""
    await make(path, clock)
    async with SqliteStore.open(path, clock=clock) as store:
        await store.backup(tmp_path / "copy.db")
    await restore(tmp_path / "copy.db", path, clock=clock)

    async with SqliteStore.open(path, clock=clock) as store:
        first = await store.load("g")
    async with SqliteStore.open(path, clock=clock) as store:
        assert await store.load("g") == first


async def test_one_backup_restored_again_and_again(
    path: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """Each restore of the same backup is ahead of what was granted since the one before."""
    await make(path, clock)
    await backup(path, tmp_path / "copy.db")
    granted, told = [1], 0
    for _ in range(3):
        await restore(tmp_path / "copy.db", path, clock=clock)
        clock.advance(20)
        async with SqliteStore.open(path, clock=clock) as store:
            assert (await store.events(None))[-1].id > told
            fleet = Fleet(store)
            fleet.sessions.update(a=1, b=1)
            await fleet.beat("a", "b")
            await fleet.decide()
            granted.append(await fleet.epoch())
            for group_id in ("lost", "h"):
                fleet = Fleet(store, group_id)
                remains = await store.load(group_id)
                changes = create_group(group_id, Settings(), at=NOW, remains=remains.group)
                await store.commit(changes, expected_revision=remains.revision, commit_id=group_id)
                assert await fleet.epoch() >= granted[-1] - 2
            told = (await store.events(None))[-1].id

    assert granted == [1, 2 + EPOCH_JUMP, 2 + 2 * EPOCH_JUMP, 2 + 3 * EPOCH_JUMP]


async def test_restore_where_nothing_was(path: Path, clock: ManualClock, tmp_path: Path) -> None:
    """A backup may be restored to a new place, also as a copy made by hand."""
    await make(path, clock)
    copy, new, by_hand = tmp_path / "copy.db", tmp_path / "new.db", tmp_path / "by-hand.db"
    await backup(path, copy)
    shutil.copy(copy, by_hand)

    assert await restore(copy, new, clock=clock) is None

    for place in (new, by_hand):
        async with SqliteStore.open(place, clock=clock) as store:
            await check_reincarnated(store, barrier=timedelta(seconds=15))


async def test_events_and_standings_move_on_as_well(
    path: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """Ids of events and versions of standings seen in the lost time do not come up again."""
    await make(path, clock)
    await backup(path, tmp_path / "copy.db")
    async with SqliteStore.open(path, clock=clock) as store:
        fleet = Fleet(store)
        await fleet.do(Release(runner_id="a", session_id="a1", epoch=1))
        seen_event = (await store.events(None))[-1].id
        seen_version = max(
            runner.session.standing_version
            for runner in (await store.load("g")).runners
            if runner.session is not None
        )
        known = {event.id for event in await store.events(None)}
    await restore(tmp_path / "copy.db", path, clock=clock)

    async with SqliteStore.open(path, clock=clock) as store:
        new = await store.events(None, after=seen_event)
        assert {event.kind for event in new} == {"store-restored"}
        assert not known & {event.id for event in new}
        for runner in (await store.load("g")).runners:
            assert runner.session is not None
            assert runner.session.standing_version > seen_version


async def test_barrier_covers_the_longest_lease_known(
    path: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """A longer lease that was given in the lost time is waited out."""
    await make(path, clock)
    await backup(path, tmp_path / "copy.db")
    async with SqliteStore.open(path, clock=clock) as store:
        other = Fleet(store, "long")
        await other.create(Settings(lease=timedelta(minutes=30)))
        await other.join("x")
    await restore(tmp_path / "copy.db", path, clock=clock)

    async with SqliteStore.open(path, clock=clock) as store:
        await check_reincarnated(store, barrier=timedelta(minutes=30))


async def test_time_goes_on_from_the_lost_time(
    path: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """A restored store does not tell a time that the lost one was past, whatever the wall clock."""
    await make(path, clock)
    await backup(path, tmp_path / "copy.db")
    clock.advance(3600)
    async with SqliteStore.open(path, clock=clock) as store:
        last = (await store.mark(_TICK)).at
    clock.reboot("another machine")
    clock.step(-7200)

    await restore(tmp_path / "copy.db", path, clock=clock)

    async with SqliteStore.open(path, clock=clock) as store:
        assert (await store.load("g")).at >= last


async def test_file_swapped_by_hand_is_noticed(
    path: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """Whoever copies an older file over the database need not tell: it is seen."""
    await make(path, clock)
    old = tmp_path / "old.db"
    async with SqliteStore.open(path, clock=clock):
        pass
    shutil.copy(path, old)
    async with SqliteStore.open(path, clock=clock) as store:
        clock.advance(1)
        await store.mark(_TICK)
    shutil.copy(old, path)

    async with SqliteStore.open(path, clock=clock) as store:
        await check_reincarnated(store, barrier=timedelta(seconds=15))
    async with SqliteStore.open(path, clock=clock) as store:
        assert (await store.load("g")).group.epoch == 1 + EPOCH_JUMP


async def test_grant_within_a_tick_is_noticed(
    path: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """A grant that came after the last mark is not forgotten with it."""
    await make(path, clock)
    old = tmp_path / "old.db"
    shutil.copy(path, old)
    async with SqliteStore.open(path, clock=clock) as store:
        clock.advance(0.1)
        high_water = path.with_name("election.db.high-water")
        before = high_water.read_text()
        await Fleet(store).do(Release(runner_id="a", session_id="a1", epoch=1))
        assert high_water.read_text() != before
    shutil.copy(old, path)

    async with SqliteStore.open(path, clock=clock) as store:
        assert (await store.load("g")).group.epoch == 1 + EPOCH_JUMP


async def test_lost_log_is_noticed(path: Path, clock: ManualClock, tmp_path: Path) -> None:
    """A copy without its write-ahead log lacks what was in the log."""
    await make(path, clock)
    whole, part = tmp_path / "whole", tmp_path / "part"
    async with SqliteStore.open(path, clock=clock) as store:
        clock.advance(1)
        await Fleet(store).do(Release(runner_id="a", session_id="a1", epoch=1))
        await store.mark(_TICK)
        for folder, suffixes in ((whole, ("", "-wal", ".high-water")), (part, ("", ".high-water"))):
            folder.mkdir()
            for suffix in suffixes:
                name = f"election.db{suffix}"
                shutil.copy(path.with_name(name), folder / name)

    async with SqliteStore.open(whole / "election.db", clock=clock) as store:
        assert (await store.load("g")).group.epoch == 2
    async with SqliteStore.open(part / "election.db", clock=clock) as store:
        assert (await store.load("g")).group.epoch == 1 + EPOCH_JUMP


async def test_another_stores_file_is_noticed(
    path: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """A database that was put in the place of another one may lack commits as well."""
    await make(path, clock)
    other = tmp_path / "other.db"
    await make(other, clock)
    shutil.copy(other, path)

    async with SqliteStore.open(path, clock=clock) as store:
        await check_reincarnated(store, barrier=timedelta(seconds=15))


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{",
        "[]",
        '{"at": 1}',
        '{"incarnation": 1, "at": 1e400, "longest_lease": 1, "generation": 0}',
    ],
)
async def test_missing_or_torn_high_water_says_nothing(
    path: Path, clock: ManualClock, content: str | None
) -> None:
    """Without what is known beside it, a database is taken as it is."""
    await make(path, clock)
    high_water = path.with_name("election.db.high-water")
    if content is None:
        high_water.unlink()
    else:
        high_water.write_text(content)

    async with SqliteStore.open(path, clock=clock) as store:
        assert (await store.load("g")).group.epoch == 1
    assert "incarnation" in high_water.read_text()


async def test_high_water_that_cannot_be_written_stops_nothing(
    path: Path, clock: ManualClock
) -> None:
    """What is known beside the database is a check; its loss is no reason not to serve."""
    path.with_name("election.db.high-water.new").mkdir()

    await make(path, clock)


async def test_backup_while_the_store_is_busy(
    store: SqliteStore, clock: ManualClock, tmp_path: Path
) -> None:
    """A backup is of one point in time, while writes go on."""
    fleet = Fleet(store)
    await fleet.create()
    await fleet.join("a", "b")
    stop = asyncio.Event()

    async def work() -> int:
        number = 0
        while not stop.is_set():
            await fleet.enqueue(f"first-{number}", f"second-{number}")
            await fleet.beat("a", "b")
            number += 1
        return number

    working = asyncio.ensure_future(work())
    for number in range(5):
        await store.backup(tmp_path / f"{number}.db")
        await asyncio.sleep(0)
    stop.set()
    assert await working
    for number in range(5):
        with closing(sqlite3.connect(tmp_path / f"{number}.db")) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            first, second = (
                copy.execute("SELECT count(*) FROM election_job WHERE id GLOB ?", (pattern,))
                .fetchone()[0]
                for pattern in ("first-*", "second-*")
            )  # fmt: skip
            assert first - second in (0, 1)


async def test_backup_replaces_nothing(store: SqliteStore, tmp_path: Path) -> None:
    """A file that exists is left alone."""
    taken = tmp_path / "taken.db"
    taken.write_text("precious")

    with pytest.raises(Invalid, match="replaces nothing") as caught:
        await store.backup(taken)
    assert str(taken) in caught.value.detail
    with pytest.raises(Invalid, match="replaces nothing"):
        await store.backup(store.path)
    assert taken.read_text() == "precious"


async def test_backup_into_a_missing_folder(store: SqliteStore, tmp_path: Path) -> None:
    """A backup that cannot be written names its file."""
    with pytest.raises(Unavailable, match=r"copy\.db"):
        await store.backup(tmp_path / "no" / "copy.db")


async def test_cancelled_backup_leaves_nothing(store: SqliteStore, tmp_path: Path) -> None:
    """A backup that is cancelled at any step leaves a whole file or none, and no part of one."""
    folder = tmp_path / "copies"
    folder.mkdir()
    for steps in range(12):
        task = asyncio.ensure_future(store.backup(folder / f"{steps}.db"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    for copy in folder.iterdir():
        assert not copy.name.startswith(".")
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    await store.ready()


async def test_restore_is_refused_while_open(store: SqliteStore, tmp_path: Path) -> None:
    """A database that a process has open is not replaced."""
    await store.backup(tmp_path / "copy.db")
    with pytest.raises(Unavailable, match="has it open"):
        await restore(tmp_path / "copy.db", store.path)
    await store.ready()


async def test_restore_of_what_is_no_backup(path: Path, clock: ManualClock, tmp_path: Path) -> None:
    """What is no sound backup of a known version is refused, and the database stays as it was."""
    await make(path, clock)
    before = path.read_bytes()
    files = names(tmp_path)
    text, empty, newer, damaged = (tmp_path / n for n in ("text", "empty", "newer", "damaged"))
    text.write_text("a shopping list\n" * 1000)
    empty.write_text("")
    await backup(path, newer)
    with closing(sqlite3.connect(newer)) as connection:
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    await backup(path, damaged)
    content = bytearray(damaged.read_bytes())
    content[-6000:-2000] = b"\xff" * 4000
    damaged.write_bytes(content)
    files |= {"text", "empty", "newer", "damaged"}

    for name, kind, words in (
        (text, SchemaMismatch, "not an SQLite database"),
        (empty, SchemaMismatch, "no election database"),
        (newer, SchemaMismatch, "newer election-sqlite"),
        (damaged, Unavailable, "damaged"),
        (tmp_path / "missing", Invalid, "no such file"),
        (path, Invalid, "the database itself"),
    ):
        with pytest.raises(kind, match=words) as caught:
            await restore(name, path, clock=clock)
        assert str(name) in caught.value.detail
    assert path.read_bytes() == before
    assert names(tmp_path) == files
    async with SqliteStore.open(path, clock=clock) as store:
        assert (await store.load("g")).group.epoch == 1


async def test_damaged_database_is_replaced_and_kept(
    path: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """A database that is damaged, its log included, is kept with its log and replaced."""
    await make(path, clock)
    await backup(path, tmp_path / "copy.db")
    path.write_bytes(b"\xff" * 8192)
    path.with_name("election.db-wal").write_bytes(b"old log")

    kept = await restore(tmp_path / "copy.db", path, clock=clock)

    assert kept is not None
    assert kept.read_bytes() == b"\xff" * 8192
    assert kept.with_name(f"{kept.name}-wal").read_bytes() == b"old log"
    async with SqliteStore.open(path, clock=clock) as store:
        await check_reincarnated(store, barrier=timedelta(seconds=15))


async def test_log_of_a_crash_is_kept_too(path: Path, clock: ManualClock, tmp_path: Path) -> None:
    """What was committed before a crash and only is in the log is in what is kept."""
    await make(path, clock)
    copy, crashed = tmp_path / "copy.db", tmp_path / "crashed.db"
    await backup(path, copy)
    async with SqliteStore.open(path, clock=clock) as store:
        await Fleet(store).do(Release(runner_id="a", session_id="a1", epoch=1))
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{crashed}{suffix}")

    kept = await restore(copy, crashed, clock=clock)

    assert kept is not None
    assert not Path(f"{kept}-wal").exists()
    with closing(sqlite3.connect(kept)) as connection:
        query = "SELECT epoch FROM election_group WHERE id = 'g'"
        assert connection.execute(query).fetchone() == (2,)


async def test_log_that_somebody_reads_is_not_applied_to_the_backup(
    path: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """A log that cannot be moved into its file stays with it, and does not spoil what comes."""
    await make(path, clock)
    copy, crashed = tmp_path / "copy.db", tmp_path / "crashed.db"
    await backup(path, copy)
    async with SqliteStore.open(path, clock=clock) as store:
        await Fleet(store).do(Release(runner_id="a", session_id="a1", epoch=1))
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{crashed}{suffix}")
    query = "SELECT epoch FROM election_group WHERE id = 'g'"
    with closing(sqlite3.connect(crashed)) as reader:
        assert reader.execute(query).fetchone() == (2,)
        kept = await restore(copy, crashed, clock=clock)

    assert kept is not None
    assert Path(f"{kept}-wal").exists()
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute(query).fetchone() == (2,)
    async with SqliteStore.open(crashed, clock=clock) as store:
        await check_reincarnated(store, barrier=timedelta(seconds=15))


async def test_kept_database_can_be_restored(
    path: Path, clock: ManualClock, tmp_path: Path
) -> None:
    """Who restored the wrong backup can go back to what was replaced."""
    await make(path, clock)
    await backup(path, tmp_path / "copy.db")
    async with SqliteStore.open(path, clock=clock) as store:
        await Fleet(store).do(RegisterRunner(runner_id="later", name="later"))
    kept = await restore(tmp_path / "copy.db", path, clock=clock)
    assert kept is not None

    await restore(kept, path, clock=clock)

    async with SqliteStore.open(path, clock=clock) as store:
        await store.find_runner("later")
        assert (await store.load("g")).group.epoch == 1 + 2 * EPOCH_JUMP


async def test_backup_of_what_is_no_database(tmp_path: Path) -> None:
    """A backup is made of an election database only, and makes none by mistake."""
    for source, words in (("missing.db", "no such database"), ("folder", "no such database")):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(Invalid, match=words):
            await backup(tmp_path / source, tmp_path / "copy.db")
    (tmp_path / "empty.db").write_text("")
    with pytest.raises(SchemaMismatch, match="no election database"):
        await backup(tmp_path / "empty.db", tmp_path / "copy.db")
    assert names(tmp_path) == {"folder", "empty.db"}


async def test_grace_after_a_restart(path: Path, clock: ManualClock) -> None:
    """A plain restart ends no term: the gap in the marks is noticed, and gives a lease of grace."""
    await make(path, clock)
    clock.advance(60)
    async with SqliteStore.open(path, clock=clock) as store:
        mark = await store.mark(_TICK)
        assert [(o.began, o.ended) for o in mark.outages] == [(NOW, NOW + timedelta(seconds=60))]
        planned = await Fleet(store).do(Decide())
        assert planned.after.group.term == planned.before.group.term
        assert planned.after.group.epoch == 1
