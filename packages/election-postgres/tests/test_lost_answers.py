"""Writes whose answers are lost: the server has done them, and the connection breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest

from cutting_proxy import CuttingProxy
from election_core import (
    JobOutcome,
    JobSpec,
    JobState,
    OutcomeUnknown,
    Pulse,
    RegisterRunner,
    Settlement,
    Token,
    TokenKind,
    Unavailable,
)
from election_core.ports import Settle, StoredToken
from election_postgres import PostgresStore
from postgres_fleet import Fleet


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[CuttingProxy]:
    """What is between the store and its server."""
    async with CuttingProxy.before(database) as proxy:
        yield proxy


@pytest.fixture
async def fleet(proxy: CuttingProxy) -> AsyncIterator[Fleet]:
    """A group that `a` leads, over one connection, through the proxy."""
    async with PostgresStore.open(proxy.dsn, connections=1) as store:
        fleet = Fleet(store)
        await fleet.create("a", "b")
        yield fleet


Call = Callable[[], Awaitable[object]]


async def lost(proxy: CuttingProxy, call: Call) -> None:
    """Have a call's answer lost. The statement has been used before, so that is all there is."""
    proxy.passing = 0
    with pytest.raises(OutcomeUnknown, match="repeat the call"):
        await call()
    assert proxy.passing is None


async def test_a_commit_is_recognised(fleet: Fleet, proxy: CuttingProxy) -> None:
    """Repeated under its id it is answered as it was, and written once."""
    planned = await fleet.plan(RegisterRunner(runner_id="g-c", name="c"))
    await lost(proxy, lambda: fleet.commit(planned, "id"))
    written = await fleet.store.load("g")
    assert written.revision == planned.before.revision + 1

    assert (await fleet.commit(planned, "id")).revision == written.revision
    assert (await fleet.store.load("g")).revision == written.revision


async def test_a_renewal_is_repeated(fleet: Fleet, proxy: CuttingProxy) -> None:
    """It has renewed, and renews again."""
    before = await fleet.beat("a")
    await lost(proxy, lambda: fleet.beat("a"))
    after = await fleet.store.pulse("g-a", "g-a1")
    assert isinstance(before, Pulse)
    assert isinstance(after, Pulse)
    assert after.lease_expires_at > before.lease_expires_at
    assert isinstance(await fleet.beat("a"), Pulse)


async def test_a_job_is_added_once(fleet: Fleet, proxy: CuttingProxy) -> None:
    """Under its key it is found again, also under another id."""
    spec = JobSpec(kind="work")
    await fleet.store.enqueue("g", spec, job_id="warm")
    await lost(proxy, lambda: fleet.store.enqueue("g", spec, job_id="first", idempotency_key="key"))

    again = await fleet.store.enqueue("g", spec, job_id="second", idempotency_key="key")
    assert (again.job.id, again.created) == ("first", False)
    assert await fleet.store.job_counts() == {"queued": 2}


async def test_a_claim_and_its_settlement_count_once(fleet: Fleet, proxy: CuttingProxy) -> None:
    """The jobs of a claim are given again to who repeats it, and settled by who repeats that."""
    done = Settlement(outcome=JobOutcome.SUCCEEDED)
    await fleet.claim("a", 1)
    await fleet.store.settle([Settle(job_id="none", token="none", settlement=done)])
    await fleet.enqueue(2)
    await lost(proxy, lambda: fleet.claim("a", 1, claim_id="once"))
    (item,) = (await fleet.claim("a", 1, claim_id="once")).items
    assert item.job.attempts == 1
    assert await fleet.store.job_counts() == {"queued": 1, "running": 1}

    settle = Settle(job_id=item.job.id, token=item.claim_token, settlement=done)
    await lost(proxy, lambda: fleet.store.settle([settle]))
    (job,) = await fleet.store.settle([settle])
    assert job == await fleet.store.job(item.job.id)
    assert await fleet.store.job_counts() == {"queued": 1, "succeeded": 1}


async def test_a_cancellation_is_told_once(fleet: Fleet, proxy: CuttingProxy) -> None:
    """Its holder hears of it once, however often it is asked for."""
    (first, second) = await fleet.enqueue(2)
    await fleet.store.cancel(first)
    await fleet.claim("a", 1)
    before = await fleet.store.pulse("g-a", "g-a1")
    await lost(proxy, lambda: fleet.store.cancel(second))

    assert (await fleet.store.cancel(second)).state is JobState.RUNNING
    after = await fleet.store.pulse("g-a", "g-a1")
    assert isinstance(before, Pulse)
    assert isinstance(after, Pulse)
    assert after.standing_version == before.standing_version + 1
    assert after.cancel == (second,)


async def test_a_token_is_added_once(fleet: Fleet, proxy: CuttingProxy) -> None:
    """It is answered as it was."""
    store = fleet.store

    def token(name: str) -> StoredToken:
        made = Token(id=name, kind=TokenKind.OPERATOR, created_at=datetime.now(UTC))
        return StoredToken(token=made, digest=name.encode())

    await store.add_token(token("warm"), ttl=None)
    await lost(proxy, lambda: store.add_token(token("t"), ttl=None))

    again = await store.add_token(token("t"), ttl=None)
    assert again == await store.find_token(b"t")


async def test_a_question_whose_answer_is_lost_is_only_unavailable(
    fleet: Fleet, proxy: CuttingProxy
) -> None:
    """Nothing of it can have been written, and the next one has another connection."""
    proxy.passing = 0
    with pytest.raises(Unavailable) as refused:
        await fleet.store.load("g")
    assert not isinstance(refused.value, OutcomeUnknown)
    assert (await fleet.store.load("g")).group.id == "g"
