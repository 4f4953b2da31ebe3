"""What commits do to the rows of a store, and when time makes a group due."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import evolve

from election_core._changes import Changes, TermLease
from election_core._claims import lapse_job, orphan_job
from election_core._errors import Conflict
from election_core._jobs import JobRecord, JobState
from election_core._state import Group, Runner
from election_core._states import Ended

__all__ = ["check_expectations", "due_at", "end_claim", "lost_group", "merge_runner"]


def check_expectations(changes: Changes, rows: Mapping[str, Runner], at: datetime) -> None:
    """Check what a commit expects, before anything of it is written.

    Args:
        changes: What is to be committed.
        rows: Runners by id as the store holds them, read under the commit's locks.
        at: The store's time under those locks.

    Raises:
        Conflict: An expectation does not hold.
    """
    opened = {runner.id: runner.session for runner in changes.runners}
    for expected in changes.expects:
        row = rows.get(expected.runner_id)
        session = None if row is None else row.session
        if isinstance(expected, TermLease):
            if (
                session is None
                or session.id != expected.session_id
                or session.term_expires_at != expected.expires_at
            ):
                raise Conflict("the leader renewed its lease meanwhile")
            continue
        new = opened.get(expected.runner_id)
        if new is not None and (session is None or session.id != new.id):
            session = new
        if (
            session is None
            or session.id != expected.session_id
            or session.lease_expires_at <= at
            or not session.ready
        ):
            raise Conflict("the elected runner is not live and ready any more")


def merge_runner(runner: Runner, row: Runner | None, changes: Changes) -> Runner:
    """The row of a runner that a commit writes.

    Of a session that the row has too, what renewals own stays as the row has it.

    Args:
        runner: One of the changes' `runners`.
        row: It as the store holds it, read under the commit's locks.
        changes: What is committed.
    """
    new = runner.session
    old = None if row is None else row.session
    if new is None or old is None or old.id != new.id:
        return runner
    session = evolve(old, held_epoch=new.held_epoch, step_down_at=new.step_down_at)
    if runner.id in changes.granted:
        session = evolve(session, term_expires_at=old.lease_expires_at)
    elif new.held_epoch is None:
        session = evolve(session, term_expires_at=None)
    if runner.id in changes.roused:
        session = evolve(session, standing_version=old.standing_version + 1)
    return evolve(runner, session=session)


def end_claim(record: JobRecord, changes: Changes, at: datetime) -> JobRecord:
    """The record of one of the group's jobs once a commit is written; unchanged if it goes on.

    A claim ends with its term or, of an addressed job, with its session; an unfinished job fails
    with the runner that it is addressed to.
    """
    job, claim = record.job, record.claim
    if job.state.finished:
        return record
    if job.runner_id in changes.deleted:
        return orphan_job(record, at)
    if job.state is not JobState.RUNNING or claim is None:
        return record
    for term in changes.ended_terms:
        if claim.epoch == term.epoch:
            return lapse_job(record, at, handed_back=term.handed_back)
    for ended in changes.ended_sessions:
        if claim.epoch is None and claim.session_id == ended.session_id:
            return lapse_job(record, at, handed_back=ended.how is Ended.LEFT)
    return record


def due_at(group: Group, term_expires_at: datetime | None) -> datetime | None:
    """Since when a group is due, or from when on it will be by time alone; `None`: never.

    Args:
        group: The group.
        term_expires_at: The end of the current term's lease, if there is a term.
    """
    if group.deleted_at is not None:
        return None
    times = [] if group.look_again_at is None else [group.look_again_at]
    if term_expires_at is not None and (
        group.decided_at is None or group.decided_at < term_expires_at
    ):
        times.append(term_expires_at)
    return min(times, default=None)


def lost_group(group_id: str, epoch: int, until: datetime) -> Group:
    """What remains of a group that a store does not know, after it may have lost commits.

    Args:
        group_id: The group's id.
        epoch: The highest that a lost group can have had.
        until: The barrier of all others.
    """
    return Group(
        id=group_id, created_at=until, epoch=epoch, grant_not_before=until, deleted_at=until
    )
