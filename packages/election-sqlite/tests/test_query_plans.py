"""The plans of the statements that run often."""

from __future__ import annotations

import pytest

from election_sqlite import SqliteStore, _claims, _due, _jobs, _prune, _renewals


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (_claims._ALLOWED, ("r", "s", 1, 0, "c")),
        (_claims._CANDIDATES, (True, "a", 0, 1)),
        (_claims._NEXT, (True, "a")),
        (_claims._CLAIM, ("r", "s", 1, 0, "c", "t", 1)),
        (_claims._JOBS, ("[]",)),
        (_claims._KEPT, ("s", "c")),
        (_jobs._SUCCEED, (0, "null", "j", "t")),
        (_jobs._JOBS, ("[]",)),
        (_renewals._HOLDERS, ("[]", 0)),
        (_renewals._CANCELLED, ("[]",)),
        (_renewals._ENDED, ("r", "s", "k")),
        (_due._DUE, (0, 1)),
        (_due._NEXT, (0,)),
        (_prune._EVENTS, (0, 1)),
        (_prune._JOBS, (0, 1)),
        (_prune._SESSIONS, (0, 1)),
        (_prune._CLAIMS, (0, 1)),
        (_prune._TOKENS, (0, 1)),
    ],
)
async def test_frequent_statements_use_indexes(
    store: SqliteStore, statement: str, values: tuple[object, ...]
) -> None:
    """What runs at every renewal, claim and tick reads no table as a whole, nor sorts one."""
    plan = await store._reader.run(
        lambda t: t.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    )
    steps = [row[3] for row in plan]
    # Pruning goes through the groups, which are few, and each one's rows by index.
    whole = [
        step
        for step in steps
        if step.startswith("SCAN")
        and "VIRTUAL TABLE" not in step
        and not step.startswith(("SCAN g", "SCAN (", "SCAN CONSTANT"))
        and "USING" not in step
        and "subquery" not in step.lower()
    ]
    assert whole == []
