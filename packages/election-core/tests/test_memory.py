"""The memory store: what is its own, beside what every store promises."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import evolve

from election_cases import NOW, span
from election_core import (
    Changes,
    Claimed,
    DeleteGroup,
    Job,
    JobOutcome,
    JobSpec,
    Settings,
    Settlement,
    create_group,
)
from election_core.memory import MemoryStore
from election_core.ports import AccessStore, JobStore, Settle, Store
from election_world import GROUP, TICK, World, done


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


def enqueue(world: World) -> str:
    """Add a job; its id."""
    return done(world.store.enqueue(GROUP, JobSpec(kind="work"), job_id=world.fresh("job"))).job.id


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


def test_what_is_not_due_tells_when_it_will_be() -> None:
    """The next time is that of the group which comes first; deleted groups never come."""
    world = World(Settings(lease=span(10)))
    first = world.join()
    ends = world.session(first).term_expires_at

    assert done(world.store.due(9)).next_at == ends

    world.do(DeleteGroup(force=True))
    assert done(world.store.due(9)).next_at is None


def test_what_a_claim_was_answered_is_kept_while_its_job_runs() -> None:
    """A long job's claim may be repeated after the retention, a settled one's need not be."""
    world = World(Settings(retention=span(60), lease=span(3600)))
    first = world.join()
    done_soon, runs_long = enqueue(world), enqueue(world)
    (short,) = claim(world, first, "a").items
    (long,) = claim(world, first, "b").items
    done(
        settle(world.store, done_soon, short.claim_token, Settlement(outcome=JobOutcome.SUCCEEDED))
    )
    world.wait(61)
    done(world.store.prune())

    assert claim(world, first, "a").items == ()
    assert claim(world, first, "b").items == (long,)
    assert long.job.id == runs_long


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
