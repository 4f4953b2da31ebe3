"""Elections in your own program: your job table, guarded by the fence in its own transaction."""

import asyncio
import sys

from election_core import LeaseExpired, Role, StaleEpoch, Standing
from election_core.engine import Engine
from election_sqlite import SqliteStore

GROUP = "invoices"
TABLE = """CREATE TABLE IF NOT EXISTS invoice (id INTEGER PRIMARY KEY, sent_under INTEGER);
INSERT INTO invoice (id) VALUES (1), (2), (3) ON CONFLICT DO NOTHING;"""
NEXT = "SELECT id FROM invoice WHERE sent_under IS NULL ORDER BY id LIMIT 1"
SENT = "UPDATE invoice SET sent_under = ? WHERE id = ?"


async def beat(engine: Engine, standing: Standing) -> None:
    """Keep the session alive, whatever the work is doing."""
    while True:
        await asyncio.sleep(standing.heartbeat.total_seconds())
        standing = await engine.beat(standing.runner_id, standing.session_id)


async def send_next(store: SqliteStore, epoch: int) -> int | None:
    """Send an invoice; the commit stands only if this epoch still leads."""
    async with store.connect() as connection:
        await connection.execute("BEGIN IMMEDIATE")
        await store.fence(connection, GROUP, epoch)  # an error leaves the transaction undone
        if row := await (await connection.execute(NEXT)).fetchone():
            await connection.execute(SENT, (epoch, row[0]))
        await connection.execute("COMMIT")
        return row[0] if row else None


async def main(path: str) -> None:
    """Lead, send what there is, leave, and see the fence refuse what comes too late."""
    async with SqliteStore.open(path) as store, Engine(store) as engine:
        async with store.connect() as connection:
            await connection.executescript(TABLE)
        await engine.create_group(GROUP)
        me, _ = await engine.register(GROUP, "embedded")
        standing = await engine.open_session(me.id, session_key=str(id(engine)))
        while standing.role is not Role.LEADER:  # another leads, or its lease must run out first
            standing = await engine.beat(me.id, standing.session_id, wait=standing.heartbeat)
        async with asyncio.TaskGroup() as tasks:
            beating = tasks.create_task(beat(engine, standing))
            while sent := await send_next(store, standing.epoch):
                print(f"invoice {sent} sent under epoch {standing.epoch}")
            beating.cancel()
        await engine.leave(me.id, standing.session_id)
        try:
            await send_next(store, standing.epoch)
        except (StaleEpoch, LeaseExpired) as refused:
            print(f"too late: {refused}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "embedding.db"))
