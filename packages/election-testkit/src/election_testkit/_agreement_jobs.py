"""The rules of the agreement machine about jobs, tokens and everything that is only read."""

from __future__ import annotations

from datetime import timedelta
from itertools import cycle

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from election_core import (
    JobOutcome,
    JobSpec,
    JobState,
    Settlement,
    Token,
    TokenKind,
)
from election_core.ports import Settle, StoredToken
from election_testkit._asking import Asking, pages_of, settled
from election_testkit._clock import START

_GROUPS = st.sampled_from(["g", "h"])
_RUNNERS = st.sampled_from(["g-a", "g-b", "g-c", "h-a", "h-b"])
_NUMBERS = st.integers(0, 50)
_OUTCOMES = st.sampled_from(JobOutcome)


class JobRules(Asking):
    """Jobs, tokens, pages and counts."""

    @rule(
        group_id=_GROUPS,
        runner_id=st.none() | _RUNNERS,
        priority=st.integers(0, 2),
        key=st.sampled_from([None, None, "once"]),
        attempts=st.sampled_from([None, 0, 1, 2]),
    )
    def enqueue(
        self,
        group_id: str,
        runner_id: str | None,
        priority: int,
        key: str | None,
        attempts: int | None,
    ) -> None:
        """Enqueue a job, addressed or not, under a key or not."""
        spec = JobSpec(
            kind="work",
            payload={"n": priority},
            priority=priority,
            max_attempts=attempts,
            runner_id=runner_id,
        )
        job_id = f"job-{self.number()}"
        if self.ask(
            lambda store: store.enqueue(group_id, spec, job_id=job_id, idempotency_key=key)
        ):
            self.jobs.append(job_id)

    @precondition(lambda self: self.sessions)
    @rule(index=_NUMBERS, off=st.sampled_from([None, 0, 0, 1]), limit=st.integers(1, 3))
    def claim(self, index: int, off: int | None, limit: int) -> None:
        """Claim jobs with any session, under the current epoch, another or none."""
        runner_id, session_id = self.sessions[-1 - index % min(4, len(self.sessions))]
        snapshot = self.load(runner_id[0])
        epoch = None if off is None or snapshot is None else snapshot.group.epoch - off
        self.claim_as(runner_id, session_id, epoch, limit)

    @rule(
        group_id=_GROUPS,
        limit=st.integers(1, 3),
        jobs=st.integers(1, 3),
        mine=st.booleans(),
        outcomes=st.lists(_OUTCOMES, max_size=3),
        retry=st.booleans(),
    )
    def lead(
        self,
        group_id: str,
        limit: int,
        jobs: int,
        mine: bool,
        outcomes: list[JobOutcome],
        retry: bool,
    ) -> None:
        """Claim jobs of the group, and addressed ones, as the leader; settle some at once."""
        snapshot = self.load(group_id)
        if snapshot is None or snapshot.group.term is None:
            return
        term = snapshot.group.term
        for _ in range(jobs):
            self.enqueue(group_id, term.runner_id if mine else None, 1, None, None)
        self.claim_as(term.runner_id, term.session_id, term.epoch, limit)
        if outcomes and self.held:
            self.settle(0, outcomes, retry, forget=False, astray=False)

    def claim_as(self, runner_id: str, session_id: str, epoch: int | None, limit: int) -> None:
        """Claim jobs, and the same again."""
        claim_id = f"claim-{self.number()}"
        claimed = self.ask(
            lambda store: store.claim(
                runner_id,
                session_id,
                claim_id=claim_id,
                epoch=epoch,
                limit=limit,
                tokens=[f"{claim_id}-{place}" for place in range(limit)],
            )
        )
        for item in claimed.items if claimed is not None else ():
            self.held.append((item.job.id, item.claim_token))
        if claimed is not None and claimed.items:
            again = self.ask(
                lambda store: store.claim(
                    runner_id,
                    session_id,
                    claim_id=claim_id,
                    epoch=epoch,
                    limit=limit,
                    tokens=["never"] * limit,
                )
            )
            assert again == claimed

    @precondition(lambda self: self.held)
    @rule(
        index=_NUMBERS,
        outcomes=st.lists(_OUTCOMES, min_size=1, max_size=3),
        retry=st.booleans(),
        forget=st.booleans(),
        astray=st.booleans(),
    )
    def settle(
        self, index: int, outcomes: list[JobOutcome], retry: bool, forget: bool, astray: bool
    ) -> None:
        """Settle claims together: late ones, such as were settled before, one that never was."""
        chosen = {"never": "never"} if astray else {}
        for place in range(len(outcomes)):
            job_id, token = self.held[-1 - (index + place) % len(self.held)]
            chosen.setdefault(job_id, token)
        if forget:
            self.held = [claim for claim in self.held if claim not in chosen.items()]
        settles = [
            Settle(
                job_id=job_id,
                token=token,
                settlement=Settlement(
                    outcome=outcome, result=[1, None], error="broken", retry=retry
                ),
            )
            for (job_id, token), outcome in zip(chosen.items(), cycle(outcomes), strict=False)
        ]
        self.ask(lambda store: settled(store, settles))
        for job_id in chosen:
            self.ask(lambda store, job_id=job_id: store.job(job_id))  # type: ignore[misc]

    @precondition(lambda self: self.jobs)
    @rule(index=_NUMBERS)
    def cancel(self, index: int) -> None:
        """Cancel a job."""
        job_id = self.jobs[-1 - index % len(self.jobs)]
        self.ask(lambda store: store.cancel(job_id))

    @rule(kind=st.sampled_from(TokenKind), group_id=st.none() | _GROUPS, runner_id=_RUNNERS)
    def add_token(self, kind: TokenKind, group_id: str | None, runner_id: str) -> None:
        """Keep a token, and find it."""
        digest = str(self.number()).encode() * 8
        token = Token(
            id=f"token-{self.number()}",
            kind=kind,
            group_id=group_id,
            runner_id=runner_id if kind is TokenKind.RUNNER else None,
            created_at=START,
        )
        stored = StoredToken(token=token, digest=digest)
        self.ask(lambda store: store.add_token(stored, ttl=timedelta(seconds=5)))
        self.ask(lambda store: store.find_token(digest))

    @rule()
    def prune(self) -> None:
        """Prune all that is old enough; how many rows that are is each store's own business."""
        for store in (self.memory, self.store):
            while self.loop.run(store.prune()):
                pass

    @rule(group_id=_GROUPS, limit=st.integers(1, 4), after=st.none() | _NUMBERS)
    def look_at_everything(self, group_id: str, limit: int, after: int | None) -> None:
        """Read every page there is, and every count."""
        self.ask(lambda store: pages_of(lambda cursor: store.groups(cursor=cursor, limit=limit)))
        self.ask(
            lambda store: pages_of(
                lambda cursor: store.runners(group_id, cursor=cursor, limit=limit)
            )
        )
        for state in (None, *JobState):
            self.ask(
                lambda store, state=state: pages_of(  # type: ignore[misc]
                    lambda cursor: store.jobs(group_id, state=state, cursor=cursor, limit=limit)
                )
            )
        self.ask(lambda store: pages_of(lambda cursor: store.tokens(cursor=cursor, limit=limit)))
        self.ask(lambda store: store.events(group_id, after=after, limit=limit * 5))
        self.ask(lambda store: store.events(None, after=after, limit=limit * 5))
        self.ask(lambda store: store.census())
        self.ask(lambda store: store.job_counts())
        for runner_id in ("g-a", "h-a"):
            self.ask(lambda store, id_=runner_id: store.find_runner(id_))  # type: ignore[misc]
