"""Claims, settlements and enqueueing by many at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from election_core import (
    Claimed,
    ConflictError,
    ElectionError,
    Job,
    JobOutcome,
    JobSpec,
    JobState,
    LeaseExpired,
    NotLeader,
    Release,
    SessionEnded,
    Settlement,
    StaleClaim,
    StaleEpoch,
)
from election_core.ports import Settle
from election_postgres import PostgresStore
from postgres_fleet import DEADLINE, Fleet, connected, fresh, shift_clock, waiting

DONE = Settlement(outcome=JobOutcome.SUCCEEDED)


@pytest.fixture
async def fleet(store: PostgresStore) -> Fleet:
    """A group that `a` leads under epoch 1."""
    fleet = Fleet(store)
    await fleet.create("a", "b")
    return fleet


def settles(claimed: Claimed, settlement: Settlement = DONE) -> list[Settle]:
    """The settlement of all that was claimed."""
    return [
        Settle(job_id=item.job.id, token=item.claim_token, settlement=settlement)
        for item in claimed.items
    ]


def states(answers: Sequence[Job | ElectionError]) -> list[JobState]:
    """The states of jobs that were settled, all of them."""
    jobs = [answer for answer in answers if isinstance(answer, Job)]
    assert len(jobs) == len(answers)
    return [job.state for job in jobs]


async def test_each_job_is_claimed_once(fleet: Fleet) -> None:
    """Eight claimers of one session share two hundred jobs, and settle them."""
    ids = await fleet.enqueue(200)

    async def work() -> list[str]:
        mine: list[str] = []
        while True:
            claimed = await fleet.claim("a", 1, limit=7)
            if not claimed.items:
                if (await fleet.store.job_counts()).get("queued"):
                    continue  # locked by one that took others
                return mine
            mine += [item.job.id for item in claimed.items]
            assert set(states(await fleet.store.settle(settles(claimed)))) == {JobState.SUCCEEDED}

    async with asyncio.timeout(DEADLINE):
        shares = await asyncio.gather(*(work() for _ in range(8)))

    given = Counter(job_id for share in shares for job_id in share)
    assert given == Counter(ids)
    assert await fleet.store.job_counts() == {"succeeded": 200}


async def test_the_order_is_kept(fleet: Fleet) -> None:
    """One claim is in order of priority, then of age, the group's and the runner's own alike."""
    wanted = []
    for number, priority in enumerate([0, 5, 0, 9, 5]):
        spec = JobSpec(
            kind="work", priority=priority, runner_id=fleet.runner("a") if number % 2 else None
        )
        await fleet.store.enqueue("g", spec, job_id=str(number))
        wanted.append((-priority, str(number)))

    claimed = await fleet.claim("a", 1, limit=10)
    assert [item.job.id for item in claimed.items] == [name for _, name in sorted(wanted)]


async def test_the_same_claim_twice_at_once_is_one(fleet: Fleet) -> None:
    """A claim that is repeated while it is under way takes jobs once."""
    await fleet.enqueue(40)
    for _ in range(10):
        name = fresh()
        one, two = await asyncio.gather(
            *(fleet.claim("a", 1, limit=2, claim_id=name) for _ in range(2))
        )
        assert one.items == two.items
        assert len(one.items) == 2
    assert await fleet.store.job_counts() == {"queued": 20, "running": 20}


async def test_a_known_claim_is_answered_past_its_lease(fleet: Fleet, database: str) -> None:
    """What it was given is known for as long as its session is, whatever it may claim by now."""
    await fleet.enqueue()
    first = await fleet.claim("a", 1, claim_id="known")
    async with connected(database) as own:
        await shift_clock(own, 3600)
    assert (await fleet.claim("a", 1, claim_id="known")).items == first.items
    with pytest.raises(LeaseExpired):
        await fleet.claim("a", 1)


async def test_a_known_claim_is_its_sessions_alone(fleet: Fleet) -> None:
    """What a session was given is answered to its own runner, not to another that names it."""
    await fleet.enqueue()
    await fleet.claim("a", 1, claim_id="known")
    with pytest.raises(SessionEnded):
        await fleet.store.claim(
            fleet.runner("b"),
            fleet.session("a"),
            claim_id="known",
            epoch=1,
            limit=1,
            tokens=[fresh()],
        )


async def test_a_leader_claims_under_its_current_epoch_alone(store: PostgresStore) -> None:
    """A session that leads again under a new epoch is refused with the one it had before."""
    fleet = Fleet(store)
    await fleet.create("a")
    await fleet.enqueue()
    await fleet.do(Release(runner_id="g-a", session_id="g-a1", epoch=1))
    assert await fleet.epoch() == 2
    with pytest.raises(StaleEpoch):
        await fleet.claim("a", 1)
    assert len((await fleet.claim("a", 2)).items) == 1


async def test_a_finished_job_stays_as_it_is(fleet: Fleet) -> None:
    """The end of the term and of the session under which it was finished does nothing to a job."""
    await fleet.enqueue(3)
    own = await fleet.enqueue(runner="a")
    claimed = await fleet.claim("a", 1, limit=4)
    assert own[0] in [item.job.id for item in claimed.items]
    failed = Settlement(outcome=JobOutcome.FAILED, retry=False)
    outcomes = (DONE, failed, DONE, failed)
    jobs = await fleet.store.settle(
        [
            Settle(job_id=item.job.id, token=item.claim_token, settlement=outcome)
            for item, outcome in zip(claimed.items, outcomes, strict=True)
        ]
    )
    await fleet.do(Release(runner_id="g-a", session_id="g-a1", epoch=1))
    await fleet.reopen("a")
    assert [await fleet.store.job(item.job.id) for item in claimed.items] == jobs


async def test_who_does_not_lead_is_given_nothing_of_the_groups(fleet: Fleet) -> None:
    """A standby that names the current epoch is refused; without one it gets its own jobs alone."""
    await fleet.enqueue(3)
    own = await fleet.enqueue(runner="b")
    with pytest.raises(NotLeader):
        await fleet.claim("b", 1, limit=5)
    assert [item.job.id for item in (await fleet.claim("b", None, limit=5)).items] == own


async def test_a_claim_that_meets_an_election_gets_nothing(fleet: Fleet, database: str) -> None:
    """A claim that waited for an election is judged by what was elected."""
    await fleet.enqueue()
    release = await fleet.plan(
        Release(runner_id=fleet.runner("a"), session_id=fleet.session("a"), epoch=1)
    )
    async with connected(database) as own, connected(database) as watcher:
        async with own.transaction():
            await own.execute("LOCK TABLE election.event IN SHARE MODE")
            electing = asyncio.create_task(fleet.commit(release))
            await waiting(watcher)
            claiming = asyncio.create_task(fleet.claim("a", 1))
            await waiting(watcher, 2)
        await electing

        with pytest.raises(ElectionError, match="epoch"):
            await claiming
    assert await fleet.store.job_counts() == {"queued": 1}


async def test_a_settlement_twice_at_once_is_one(fleet: Fleet) -> None:
    """Repeated while it is under way, in another order, a settlement is answered alike."""
    await fleet.enqueue(60)
    claimed = await fleet.claim("a", 1, limit=60)
    failed = settles(claimed, Settlement(outcome=JobOutcome.FAILED, error="e"))
    async with asyncio.timeout(DEADLINE):
        one, two = await asyncio.gather(
            fleet.store.settle(failed), fleet.store.settle(failed[::-1])
        )

    assert one == two[::-1]
    assert {job.attempts for job in one if isinstance(job, Job)} == {1}


async def test_two_outcomes_at_once_have_one_winner(fleet: Fleet) -> None:
    """Of a success and a failure of the same claim one is kept, the other is refused."""
    for _ in range(10):
        await fleet.enqueue()
        claimed = await fleet.claim("a", 1)
        lost = Settlement(outcome=JobOutcome.FAILED, retry=False)
        (one,), (two,) = await asyncio.gather(
            fleet.store.settle(settles(claimed)), fleet.store.settle(settles(claimed, lost))
        )
        assert sorted([isinstance(one, StaleClaim), isinstance(two, StaleClaim)]) == [False, True]
        kept = await fleet.store.job(claimed.items[0].job.id)
        assert kept in (one, two)


async def test_a_settlement_meets_an_election(fleet: Fleet, database: str) -> None:
    """A settlement that waited for an election finds its claim over, and changes nothing."""
    await fleet.enqueue()
    claimed = await fleet.claim("a", 1)
    release = await fleet.plan(
        Release(runner_id=fleet.runner("a"), session_id=fleet.session("a"), epoch=1)
    )
    async with connected(database) as own, connected(database) as watcher:
        async with own.transaction():
            await own.execute("LOCK TABLE election.event IN SHARE MODE")
            electing = asyncio.create_task(fleet.commit(release))
            await waiting(watcher)
            settling = asyncio.create_task(fleet.store.settle(settles(claimed)))
            await waiting(watcher, 2)
        await electing

        (answer,) = await settling
    assert isinstance(answer, StaleClaim)
    assert (await fleet.store.job(claimed.items[0].job.id)).state is JobState.QUEUED


async def test_refusals_spoil_no_other(fleet: Fleet) -> None:
    """In one call, what stands is settled and what does not is answered with why."""
    await fleet.enqueue(3)
    claimed = await fleet.claim("a", 1, limit=3)
    one, two, three = settles(claimed)
    wrong = Settle(job_id=two.job_id, token="no", settlement=DONE)
    missing = Settle(job_id="none", token="no", settlement=DONE)

    answers = await fleet.store.settle([missing, three, wrong, one])

    assert [getattr(answer, "code", "settled") for answer in answers] == [
        "not-found", "settled", "stale-claim", "settled",
    ]  # fmt: skip
    assert await fleet.store.job_counts() == {"succeeded": 2, "running": 1}


async def test_the_same_key_twice_at_once_is_one_job(fleet: Fleet) -> None:
    """Enqueueing that is repeated while it is under way makes one job; another one is refused."""
    spec = JobSpec(kind="work", payload={"a": 1})
    for key in ("one", "two", "three"):
        done = await asyncio.gather(
            *(fleet.store.enqueue("g", spec, job_id=fresh(), idempotency_key=key) for _ in range(8))
        )
        assert sum(each.created for each in done) == 1
        assert len({each.job.id for each in done}) == 1
    with pytest.raises(ConflictError):
        await fleet.store.enqueue("g", JobSpec(kind="other"), job_id=fresh(), idempotency_key="one")
