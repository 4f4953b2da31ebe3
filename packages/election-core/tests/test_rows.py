"""What commits do to rows: the rules that a store would otherwise have to state by itself."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from election_cases import NOW, a_runner, a_session, at
from election_core import (
    Changes,
    Claim,
    Conflict,
    Ended,
    EndedSession,
    EndedTerm,
    Group,
    Job,
    JobRecord,
    JobState,
    Live,
    Runner,
    Session,
    TermLease,
    check_expectations,
    due_at,
    end_claim,
    lost_group,
    merge_runner,
)

GROUP = Group(id="g", created_at=NOW, decided_at=at(5))
ROW = a_runner("a", session=evolve(a_session("a", left=10, epoch=3), seq=7, standing_version=4))


def renewed(row: Runner, **fields: Any) -> Runner:
    """A runner whose session a commit had seen with these fields, before renewals came."""
    assert row.session is not None
    return evolve(row, session=evolve(row.session, **fields))


def written(runner: Runner, changes: Changes) -> Session:
    """The session that a commit leaves in the row."""
    session = merge_runner(runner, ROW, changes).session
    assert session is not None
    return session


def running(*, epoch: int | None, runner_id: str | None = None, attempts: int = 1) -> JobRecord:
    """A job that runner a's session holds."""
    return JobRecord(
        job=Job(
            id="j",
            group_id="g",
            kind="work",
            state=JobState.RUNNING,
            runner_id=runner_id,
            attempts=attempts,
            available_at=NOW,
            created_at=NOW,
        ),
        claim=Claim(token="t", claim_id="c", runner_id="a", session_id="session-a", epoch=epoch),
    )


class TestMergeRunner:
    """The row that a commit writes."""

    def test_what_renewals_own_stays_as_the_row_has_it(self) -> None:
        """A commit that had seen an older lease does not take the newer one back."""
        seen = renewed(ROW, lease_expires_at=at(1), ready=False, seq=1, held_epoch=3)
        session = written(seen, Changes(group=GROUP, runners=(seen,)))
        assert session == ROW.session

    def test_a_grant_takes_the_lease_of_the_row(self) -> None:
        """The term's lease begins as the session's is, not as the decision had seen it."""
        seen = renewed(ROW, lease_expires_at=at(1), held_epoch=4)
        session = written(seen, Changes(group=GROUP, runners=(seen,), granted=("a",)))
        assert (session.held_epoch, session.term_expires_at) == (4, at(10))

    def test_who_holds_nothing_has_no_term_to_end(self) -> None:
        """A session that loses its epoch loses the end of its term as well."""
        seen = renewed(ROW, held_epoch=None, step_down_at=None)
        assert written(seen, Changes(group=GROUP, runners=(seen,))).term_expires_at is None

    def test_a_standing_version_rises_from_the_rows(self) -> None:
        """A runner that is roused has the next version, whatever the decision had seen."""
        seen = renewed(ROW, standing_version=2)
        session = written(seen, Changes(group=GROUP, runners=(seen,), roused=("a",)))
        assert session.standing_version == 5

    def test_a_new_session_is_written_whole(self) -> None:
        """Nothing of the earlier session is left in the one that superseded it."""
        new = renewed(ROW, id="other", lease_expires_at=at(15), held_epoch=None)
        changes = Changes(group=GROUP, runners=(new,), roused=("a",))
        assert merge_runner(new, ROW, changes) == new
        assert merge_runner(new, None, changes) == new


class TestExpectations:
    """What a decision rests on."""

    @pytest.mark.parametrize("ends", [9, 11])
    def test_a_lease_that_moved_is_a_conflict(self, ends: float) -> None:
        """Neither a renewed nor any other lease is the one that the decision saw."""
        changes = Changes(group=GROUP, expects=(TermLease("a", "session-a", at(ends)),))
        with pytest.raises(Conflict):
            check_expectations(changes, {"a": ROW}, NOW)

    def test_the_lease_that_was_seen_is_none(self) -> None:
        """A lease that nobody renewed is what the decision expects."""
        changes = Changes(group=GROUP, expects=(TermLease("a", "session-a", at(10)),))
        check_expectations(changes, {"a": ROW}, NOW)
        for rows in ({}, {"a": renewed(ROW, id="other")}):
            with pytest.raises(Conflict):
                check_expectations(changes, rows, NOW)

    def test_the_elected_has_to_be_live_and_ready(self) -> None:
        """A winner whose lease ran out, or that is not ready, is not elected."""
        changes = Changes(group=GROUP, expects=(Live("a", "session-a"),))
        check_expectations(changes, {"a": ROW}, at(9))
        for rows, when in (
            ({}, NOW),
            ({"a": ROW}, at(10)),
            ({"a": renewed(ROW, ready=False)}, NOW),
            ({"a": renewed(ROW, id="other")}, NOW),
        ):
            with pytest.raises(Conflict):
                check_expectations(changes, rows, when)

    def test_a_session_may_be_elected_by_the_commit_that_opens_it(self) -> None:
        """It is live by what is written, although no row has it yet."""
        new = renewed(ROW, id="other", lease_expires_at=at(15))
        changes = Changes(group=GROUP, runners=(new,), expects=(Live("a", "other"),))
        check_expectations(changes, {"a": ROW}, NOW)
        check_expectations(changes, {}, NOW)


class TestEndClaim:
    """What becomes of a job."""

    @pytest.mark.parametrize(("handed_back", "attempts"), [(True, 0), (False, 1)])
    def test_a_claim_ends_with_its_term(self, handed_back: bool, attempts: int) -> None:
        """The job is queued again; handed back, the attempt does not count."""
        changes = Changes(group=GROUP, ended_terms=(EndedTerm(3, handed_back=handed_back),))
        job = end_claim(running(epoch=3), changes, NOW).job
        assert (job.state, job.attempts) == (JobState.QUEUED, attempts)

    @pytest.mark.parametrize(("how", "state"), [("left", "queued"), ("superseded", "failed")])
    def test_an_addressed_claim_ends_with_its_session(self, how: str, state: str) -> None:
        """The last attempt of a session that was superseded is lost; of one that left it is not."""
        over = EndedSession(runner_id="a", session_id="session-a", key="k", how=Ended(how), at=NOW)
        record = running(epoch=None, runner_id="a", attempts=3)
        assert (
            end_claim(record, Changes(group=GROUP, ended_sessions=(over,)), NOW).job.state == state
        )

    def test_an_addressed_job_fails_with_its_runner(self) -> None:
        """Nobody else may have it."""
        record = running(epoch=None, runner_id="a")
        job = end_claim(record, Changes(group=GROUP, deleted=("a",)), NOW).job
        assert (job.state, job.error) == (JobState.FAILED, "runner-deleted")

    def test_every_other_job_goes_on(self) -> None:
        """A commit touches no claim of another term or session, and nothing that is finished."""
        over = EndedSession(
            runner_id="a", session_id="other", key="k", how=Ended.SUPERSEDED, at=NOW
        )
        changes = Changes(
            group=GROUP,
            deleted=("b",),
            ended_terms=(EndedTerm(2, handed_back=False),),
            ended_sessions=(over,),
        )
        queued = evolve(running(epoch=2), job=evolve(running(epoch=2).job, state=JobState.QUEUED))
        done = evolve(queued, job=evolve(queued.job, state=JobState.SUCCEEDED, runner_id="b"))
        for record in (running(epoch=3), running(epoch=None, runner_id="a"), queued, done):
            assert end_claim(record, changes, NOW) is record


def test_a_group_is_due_when_it_said_so_or_when_its_terms_lease_is_over() -> None:
    """Of the two times the first counts, and a lease that was decided about does not."""
    assert due_at(GROUP, None) is None
    assert due_at(GROUP, at(10)) == at(10)
    assert due_at(GROUP, at(5)) is None
    assert due_at(evolve(GROUP, look_again_at=at(8)), at(10)) == at(8)
    assert due_at(evolve(GROUP, decided_at=None), at(1)) == at(1)
    assert due_at(evolve(GROUP, look_again_at=at(8), deleted_at=NOW), at(10)) is None


def test_a_lost_group_grants_nothing_before_all_others() -> None:
    """It is told as the remains of a deleted group, with the epoch and the barrier of the loss."""
    lost = lost_group("g", 2**20, at(30))
    assert (lost.epoch, lost.grant_not_before, lost.deleted_at) == (2**20, at(30), at(30))
