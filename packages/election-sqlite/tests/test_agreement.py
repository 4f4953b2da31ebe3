"""The SQLite store does what the store in memory does, whatever is asked of the two, and when."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from typing_extensions import override

from election_core import (
    Changes,
    Command,
    Configure,
    Decide,
    DeleteGroup,
    DeleteRunner,
    DrainRunner,
    Effect,
    ElectionError,
    JobOutcome,
    JobSpec,
    JobState,
    Leave,
    NewTaint,
    OpenSession,
    PinLeader,
    PolicySpec,
    RegisterRunner,
    Release,
    Settings,
    Settlement,
    Snapshot,
    TaintRunner,
    Token,
    TokenKind,
    Undrain,
    Unpin,
    Untaint,
    create_group,
    default_policies,
    plan,
)
from election_core.memory import MemoryStore
from election_core.ports import Beat, Beaten, StoredToken
from election_sqlite import SqliteStore
from sqlite_clock import NOW, ManualClock
from sqlite_fleet import settle

T = TypeVar("T")
_POLICIES = default_policies()
_FAST = Path("/dev/shm")  # nothing here is about disks
_GROUPS = st.sampled_from(["g", "h"])
_RUNNERS = st.sampled_from(["g-a", "g-b", "g-c", "h-a", "h-b"])
_NUMBERS = st.integers(0, 50)
_SECONDS = st.sampled_from([0, 0.1, 0.3, 0.5, 0.5, 1, 1, 2, 3, 3.000001, 5, 16, 90])
_OUTCOMES = st.sampled_from(JobOutcome)


@st.composite
def _settings(draw: st.DrawFn) -> Settings:
    return Settings(
        lease=timedelta(seconds=draw(st.sampled_from([1, 5, 15]))),
        heartbeat=draw(st.sampled_from([None, timedelta(seconds=0.3)])),
        handover_timeout=timedelta(seconds=draw(st.sampled_from([0, 2, 20]))),
        retry_backoff=timedelta(seconds=draw(st.sampled_from([0, 1]))),
        retention=draw(st.sampled_from([timedelta(days=7), timedelta(seconds=2)])),
        policy=PolicySpec(
            options={"preempt": draw(st.booleans()), "stable_for_seconds": draw(_SECONDS)}
        ),
    )


@st.composite
def _taints(draw: st.DrawFn) -> NewTaint:
    return NewTaint(
        key=draw(st.sampled_from(["manual", "laptop"])),
        effect=draw(st.sampled_from(Effect)),
        owner=draw(st.sampled_from(["", "ann"])),
        ttl=draw(st.sampled_from([None, timedelta(seconds=3)])),
    )


class Agreement(RuleBasedStateMachine):
    """Asks everything of both stores under one clock."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(dir=_FAST if _FAST.is_dir() else None)
        self.stack = AsyncExitStack()
        self.memory = MemoryStore(clock=self.clock.wall)
        self.sqlite = self.loop.run(
            self.stack.enter_async_context(
                SqliteStore.open(Path(self.folder.name) / "election.db", clock=self.clock)
            )
        )
        self.count = 0
        self.sessions: list[tuple[str, str]] = []
        self.jobs: list[str] = []
        self.held: list[tuple[str, str]] = []
        self.planned: list[tuple[Changes, int]] = []

    @override
    def teardown(self) -> None:
        """Close the store."""
        self.loop.run(self.stack.aclose())
        self.loop.close()
        self.folder.cleanup()

    def number(self) -> int:
        """A number that was not given out before."""
        self.count += 1
        return self.count

    def ask(self, call: Callable[[Any], Awaitable[T]]) -> T | None:
        """Ask both; the answer, or `None` for the same refusal."""
        answers = [self.loop.run(_outcome(call(store))) for store in (self.memory, self.sqlite)]
        assert answers[1] == answers[0]
        answer = answers[0]
        return None if isinstance(answer, tuple) and answer[:1] == ("refused",) else answer  # type: ignore[return-value]

    def load(self, group_id: str) -> Snapshot | None:
        """A group, as both know it."""
        return self.ask(lambda store: store.load(group_id))

    def commit(self, changes: Changes, revision: int) -> bool:
        """Commit the same to both; whether it was accepted."""
        commit_id = f"commit-{self.number()}"
        committed = self.ask(
            lambda store: store.commit(changes, expected_revision=revision, commit_id=commit_id)
        )
        if committed is not None:  # and once more, as if the answer had been lost
            again = self.ask(
                lambda store: store.commit(changes, expected_revision=revision, commit_id=commit_id)
            )
            assert again == committed
        self.load(changes.group.id)
        return committed is not None

    def command(self, group_id: str, command: Command, *, later: bool = False) -> bool:
        """Plan a command, and carry it out at once or leave it lying."""
        snapshot = self.load(group_id)
        if snapshot is None or snapshot.group.deleted_at is not None:
            return False
        wanted = command.settings if isinstance(command, Configure) else snapshot.group.settings
        try:
            planned = plan(snapshot, command, _POLICIES.of(wanted), actor="test")
        except ElectionError:
            return False
        if later:
            self.planned.append((planned.changes, snapshot.revision))
            return False
        return self.commit(planned.changes, snapshot.revision)

    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        """Begin with a group of two runners, the first of which leads."""
        self.create("g", Settings(lease=timedelta(seconds=5)))
        for runner_id in ("g-a", "g-b"):
            self.register(runner_id, {})
            self.open(runner_id, ready=True, names_previous=False)

    @rule(seconds=_SECONDS)
    def time_passes(self, seconds: float) -> None:
        """Time passes, and nobody does anything."""
        self.clock.advance(seconds)

    @rule(ticks=st.integers(1, 4), silent=_RUNNERS)
    def life_goes_on(self, ticks: int, silent: str) -> None:
        """Ticks pass, in which all runners but one renew and an elector decides."""
        for _ in range(ticks):
            self.clock.advance(0.9)
            current = dict(self.sessions)
            current.pop(silent, None)
            beats = [Beat(runner_id=id_, session_id=current[id_]) for id_ in sorted(current)]
            self.ask(lambda store, beats=beats: store.beat(beats))  # type: ignore[misc]
            self.mark(1)
            self.decide_due(10)

    @rule(group_id=_GROUPS, settings=_settings())
    def create(self, group_id: str, settings: Settings) -> None:
        """Create a group, or again after its deletion."""
        snapshot = self.load(group_id)
        if snapshot is None:
            self.commit(create_group(group_id, settings, at=self.clock.wall()), 0)
        elif snapshot.group.deleted_at is not None:
            changes = create_group(group_id, settings, at=snapshot.at, remains=snapshot.group)
            self.commit(changes, snapshot.revision)

    @rule(runner_id=_RUNNERS, labels=st.dictionaries(st.sampled_from(["zone"]), st.just("1")))
    def register(self, runner_id: str, labels: dict[str, str]) -> None:
        """Register a runner, or change its labels."""
        self.command(
            runner_id[0], RegisterRunner(runner_id=runner_id, name=runner_id, labels=labels)
        )

    @rule(runner_id=_RUNNERS, ready=st.booleans(), names_previous=st.booleans())
    def open(self, runner_id: str, ready: bool, names_previous: bool) -> None:
        """Open a session."""
        session_id = f"session-{self.number()}"
        previous = [old for owner, old in self.sessions if owner == runner_id]
        command = OpenSession(
            runner_id=runner_id,
            session_id=session_id,
            session_key=f"key of {session_id}",
            previous_session_id=previous[-1] if previous and names_previous else None,
            ready=ready,
        )
        if self.command(runner_id[0], command):
            self.sessions.append((runner_id, session_id))

    @rule(group_id=_GROUPS, data=st.data(), later=st.booleans())
    def change(self, group_id: str, data: st.DataObject, later: bool) -> None:
        """Carry out any other command, now or once more has happened."""
        snapshot = self.load(group_id)
        runner_ids = [r.id for r in snapshot.runners] if snapshot is not None else []
        if snapshot is None or not runner_ids:
            return
        runner_id = data.draw(st.sampled_from(runner_ids))
        runner = snapshot.runner(runner_id)
        session_id = "gone" if runner is None or runner.session is None else runner.session.id
        if not data.draw(st.integers(0, 20)):
            self.command(group_id, DeleteGroup(force=True), later=later)
            return
        command = data.draw(
            st.one_of(
                st.just(Decide()),
                st.builds(Configure, settings=_settings()),
                st.just(DeleteRunner(runner_id=runner_id)),
                st.builds(TaintRunner, runner_id=st.just(runner_id), taint=_taints()),
                st.just(Untaint(runner_id=runner_id, force=True)),
                st.just(DrainRunner(runner_id=runner_id, reason="lunch")),
                st.just(Undrain(runner_id=runner_id)),
                st.builds(
                    PinLeader,
                    runner_id=st.just(runner_id),
                    ttl=st.sampled_from([None, timedelta(seconds=3)]),
                    immediate=st.booleans(),
                    when_eligible=st.just(True),
                ),
                st.just(Unpin()),
                st.just(
                    Release(runner_id=runner_id, session_id=session_id, epoch=snapshot.group.epoch)
                ),
                st.just(Leave(runner_id=runner_id, session_id=session_id)),
            )
        )
        self.command(group_id, command, later=later)

    @precondition(lambda self: self.planned)
    @rule()
    def commit_late(self) -> None:
        """Commit what was planned before other things happened."""
        self.commit(*self.planned.pop())

    @rule(limit=st.integers(1, 3))
    def decide_due(self, limit: int) -> None:
        """Decide what is due, as an elector does."""
        due = self.ask(lambda store: store.due(limit))
        for group_id in due.group_ids if due is not None else ():
            self.command(group_id, Decide())

    @rule(tick=st.sampled_from([1, 2]))
    def mark(self, tick: int) -> None:
        """Refresh the mark."""
        self.ask(lambda store: store.mark(timedelta(seconds=tick)))

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        """Renew some sessions together, current ones and others."""
        owners = dict(self.sessions)
        chosen = data.draw(st.lists(st.sampled_from(sorted(owners)), unique=True, min_size=1))
        beats = []
        for runner_id in chosen:
            latest = owners[runner_id]
            known = [id_ for owner, id_ in self.sessions if owner == runner_id]
            beats.append(
                Beat(
                    runner_id=runner_id,
                    session_id=data.draw(st.sampled_from([latest] * 5 + known + ["never"])),
                    seq=data.draw(st.none() | st.integers(0, 3)),
                    ready=data.draw(st.sampled_from([None, None, True, False])),
                )
            )
        self.ask(lambda store: store.beat(beats))

    @precondition(lambda self: self.sessions)
    @rule(index=_NUMBERS)
    def look_at_session(self, index: int) -> None:
        """Look at a session, and at how it or its key ended."""
        runner_id, session_id = self.sessions[index % len(self.sessions)]
        pulse: Beaten = self.ask(lambda store: store.pulse(runner_id, session_id))
        by_id = self.ask(lambda store: store.ended_session(runner_id, session_id=session_id))
        by_key = self.ask(lambda store: store.ended_session(runner_id, key=f"key of {session_id}"))
        assert by_id == by_key
        assert (pulse if by_id is None else by_id) == pulse

    @rule(
        group_id=_GROUPS,
        runner_id=st.none() | _RUNNERS,
        priority=st.integers(0, 2),
        key=st.sampled_from([None, None, "once"]),
        attempts=st.sampled_from([None, 0, 1, 2]),
    )
    def enqueue(
        self,
        group_id: str,
        runner_id: str | None,
        priority: int,
        key: str | None,
        attempts: int | None,
    ) -> None:
        """Enqueue a job, addressed or not, under a key or not."""
        spec = JobSpec(
            kind="work",
            payload={"n": priority},
            priority=priority,
            max_attempts=attempts,
            runner_id=runner_id,
        )
        job_id = f"job-{self.number()}"
        if self.ask(
            lambda store: store.enqueue(group_id, spec, job_id=job_id, idempotency_key=key)
        ):
            self.jobs.append(job_id)

    @precondition(lambda self: self.sessions)
    @rule(index=_NUMBERS, off=st.sampled_from([None, 0, 0, 1]), limit=st.integers(1, 3))
    def claim(self, index: int, off: int | None, limit: int) -> None:
        """Claim jobs with any session, under the current epoch, another or none."""
        runner_id, session_id = self.sessions[-1 - index % min(4, len(self.sessions))]
        snapshot = self.load(runner_id[0])
        epoch = None if off is None or snapshot is None else snapshot.group.epoch - off
        self.claim_as(runner_id, session_id, epoch, limit)

    @rule(group_id=_GROUPS, limit=st.integers(1, 3), jobs=st.integers(0, 2), mine=st.booleans())
    def lead(self, group_id: str, limit: int, jobs: int, mine: bool) -> None:
        """Claim jobs of the group, and addressed ones, as the leader."""
        snapshot = self.load(group_id)
        if snapshot is None or snapshot.group.term is None:
            return
        term = snapshot.group.term
        for _ in range(jobs):
            self.enqueue(group_id, term.runner_id if mine else None, 1, None, None)
        self.claim_as(term.runner_id, term.session_id, term.epoch, limit)

    def claim_as(self, runner_id: str, session_id: str, epoch: int | None, limit: int) -> None:
        """Claim jobs, and the same again."""
        claim_id = f"claim-{self.number()}"
        claimed = self.ask(
            lambda store: store.claim(
                runner_id,
                session_id,
                claim_id=claim_id,
                epoch=epoch,
                limit=limit,
                tokens=[f"{claim_id}-{place}" for place in range(limit)],
            )
        )
        for item in claimed.items if claimed is not None else ():
            self.held.append((item.job.id, item.claim_token))
        if claimed is not None and claimed.items:
            again = self.ask(
                lambda store: store.claim(
                    runner_id,
                    session_id,
                    claim_id=claim_id,
                    epoch=epoch,
                    limit=limit,
                    tokens=["never"] * limit,
                )
            )
            assert again == claimed

    @precondition(lambda self: self.held)
    @rule(index=_NUMBERS, outcome=_OUTCOMES, retry=st.booleans(), forget=st.booleans())
    def settle(self, index: int, outcome: JobOutcome, retry: bool, forget: bool) -> None:
        """Settle a claim, a late one, or one that was settled before."""
        job_id, token = self.held[-1 - index % len(self.held)]
        if forget:
            self.held.remove((job_id, token))
        settlement = Settlement(outcome=outcome, result=[1, None], error="broken", retry=retry)
        self.ask(lambda store: settle(store, job_id, token, settlement))
        self.ask(lambda store: store.job(job_id))

    @precondition(lambda self: self.jobs)
    @rule(index=_NUMBERS)
    def cancel(self, index: int) -> None:
        """Cancel a job."""
        job_id = self.jobs[-1 - index % len(self.jobs)]
        self.ask(lambda store: store.cancel(job_id))

    @rule(kind=st.sampled_from(TokenKind), group_id=st.none() | _GROUPS, runner_id=_RUNNERS)
    def add_token(self, kind: TokenKind, group_id: str | None, runner_id: str) -> None:
        """Keep a token, and find it."""
        digest = str(self.number()).encode() * 8
        token = Token(
            id=f"token-{self.number()}",
            kind=kind,
            group_id=group_id,
            runner_id=runner_id if kind is TokenKind.RUNNER else None,
            created_at=NOW,
        )
        stored = StoredToken(token=token, digest=digest)
        self.ask(lambda store: store.add_token(stored, ttl=timedelta(seconds=5)))
        self.ask(lambda store: store.find_token(digest))

    @rule()
    def prune(self) -> None:
        """Prune all that is old enough; how many rows that are is each store's own business."""
        for store in (self.memory, self.sqlite):
            while self.loop.run(store.prune()):
                pass

    @rule(group_id=_GROUPS, limit=st.integers(1, 4), after=st.none() | _NUMBERS)
    def look_at_everything(self, group_id: str, limit: int, after: int | None) -> None:
        """Read every page there is, and every count."""
        self.ask(lambda store: _pages(lambda cursor: store.groups(cursor=cursor, limit=limit)))
        self.ask(
            lambda store: _pages(lambda cursor: store.runners(group_id, cursor=cursor, limit=limit))
        )
        for state in (None, *JobState):
            self.ask(
                lambda store, state=state: _pages(  # type: ignore[misc]
                    lambda cursor: store.jobs(group_id, state=state, cursor=cursor, limit=limit)
                )
            )
        self.ask(lambda store: _pages(lambda cursor: store.tokens(cursor=cursor, limit=limit)))
        self.ask(lambda store: store.events(group_id, after=after, limit=limit * 5))
        self.ask(lambda store: store.events(None, after=after, limit=limit * 5))
        self.ask(lambda store: store.census())
        self.ask(lambda store: store.job_counts())
        for runner_id in ("g-a", "h-a"):
            self.ask(lambda store, id_=runner_id: store.find_runner(id_))  # type: ignore[misc]


async def _outcome(call: Awaitable[T]) -> T | tuple[str, type[ElectionError], dict[str, object]]:
    """An answer, or the refusal."""
    try:
        return await call
    except ElectionError as error:
        return "refused", type(error), dict(error.facts)


async def _pages(read: Callable[[str | None], Awaitable[Any]]) -> list[Any]:
    """The items of all pages, page by page."""
    pages = []
    cursor: str | None = None
    while True:
        page = await read(cursor)
        pages.append(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return pages


TestAgreement = Agreement.TestCase
TestAgreement.settings = settings(max_examples=40, stateful_step_count=40)
