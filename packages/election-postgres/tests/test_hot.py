"""Heartbeats write rows in place: no index changes with them."""

from __future__ import annotations

import asyncio

import asyncpg

from election_postgres import PostgresStore
from postgres_fleet import Fleet, connected, until

RUNNERS = 300
ROUNDS = 6
UPDATES = """
SELECT n_tup_upd AS all, n_tup_hot_upd AS hot FROM pg_stat_user_tables
WHERE schemaname = 'election' AND relname = 'runner'
"""
INDEXES = """
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition,
    array(
        SELECT a.attname::text FROM pg_attribute AS a
        WHERE a.attrelid = i.indrelid AND (a.attnum = ANY (i.indkey) OR EXISTS (
            SELECT FROM pg_depend AS d
            WHERE d.objid = i.indexrelid AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
        ))
    ) AS columns
FROM pg_index AS i WHERE i.indrelid = 'election.runner'::regclass
"""
COPIES = """
INSERT INTO election.runner SELECT (json_populate_record(r, json_build_object(
    'id', r.group_id || '-r' || n, 'name', 'r' || n, 'held_epoch', NULL,
    'session_id', r.group_id || '-r' || n || '1', 'term_expires_at', NULL
))).* FROM election.runner AS r, generate_series(1, $2::integer - 1) AS n WHERE r.id = $1
"""
MOVED = {"lease_expires_at", "term_expires_at", "seq", "ready", "healthy_since"}
"""What heartbeats change."""


async def alone(connection: asyncpg.Connection) -> None:
    """Wait until no other connection is left, for its counts are told at the latest then."""

    async def gone() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        return bool(await connection.fetchval(query) == 1)

    await until(gone)


async def test_heartbeats_stay_heap_only(database: str) -> None:
    """Of many rounds of heartbeats, at least 95 in 100 updates leave the indexes alone."""
    async with connected(database) as connection:
        async with PostgresStore.open(database) as store:
            fleets = [Fleet(store, f"g{number:02}") for number in range(10)]
            for fleet in fleets:
                await fleet.create("r0")
                await connection.execute(COPIES, fleet.runner("r0"), RUNNERS // 10)
                fleet.sessions = {f"r{number}": 1 for number in range(RUNNERS // 10)}
        await connection.execute("VACUUM (FULL, ANALYZE) election.runner")
        await alone(connection)
        await connection.execute("SELECT pg_stat_reset()")

        beats = [fleet.renewal(name) for fleet in fleets for name in fleet.sessions]
        assert len(beats) == RUNNERS
        async with PostgresStore.open(database) as store:
            for _ in range(ROUNDS):
                halves = beats[::2], beats[1::2]
                await asyncio.gather(*(store.beat(half) for half in halves))
        await alone(connection)
        counts = await connection.fetchrow(UPDATES)

    assert counts is not None
    assert counts["all"] == RUNNERS * ROUNDS
    assert counts["hot"] / counts["all"] >= 0.95


async def test_no_index_mentions_what_heartbeats_change(
    store: PostgresStore, database: str
) -> None:
    """Neither a column nor a condition of an index is something that a heartbeat moves."""
    async with connected(database) as connection:
        rows = await connection.fetch(INDEXES)

    assert len(rows) >= 4
    for row in rows:
        assert row["columns"], row["name"]
        assert not MOVED & set(row["columns"]), row["definition"]
