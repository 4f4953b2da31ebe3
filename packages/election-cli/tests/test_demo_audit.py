"""The demo's audit finds every promise that a store, or a runner's journal, shows to be broken."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import evolve, frozen

from election_cli.demo._audit import Findings, audit
from election_cli.demo._evidence import Evidence, collect
from election_cli.demo._journal import Execution
from election_core import JobOutcome, JobSpec, NewTaint, Settings, Settlement
from election_core.engine import Engine
from election_sqlite import SqliteStore

JOBS = 4


@pytest.fixture
def anyio_backend() -> str:
    """The driver of SQLite knows asyncio alone."""
    return "asyncio"


@frozen
class Story:
    """A group in which two runners led, one after the other, and each did half of the jobs."""

    path: Path
    enqueued: tuple[str, ...]
    executions: tuple[Execution, ...]

    def doctor(self, statement: str, *values: object) -> None:
        """Change the database behind the store's back."""
        connection = sqlite3.connect(self.path)
        with connection:
            assert connection.execute(statement, values).rowcount > 0
        connection.close()

    async def evidence(self) -> Evidence:
        """What the audit would look at."""
        async with SqliteStore.open(self.path) as store:
            return await collect(store, "g", enqueued=self.enqueued, executions=self.executions)

    async def findings(self) -> Findings:
        """What the audit finds."""
        return audit(await self.evidence())


class Actor:
    """A runner's session that does jobs under an epoch."""

    def __init__(self, engine: Engine, runner_id: str, session_id: str, epoch: int) -> None:
        self._engine = engine
        self._runner_id = runner_id
        self._session_id = session_id
        self._epoch = epoch

    async def do(self, number: int) -> Execution:
        """Claim the next job, run it and settle it."""
        claimed = await self._engine.claim(
            self._runner_id, self._session_id, claim_id=f"c{number}", epoch=self._epoch
        )
        (item,) = claimed.items
        started = datetime.now(UTC)
        name = f"x{number}"
        await self._engine.settle(
            item.job.id,
            item.claim_token,
            Settlement(outcome=JobOutcome.SUCCEEDED, result={"execution": name}),
        )
        return Execution(
            name=name,
            process=self._session_id,
            runner_id=self._runner_id,
            job_id=item.job.id,
            attempt=item.job.attempts,
            epoch=self._epoch,
            started_at=started,
            ended_at=started,
            finished=True,
            settled=True,
        )


@pytest.fixture
async def story(tmp_path: Path) -> Story:
    """A story in which every promise was kept."""
    path = tmp_path / "election.db"
    async with SqliteStore.open(path) as store, Engine(store) as engine:
        await engine.create_group("g", Settings(lease=timedelta(seconds=60)))
        older, _ = await engine.register("g", "older")
        younger, _ = await engine.register("g", "younger")
        first = await engine.open_session(older.id, session_key="1")
        second = await engine.open_session(younger.id, session_key="2")
        enqueued = tuple(
            [(await engine.enqueue("g", JobSpec(kind="demo"))).job.id for _ in range(JOBS)]
        )
        leader = Actor(engine, older.id, first.session_id, 1)
        executions = [await leader.do(number) for number in range(JOBS // 2)]
        await engine.taint(older.id, NewTaint(owner="ada"))
        await engine.release(older.id, first.session_id, 1)
        leader = Actor(engine, younger.id, second.session_id, 2)
        executions += [await leader.do(number) for number in range(JOBS // 2, JOBS)]
    return Story(path, enqueued, tuple(executions))


async def test_a_clean_story_passes(story: Story) -> None:
    """Where nothing is wrong, nothing is found, and everything is counted."""
    findings = await story.findings()

    assert findings == Findings(
        enqueued=JOBS, succeeded=JOBS, settled_twice=0, run_by_non_leader=0, broken=[]
    )


async def test_terms_are_told_from_the_history(story: Story) -> None:
    """Each term has its epoch, its runner by name, how it came, and the time without a leader."""
    first, second = (await story.evidence()).terms

    assert (first.epoch, first.runner, first.kind) == (1, "older", "first")
    assert (second.epoch, second.runner, second.kind) == (2, "younger", "handover")
    assert first.leaderless_seconds is None
    assert second.leaderless_seconds == 0.0
    assert first.ended == second.began


DOCTORED = {
    "settled under an epoch that was over": (
        """UPDATE election_job SET epoch = 1, claimed_by =
        (SELECT claimed_by FROM election_job WHERE id = ?) WHERE id = ?""",
        "under epoch 1 when it was over",
    ),
    "settled under an epoch that never was": (
        "UPDATE election_job SET epoch = 7 WHERE id IN (?, ?)",
        "under epoch 7, which never was",
    ),
    "settled by another runner": (
        "UPDATE election_job SET claimed_by = 'stranger' WHERE id IN (?, ?)",
        "by another than the leader",
    ),
    "settled with the result of nobody": (
        "UPDATE election_job SET result = 'null' WHERE id IN (?, ?)",
        "no runner executed it",
    ),
    "not finished": (
        "UPDATE election_job SET state = 'queued', finished_at = NULL WHERE id IN (?, ?)",
        "was lost on the way: it is queued",
    ),
    "failed": (
        "UPDATE election_job SET state = 'failed' WHERE id IN (?, ?)",
        "was lost on the way: it is failed",
    ),
    "gone": ("DELETE FROM election_job WHERE id IN (?, ?)", "is not in the store"),
    "settled twice": (
        """UPDATE election_job SET result = '{"execution":"x9"}' WHERE id IN (?, ?)""",
        "was settled 2 times",
    ),
}


@pytest.mark.parametrize(("statement", "sentence"), DOCTORED.values(), ids=DOCTORED)
async def test_a_doctored_store_is_found_out(story: Story, statement: str, sentence: str) -> None:
    """A job row that contradicts the history or the journals breaks a promise, by name."""
    story.doctor(statement, story.enqueued[0], story.enqueued[-1])

    findings = await story.findings()

    assert any(sentence in broken for broken in findings.broken)


async def test_a_job_settled_twice_is_counted(story: Story) -> None:
    """When a second runner saw its settlement of a job accepted as well, the job counts."""
    other = evolve(story.executions[0], name="other", process="other")
    doctored = evolve(story, executions=(*story.executions, other))

    findings = await doctored.findings()

    assert findings.settled_twice == 1


async def test_a_refused_settlement_is_no_second_one(story: Story) -> None:
    """A second execution of a job whose settlement was refused is as it should be."""
    other = evolve(
        story.executions[0], name="other", process="other", settled=False, refused="stale-claim"
    )
    doctored = evolve(story, executions=(*story.executions, other))

    assert (await doctored.findings()).broken == []


async def test_a_job_that_nobody_enqueued_is_found_out(story: Story) -> None:
    """A job in the store that the control plane never said it took breaks a promise."""
    doctored = evolve(story, enqueued=story.enqueued[1:])

    (broken,) = (await doctored.findings()).broken

    assert "nobody enqueued it" in broken


async def test_what_a_script_that_was_cut_short_left_undone_is_not_held_against_the_store(
    story: Story,
) -> None:
    """Jobs that wait, and one that was not noted down, are no broken promise of such a script."""
    story.doctor("UPDATE election_job SET state = 'queued' WHERE id = ?", story.enqueued[-1])
    doctored = evolve(story, enqueued=story.enqueued[1:])
    evidence = await doctored.evidence()

    assert len(audit(evidence).broken) == 2
    assert audit(evolve(evidence, complete=False)).broken == []


STRANGERS: dict[str, Callable[[Execution], Execution]] = {
    "after its term": lambda execution: evolve(
        execution, started_at=execution.started_at + timedelta(seconds=30)
    ),
    "before its term": lambda execution: evolve(
        execution, started_at=execution.started_at - timedelta(seconds=30)
    ),
    "under an epoch of another": lambda execution: evolve(execution, epoch=2),
    "under an epoch that never was": lambda execution: evolve(execution, epoch=7),
    "as a stranger": lambda execution: evolve(execution, runner_id="stranger"),
}


@pytest.mark.parametrize("changed", STRANGERS.values(), ids=STRANGERS)
async def test_an_execution_by_a_non_leader_is_counted(
    story: Story, changed: Callable[[Execution], Execution]
) -> None:
    """A handler that was called when its runner did not lead breaks a promise, whatever it did."""
    stranger = evolve(
        changed(story.executions[0]), name="stranger", process="stranger", settled=False
    )
    doctored = evolve(story, executions=(*story.executions, stranger))

    findings = await doctored.findings()

    assert findings.run_by_non_leader == 1
    assert any("did not lead then" in broken for broken in findings.broken)


async def test_a_job_begun_again_after_a_handover_is_found_out(story: Story) -> None:
    """A planned handover lets no job be begun under both epochs."""
    again = evolve(
        story.executions[-1],
        name="again",
        process="again",
        job_id=story.enqueued[0],
        settled=False,
    )
    doctored = evolve(story, executions=(*story.executions, again))

    (broken,) = (await doctored.findings()).broken

    assert "again after the handover" in broken


async def test_a_journal_that_says_too_little_is_found_out(story: Story) -> None:
    """A runner that went on must have heard what came of the job before."""
    silent = evolve(story.executions[0], settled=False)
    doctored = evolve(story, executions=(silent, *story.executions[1:]))

    (broken,) = (await doctored.findings()).broken

    assert "without having heard" in broken


async def test_two_terms_at_once_are_found_out(story: Story) -> None:
    """A term that begins before the one before it has ended breaks a promise."""
    evidence = await story.evidence()
    first, second = evidence.terms
    doctored = evolve(evidence, terms=[first, evolve(second, began=first.began)])

    assert any("while 1 was current" in broken for broken in audit(doctored).broken)


async def test_a_reused_epoch_is_found_out(story: Story) -> None:
    """An epoch that is granted again breaks a promise."""
    story.doctor("UPDATE election_event SET epoch = 1 WHERE kind = 'elected'")

    assert any("epoch 1 was granted after 1" in line for line in (await story.findings()).broken)
