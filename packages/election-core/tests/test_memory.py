"""The memory store: what the port promises and the engine's tests do not reach."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

import pytest
from attrs import evolve

from election_cases import NOW, span
from election_core import (
    Changes,
    Claimed,
    Conflict,
    CursorExpired,
    Decide,
    DeleteGroup,
    DeleteRunner,
    Ended,
    EndedSession,
    Invalid,
    Job,
    JobOutcome,
    JobSpec,
    JobState,
    Live,
    NotFound,
    Pulse,
    SessionEnded,
    Settings,
    Settlement,
    TaintRunner,
    TermLease,
    Token,
    TokenKind,
    create_group,
    plan,
)
from election_core.memory import MemoryStore
from election_core.ports import AccessStore, Beat, JobStore, Settle, Store, StoredToken
from election_world import GROUP, TICK, World, done

WORK = JobSpec(kind="work")
SUCCEEDED = JobOutcome.SUCCEEDED


def claim(world: World, runner_id: str, claim_id: str = "c", *, epoch: int | None = 1) -> Claimed:
    """Claim one job."""
    session_id = world.session(runner_id).id
    return done(
        world.store.claim(
            runner_id,
            session_id,
            claim_id=claim_id,
            epoch=epoch,
            limit=1,
            tokens=[world.fresh("token")],
        )
    )


async def settle(store: MemoryStore, job_id: str, token: str, settlement: Settlement) -> Job:
    """Settle one claim, which stands."""
    (answer,) = await store.settle([Settle(job_id=job_id, token=token, settlement=settlement)])
    assert isinstance(answer, Job)
    return answer


def enqueue(world: World, spec: JobSpec = WORK) -> str:
    """Add a job; its id."""
    return done(world.store.enqueue(GROUP, spec, job_id=world.fresh("job"))).job.id


def test_it_is_all_that_a_store_can_be() -> None:
    """It fits each protocol of the port, for the type checker and at run time."""
    memory = MemoryStore()
    store: Store = memory
    jobs: JobStore = memory
    access: AccessStore = memory

    done(store.ready())
    assert isinstance(store, JobStore)
    assert done(jobs.job_counts()) == {}
    assert done(access.tokens()).items == ()


# Time.


def test_without_a_clock_it_counts_from_the_wall_clock() -> None:
    """A store of one's own is told the time by the machine."""
    store = MemoryStore()
    before = done(store.due(0)).at

    after = done(store.due(0)).at

    assert before <= after
    assert abs(datetime.now(before.tzinfo) - after) < timedelta(minutes=1)


def test_time_never_goes_back() -> None:
    """When the clock falls back the store's time stands still until it has caught up."""
    world = World()
    world.wait(10)
    world.now -= span(5)

    assert world.snapshot.at == NOW + span(10)


# Commits.


def test_a_commit_needs_the_revision_it_was_planned_from() -> None:
    """Of two plans from one snapshot the second is refused and writes nothing."""
    world = World()
    snapshot = world.snapshot
    first = plan(snapshot, Decide(), world.policy).changes
    done(world.store.commit(first, expected_revision=snapshot.revision, commit_id="1"))

    with pytest.raises(Conflict):
        done(world.store.commit(first, expected_revision=snapshot.revision, commit_id="2"))

    assert world.snapshot.revision == snapshot.revision + 1


def test_the_latest_commit_is_recognised() -> None:
    """The same commit again is answered as it was, and not applied twice (bug 20)."""
    world = World()
    snapshot = world.snapshot
    changes = plan(snapshot, Decide(), world.policy).changes
    one = done(world.store.commit(changes, expected_revision=snapshot.revision, commit_id="1"))

    two = done(world.store.commit(changes, expected_revision=snapshot.revision, commit_id="1"))

    assert one.revision == two.revision == world.snapshot.revision


def test_a_renewal_in_between_saves_the_leader() -> None:
    """A decision to depose does not stand if the leader renewed before its commit (bug 33)."""
    world = World()
    first, second = world.join(), world.join()
    world.wait(14)
    world.beat(second)
    world.wait(2)
    snapshot = world.snapshot
    changes = plan(snapshot, Decide(), world.policy).changes
    assert any(isinstance(expected, TermLease) for expected in changes.expects)
    world.beat(first)

    with pytest.raises(Conflict):
        done(world.store.commit(changes, expected_revision=snapshot.revision, commit_id="x"))

    assert world.leader == first


def test_a_barrier_covers_a_renewal_in_between() -> None:
    """Supersession is planned anew if the old session's lease grew meanwhile (I4)."""
    world = World()
    first = world.join()
    world.wait(1)
    snapshot = world.snapshot
    changes = plan(snapshot, DeleteRunner(runner_id=first), world.policy).changes
    world.beat(first)

    with pytest.raises(Conflict):
        done(world.store.commit(changes, expected_revision=snapshot.revision, commit_id="x"))


@pytest.mark.parametrize("fate", ["silent", "unready", "other-session"])
def test_whoever_is_granted_must_be_live_at_the_commit(fate: str) -> None:
    """A grant fails if its winner lapsed, or is not ready, or not that session (bug 2)."""
    world = World()
    first, second = world.join(), world.join()
    world.beat(second)
    world.wait(14)
    world.beat(second)
    world.wait(2)
    snapshot = world.snapshot
    changes = plan(snapshot, Decide(), world.policy).changes
    lives = [expected for expected in changes.expects if isinstance(expected, Live)]
    assert [live.runner_id for live in lives] == [second]
    if fate == "silent":
        world.wait(15)
    elif fate == "unready":
        world.beat(second, ready=False)
    else:
        changes = evolve(changes, expects=(Live(second, "session-other"),))
    revision = world.snapshot.revision

    with pytest.raises(Conflict):
        done(world.store.commit(changes, expected_revision=revision, commit_id="x"))

    assert first != second


def test_no_commit_undoes_a_renewal_it_has_not_seen() -> None:
    """A renewal that made the group due is decided about although a commit raced with it (I5)."""
    world = World()
    first = world.join()
    world.live(40)
    assert world.term is None
    snapshot = world.snapshot
    changes = plan(snapshot, Decide(), world.policy).changes
    world.beat(first)
    with contextlib.suppress(Conflict):
        done(world.store.commit(changes, expected_revision=snapshot.revision, commit_id="x"))

    assert done(world.store.due(10)).group_ids == (GROUP,)


def test_renewals_keep_what_is_theirs() -> None:
    """A commit writes nothing of a session that renewals own, but what a grant gives."""
    world = World()
    first, second = world.join(), world.join()
    world.wait(1)
    snapshot = world.snapshot
    changes = plan(snapshot, TaintRunner(runner_id=second), world.policy).changes
    world.beat(second)
    ends = world.session(second).lease_expires_at

    done(world.store.commit(changes, expected_revision=snapshot.revision, commit_id="x"))

    assert world.session(second).lease_expires_at == ends
    assert world.runner(second).taints != ()
    assert first != second


# Sessions.


def test_how_a_session_ended_is_remembered() -> None:
    """By its id or by the key that opened it, of deleted runners too, and of no other runner."""
    world = World()
    first = world.join()
    old = world.session(first)
    world.open(first)

    by_id = done(world.store.ended_session(first, session_id=old.id))
    by_key = done(world.store.ended_session(first, key=old.key))

    assert by_id is not None
    assert (by_id.how, by_key) == (Ended.SUPERSEDED, by_id)
    assert done(world.store.ended_session("other", session_id=old.id)) is None
    assert done(world.store.ended_session(first, key="never")) is None
    assert done(world.store.ended_session(first)) is None
    beat = Beat(runner_id=first, session_id=old.id)
    assert done(world.store.beat([beat])) == [by_id]
    assert done(world.store.pulse(first, old.id)) == by_id


def test_answers_are_in_the_order_of_the_beats() -> None:
    """A flush is answered beat by beat: a pulse, an end, or nothing."""
    world = World()
    first, second = world.join(), world.join()
    gone = world.session(second).id
    world.leave(second)

    answers = done(
        world.store.beat(
            [
                Beat(runner_id="nobody", session_id="s"),
                Beat(runner_id=second, session_id=gone),
                Beat(runner_id=first, session_id=world.session(first).id),
            ]
        )
    )

    assert [type(answer) for answer in answers] == [type(None), EndedSession, Pulse]


def test_a_renewal_tells_its_margin() -> None:
    """What was left of the lease, negative for one that had lapsed, is told for the metrics."""
    world = World(Settings(lease=span(10)))
    first = world.join()
    world.wait(4)
    early = world.beat(first)
    world.wait(12)
    late = world.beat(first)

    assert isinstance(early, Pulse)
    assert isinstance(late, Pulse)
    assert (early.margin, early.due) == (span(6), False)
    assert (late.margin, late.due) == (span(-2), True)


def test_health_begins_anew_with_a_break() -> None:
    """A renewal that revives a session, or makes it ready, dates its health from then."""
    world = World(Settings(lease=span(10)))
    first = world.join()
    began = world.now
    world.wait(5)
    world.beat(first)
    assert world.session(first).healthy_since == began

    world.beat(first, ready=False)
    assert world.session(first).healthy_since == began
    world.beat(first, ready=True)

    assert world.session(first).healthy_since == world.now
    world.wait(11)
    world.beat(first)
    assert world.session(first).healthy_since == world.now


# What is due.


def test_the_longest_due_comes_first() -> None:
    """Groups are decided in the order in which they became due, as many as asked for."""
    store = MemoryStore(clock=lambda: NOW)
    for number, group_id in enumerate("cab"):
        changes = create_group(group_id, Settings(), at=NOW)
        group = evolve(changes.group, look_again_at=NOW - span(10 - number))
        changes = evolve(changes, group=group)
        done(store.commit(changes, expected_revision=0, commit_id=group_id))

    assert done(store.due(2)).group_ids == ("c", "a")
    assert done(store.due(9)).group_ids == ("c", "a", "b")


def test_what_is_not_due_tells_when_it_will_be() -> None:
    """The next time is that of the group which comes first; deleted groups never come."""
    world = World(Settings(lease=span(10)))
    first = world.join()
    ends = world.session(first).term_expires_at

    assert done(world.store.due(9)).next_at == ends

    world.do(DeleteGroup(force=True))
    assert done(world.store.due(9)).next_at is None


# Pages.


@pytest.mark.parametrize("cursor", ["?", "é", "_", "____"])
def test_a_malformed_cursor_is_refused(cursor: str) -> None:
    """A cursor is one that was given out, not anything."""
    world = World()
    for call in (
        world.store.groups(cursor=cursor),
        world.store.runners(GROUP, cursor=cursor),
        world.store.jobs(GROUP, cursor=cursor),
        world.store.tokens(cursor=cursor),
    ):
        with pytest.raises(Invalid):
            done(call)


def test_a_cursor_of_jobs_is_a_number() -> None:
    """A cursor of another list is refused."""
    world = World()
    world.join()
    world.join()
    cursor = done(world.store.runners(GROUP, limit=1)).next_cursor

    with pytest.raises(Invalid):
        done(world.store.jobs(GROUP, cursor=cursor))


def test_a_census_counts() -> None:
    """Groups, those that are led, runners, and sessions that live."""
    world = World(Settings(lease=span(10)))
    world.join()
    world.register()
    world.wait(5)
    world.open(world.register())
    world.wait(6)

    census = done(world.store.census())

    assert (census.groups, census.led, census.runners, census.live_sessions) == (1, 0, 3, 1)
    world.elector()
    assert done(world.store.census()).led == 1


# Jobs.


def test_a_claim_without_work_tells_when_there_will_be() -> None:
    """Who finds nothing learns when the next job's backoff is over."""
    world = World()
    first = world.join()
    job_id = enqueue(world)
    (item,) = claim(world, first).items
    failed = Settlement(outcome=JobOutcome.FAILED)
    done(settle(world.store, job_id, item.claim_token, failed))

    empty = claim(world, first, "d")

    assert (empty.items, empty.next_at) == ((), world.now + span(1))


def test_ended_sessions_end_their_addressed_claims() -> None:
    """Lost with its process an addressed job has failed; handed back it waits for the next."""
    world = World()
    first = world.join()
    lost = enqueue(world, JobSpec(kind="a", runner_id=first))
    claim(world, first, epoch=None)
    world.open(first)
    kept = enqueue(world, JobSpec(kind="b", runner_id=first))
    claim(world, first, epoch=None)
    world.leave(first)

    assert done(world.store.job(lost)).error == "lost"
    assert done(world.store.job(kept)).state is JobState.QUEUED


def test_cancelling_rouses_the_holder_once() -> None:
    """The holder's standing rises with the request, and not with its repetition."""
    world = World()
    first = world.join()
    job_id = enqueue(world)
    claim(world, first)
    version = world.session(first).standing_version

    done(world.store.cancel(job_id))
    done(world.store.cancel(job_id))

    assert world.session(first).standing_version == version + 1
    pulse = world.beat(first)
    assert isinstance(pulse, Pulse)
    assert pulse.cancel == (job_id,)


def test_cancelling_what_nobody_holds_rouses_nobody() -> None:
    """A queued job's cancellation is nobody's news."""
    world = World()
    first = world.join()
    version = world.session(first).standing_version

    assert done(world.store.cancel(enqueue(world))).state is JobState.CANCELLED

    assert world.session(first).standing_version == version


def test_a_key_is_looked_for_among_all_jobs_of_the_group() -> None:
    """A repeated enqueueing finds its job behind any other, and only in its own group."""
    world = World()
    done(
        world.store.commit(
            create_group("other", Settings(), at=world.now), expected_revision=0, commit_id="x"
        )
    )
    enqueue(world)
    one = done(world.store.enqueue("other", WORK, job_id="j1", idempotency_key="k"))
    two = done(world.store.enqueue(GROUP, WORK, job_id="j2", idempotency_key="k"))
    again = done(world.store.enqueue(GROUP, WORK, job_id="j3", idempotency_key="k"))

    assert (one.created, two.created, again.created) == (True, True, False)
    assert again.job == two.job


def test_another_runners_end_leaves_claims_alone() -> None:
    """Only the claims of what ended end."""
    world = World()
    first, second = world.join(), world.join()
    job_id = enqueue(world)
    own = enqueue(world, JobSpec(kind="own", runner_id=first))
    claim(world, first)
    claim(world, first, "d", epoch=None)
    world.leave(second)

    assert done(world.store.job(job_id)).state is JobState.RUNNING
    assert done(world.store.job(own)).state is JobState.RUNNING


def test_jobs_are_counted_by_state() -> None:
    """States without jobs are left out."""
    world = World()
    first = world.join()
    enqueue(world)
    enqueue(world)
    claim(world, first)

    assert done(world.store.job_counts()) == {"queued": 1, "running": 1}


def test_a_claim_is_answered_as_it_was() -> None:
    """A repeated claim gives the jobs and tokens of then, whatever became of them (bug 38)."""
    world = World()
    first = world.join()
    job_id = enqueue(world)
    once = claim(world, first)
    token = once.items[0].claim_token
    done(settle(world.store, job_id, token, Settlement(outcome=JobOutcome.RELEASED)))
    claim(world, first, "d")

    assert claim(world, first).items == once.items


def test_what_a_claim_was_answered_is_kept_while_its_job_runs() -> None:
    """A long job's claim may be repeated after the retention, a settled one's need not be."""
    world = World(Settings(retention=span(60), lease=span(3600)))
    first = world.join()
    done_soon, runs_long = enqueue(world), enqueue(world)
    (short,) = claim(world, first, "a").items
    (long,) = claim(world, first, "b").items
    done(settle(world.store, done_soon, short.claim_token, Settlement(outcome=SUCCEEDED)))
    world.wait(61)
    done(world.store.prune())

    assert claim(world, first, "a").items == ()
    assert claim(world, first, "b").items == (long,)
    assert long.job.id == runs_long


def test_a_claim_by_nobody() -> None:
    """An unknown runner is not found; a session that never was has ended."""
    world = World()
    first = world.join()
    for runner_id, refusal in [("nobody", NotFound), (first, SessionEnded)]:
        with pytest.raises(refusal):
            done(world.store.claim(runner_id, "s", claim_id="c", epoch=1, limit=1, tokens=["t"]))


def test_a_deleted_runners_claim_is_refused_as_ended() -> None:
    """A process whose runner was deleted learns that its session ended."""
    world = World()
    first = world.join()
    session_id = world.session(first).id
    world.do(DeleteRunner(runner_id=first))

    with pytest.raises(SessionEnded):
        done(world.store.claim(first, session_id, claim_id="c", epoch=1, limit=1, tokens=["t"]))


def test_a_deleted_group_takes_its_jobs_along() -> None:
    """Nothing of a deleted group is found, and one of its id begins with no jobs."""
    world = World()
    world.join()
    job_id = enqueue(world)

    world.do(DeleteGroup(force=True))

    with pytest.raises(NotFound):
        done(world.store.job(job_id))
    with pytest.raises(NotFound):
        done(world.store.jobs(GROUP))


# Tokens.


def a_token(token_id: str, **rest: str | None) -> StoredToken:
    """A token whose secret has this digest."""
    token = Token(id=token_id, kind=TokenKind.VIEWER, created_at=NOW - span(99), **rest)  # type: ignore[arg-type]
    return StoredToken(token=token, digest=token_id.encode())


def test_a_token_is_found_by_its_digest_until_it_expires() -> None:
    """The store's time dates a token and ends it."""
    world = World()
    kept = done(world.store.add_token(a_token("a"), ttl=span(5)))

    assert (kept.created_at, kept.expires_at) == (world.now, world.now + span(5))
    assert done(world.store.find_token(b"a")) == kept
    assert done(world.store.find_token(b"b")) is None
    world.wait(5)
    assert done(world.store.find_token(b"a")) is None


def test_a_token_is_of_something_that_exists() -> None:
    """No token for a group or runner that is not there."""
    world = World()
    for rest in ({"group_id": "nowhere"}, {"runner_id": "nobody"}):
        with pytest.raises(NotFound):
            done(world.store.add_token(a_token("a", **rest), ttl=None))


def test_tokens_are_listed_and_revoked() -> None:
    """All tokens by id; a revoked one is gone, and so are those of a deleted group."""
    world = World()
    for token_id in "bac":
        group_id = GROUP if token_id == "c" else None
        done(world.store.add_token(a_token(token_id, group_id=group_id), ttl=None))

    page = done(world.store.tokens(limit=2))
    rest = done(world.store.tokens(cursor=page.next_cursor))

    assert [token.id for token in page.items + rest.items] == ["a", "b", "c"]
    done(world.store.revoke_token("a"))
    world.do(DeleteGroup(force=True))
    assert [token.id for token in done(world.store.tokens()).items] == ["b"]
    with pytest.raises(NotFound):
        done(world.store.revoke_token("a"))


# Pruning.


def test_each_kind_is_pruned_by_its_own_rule() -> None:
    """Events and finished jobs by their group's retention, the rest after its own time."""
    world = World(Settings(retention=timedelta(days=2), lease=span(3600)))
    first = world.join()
    world.open(first)
    done(world.store.cancel(enqueue(world)))
    waiting = enqueue(world)
    done(world.store.add_token(a_token("a"), ttl=span(1)))

    assert done(world.store.prune()) == 0
    world.wait(1.5 * 86400)
    assert done(world.store.prune()) == 1
    world.wait(86400)
    while done(world.store.prune(2)):
        pass

    assert world.history == []
    assert [job.id for job in done(world.store.jobs(GROUP)).items] == [waiting]
    assert done(world.store.tokens()).items == ()
    with pytest.raises(CursorExpired):
        done(world.store.events(GROUP, after=0))


def test_the_end_of_a_session_is_remembered_for_its_groups_retention() -> None:
    """A process that sleeps longer than that learns only that its session is over."""
    world = World(Settings(retention=timedelta(days=2)))
    first = world.join()
    session_id = world.session(first).id
    world.leave(first)
    world.wait(1.9 * 86400)
    done(world.store.prune())
    assert done(world.store.ended_session(first, session_id=session_id)) is not None

    world.wait(0.2 * 86400)
    done(world.store.prune())

    assert done(world.store.ended_session(first, session_id=session_id)) is None


# Restored.


def test_a_restored_store_bars_every_group() -> None:
    """No group grants before the longest lease is over, deleted ones included (bug 40)."""
    world = World(Settings(lease=span(60)))
    world.join()
    changes: Changes = create_group("other", Settings(lease=span(5)), at=world.now)
    done(world.store.commit(changes, expected_revision=0, commit_id="x"))
    changes = create_group("gone", Settings(), at=world.now)
    deleted = evolve(changes, group=evolve(changes.group, epoch=5, deleted_at=world.now))
    done(world.store.commit(deleted, expected_revision=0, commit_id="y"))
    world.wait(1)
    world.store.lose_commits()

    done(world.store.mark(TICK))

    other = done(world.store.load("other")).group
    assert other.grant_not_before == world.now + span(60)
    assert world.snapshot.group.grant_not_before == world.now + span(60)
    assert other.epoch == 2**20
    gone = done(world.store.load("gone")).group
    assert (gone.epoch, gone.look_again_at) == (5 + 2**20, None)
    assert gone.grant_not_before == world.now + span(60)
