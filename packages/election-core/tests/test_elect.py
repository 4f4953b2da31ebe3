"""Who leads, and why: what holds for every group that may be decided about."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import assume, given
from hypothesis import strategies as st

from election_cases import NOW, a_runner, a_session, a_snapshot, a_taint, at, span
from election_core import (
    LEADERSHIP,
    Decide,
    Drain,
    Effect,
    OldestActive,
    Operator,
    Outcome,
    Pin,
    Policy,
    Rank,
    Reason,
    Runner,
    Settings,
    Snapshot,
    Toleration,
    elect,
    excluding,
    grace_until,
    leadership,
    plan,
    preferences,
    refresh_mark,
    refusals,
)
from election_testkit.strategies import policies, snapshots

# What is expected, written a second time in other words.


def term_is_live(snapshot: Snapshot) -> bool:
    """Whether the current term's lease runs."""
    term = snapshot.group.term
    return term is not None and any(
        runner.session is not None
        and runner.session.held_epoch == term.epoch
        and runner.session.term_expires_at is not None
        and runner.session.term_expires_at > snapshot.at
        for runner in snapshot.runners
    )


def leads_live(runner: Runner, snapshot: Snapshot) -> bool:
    """Whether this runner is the leader under a live lease."""
    term = snapshot.group.term
    return term is not None and term.runner_id == runner.id and term_is_live(snapshot)


def counting(runner: Runner, snapshot: Snapshot) -> list[Effect]:
    """The effects of the taints that count now."""
    return [
        taint.effect
        for taint in runner.taints
        if (taint.expires_at is None or taint.expires_at > snapshot.at)
        and not any(
            toleration.tolerates(taint) for toleration in snapshot.group.settings.tolerations
        )
    ]


def eligible(runner: Runner, snapshot: Snapshot, policy: OldestActive) -> bool:
    """Whether the runner may lead, or go on leading."""
    session = runner.session
    if session is None or session.lease_expires_at <= snapshot.at or not session.ready:
        return False
    if runner.drain is not None:
        return False
    effects = counting(runner, snapshot)
    if Effect.NO_LEAD in effects:
        return False
    if Effect.NO_ELECT in effects and not leads_live(runner, snapshot):
        return False
    return all(runner.labels.get(key) == want for key, want in policy.require_labels.items())


def healthy_since(runner: Runner, snapshot: Snapshot) -> datetime:
    """Since when nothing kept the runner from leading."""
    assert runner.session is not None
    expired = [
        taint.expires_at
        for taint in runner.taints
        if excluding(taint) and taint.expires_at is not None and taint.expires_at <= snapshot.at
    ]
    return max([runner.session.healthy_since, runner.steady_since, *expired])


def order(runner: Runner, snapshot: Snapshot, policy: OldestActive) -> dict[str, Any]:
    """The runner's value for each preference, by name, strongest first; lower is better."""
    incumbent = next(
        (r for r in snapshot.runners if leads_live(r, snapshot) and eligible(r, snapshot, policy)),
        None,
    )
    stable = healthy_since(runner, snapshot) + policy.stable_for <= snapshot.at
    pin = snapshot.group.pin
    pinned = pin is not None and pin.runner_id == runner.id
    if pin is not None and pin.expires_at is not None and pin.expires_at <= snapshot.at:
        pinned = False
    if pin is not None and pin.eligible_at is not None and incumbent not in (None, runner):
        again = healthy_since(runner, snapshot) > pin.eligible_at
        pinned = pinned and (stable or not again)
    unmoved = incumbent is None or runner is incumbent or (policy.preempt and stable)
    return {
        "pinned": not pinned or runner.id == snapshot.released,
        "not-released": runner.id == snapshot.released,
        "steady" if policy.preempt else "incumbent": not unmoved,
        "fewest-prefer-no-elect-taints": counting(runner, snapshot).count(Effect.PREFER_NO_ELECT),
        "preferred-labels": sum(
            runner.labels.get(key) != want for key, want in policy.prefer_labels.items()
        ),
        "oldest": runner.created_at,
        "id": runner.id,
    }


def best(snapshot: Snapshot, policy: OldestActive) -> Runner | None:
    """The eligible runner that comes first."""
    candidates = [r for r in snapshot.runners if eligible(r, snapshot, policy)]
    return min(candidates, key=lambda r: tuple(order(r, snapshot, policy).values()), default=None)


def who_acts(snapshot: Snapshot, policy: OldestActive) -> str | None:
    """The runner that the decision settles on: the winner, or the successor."""
    decision = elect(snapshot, policy)
    return decision.successor_runner_id or decision.leader_runner_id


# What holds of every decision.


@given(snapshot=snapshots(), policy=policies(), random=st.randoms(use_true_random=False))
def test_order_of_runners_changes_nothing(
    snapshot: Snapshot, policy: OldestActive, random: Any
) -> None:
    """Whatever order the rows come in, the decision is the same to the last reason."""
    shuffled = list(snapshot.runners)
    random.shuffle(shuffled)

    assert elect(evolve(snapshot, runners=tuple(shuffled)), policy) == elect(snapshot, policy)


@given(snapshot=snapshots(), policy=policies())
def test_a_decision_can_be_repeated(snapshot: Snapshot, policy: OldestActive) -> None:
    """The same group and policy give the same decision and ballot each time."""
    assert elect(snapshot, policy) == elect(snapshot, policy)
    assert elect(snapshot, policy).ballot == elect(snapshot, policy).ballot


@given(
    snapshot=st.one_of(snapshots(led=True, well=True), snapshots(led=True)),
    policy=policies(preempt=False, selective=False),
)
def test_an_eligible_leader_is_kept(snapshot: Snapshot, policy: OldestActive) -> None:
    """A live leader that may lead stays, unless a person has pinned another."""
    leader = snapshot.incumbent
    assert leader is not None
    assume(term_is_live(snapshot))
    assume(eligible(leader, snapshot, policy))
    pin = snapshot.group.pin
    assume(pin is None or pin.runner_id == leader.id)

    decision = elect(snapshot, policy)

    assert (decision.outcome, decision.leader_runner_id) == (Outcome.KEEP, leader.id)


@given(snapshot=snapshots(), policy=policies())
def test_eligibility_is_as_stated(snapshot: Snapshot, policy: OldestActive) -> None:
    """A runner is eligible exactly if it is live, ready, not drained, selected and not barred."""
    said = {verdict.runner_id: verdict.eligible for verdict in elect(snapshot, policy).ballot}

    assert said == {r.id: eligible(r, snapshot, policy) for r in snapshot.runners}


@given(snapshot=snapshots(), policy=policies())
def test_who_is_refused_is_told_why(snapshot: Snapshot, policy: OldestActive) -> None:
    """Whoever is not eligible has a reason, and whoever is has none."""
    for verdict in elect(snapshot, policy).ballot:
        assert verdict.eligible == (not verdict.reasons)


@given(snapshot=snapshots(), policy=policies())
def test_the_ballot_is_in_order_of_preference(snapshot: Snapshot, policy: OldestActive) -> None:
    """The ballot names every runner once, the eligible first and in the stated order."""
    expected = sorted(
        (r for r in snapshot.runners if eligible(r, snapshot, policy)),
        key=lambda r: tuple(order(r, snapshot, policy).values()),
    )

    ballot = elect(snapshot, policy).ballot

    assert [v.runner_id for v in ballot if v.eligible] == [r.id for r in expected]
    assert [v.eligible for v in ballot] == sorted((v.eligible for v in ballot), reverse=True)
    assert sorted(v.runner_id for v in ballot) == sorted(r.id for r in snapshot.runners)


@given(snapshot=snapshots(), policy=policies())
def test_the_outcome_follows_from_the_best(snapshot: Snapshot, policy: OldestActive) -> None:
    """A live leader stays or hands over, a silent one is spared in a grace, or the best wins."""
    decision = elect(snapshot, policy)
    winner = best(snapshot, policy)
    group, holder = snapshot.group, snapshot.incumbent
    barred = group.grant_not_before is not None and group.grant_not_before > snapshot.at
    told = (decision.outcome, decision.leader_runner_id, decision.successor_runner_id)

    if holder is not None and term_is_live(snapshot):
        if winner is holder:
            assert told == (Outcome.KEEP, holder.id, None)
        elif winner is None:
            assert told == (Outcome.VACATE, holder.id, None)
        else:
            assert told == (Outcome.HAND_OVER, holder.id, winner.id)
    elif holder is not None and spared(snapshot):
        assert told == (Outcome.KEEP, holder.id, None)
    elif winner is None or barred:
        assert told == (Outcome.VACATE, None, None)
    else:
        assert told == (Outcome.ELECT, winner.id, None)


def spared(snapshot: Snapshot) -> bool:
    """Whether nobody may be deposed for silence now."""
    handover = snapshot.group.handover
    if handover is not None and handover.deadline <= snapshot.at:
        return False
    mark = refresh_mark(snapshot.mark, snapshot.at, snapshot.mark.tick)
    holder = snapshot.incumbent
    assert holder is not None
    assert holder.session is not None
    ends = holder.session.lease_expires_at
    until = grace_until(mark, snapshot.group.settings.lease, lease_ends=ends)
    return until is not None and snapshot.at < until


@given(snapshot=snapshots(), policy=policies())
def test_only_stated_transitions_come_out(snapshot: Snapshot, policy: OldestActive) -> None:
    """No decision leads along a way that the table of leadership does not have."""
    assert (leadership(snapshot), elect(snapshot, policy).outcome) in LEADERSHIP


@given(snapshot=snapshots(least=1), policy=policies(selective=False))
def test_the_tainted_are_never_newly_elected(snapshot: Snapshot, policy: OldestActive) -> None:
    """Neither the elected nor a successor has a taint that counts and forbids it."""
    decision = elect(snapshot, policy)
    chosen = decision.successor_runner_id
    if decision.outcome is Outcome.ELECT:
        chosen = decision.leader_runner_id
    barred = {
        runner.id
        for runner in snapshot.runners
        if not set(counting(runner, snapshot)) <= {Effect.PREFER_NO_ELECT}
    }

    assert chosen not in barred


# The reason.


@frozen
class _Worse:
    """A value of a preference in the reverse order."""

    value: Any

    def __lt__(self, other: _Worse) -> bool:
        return bool(other.value < self.value)


@frozen
class _Reversed:
    """A policy with one of its preferences turned round."""

    policy: Policy
    name: str

    @property
    def preferences(self) -> tuple[str, ...]:
        return self.policy.preferences

    @property
    def stable_for(self) -> timedelta:
        return self.policy.stable_for

    def refusals(self, runner: Runner, snapshot: Snapshot) -> tuple[Reason, ...]:
        return self.policy.refusals(runner, snapshot)

    def rank(self, runner: Runner, snapshot: Snapshot, incumbent: Runner | None) -> Rank:
        values = self.policy.rank(runner, snapshot, incumbent)
        return tuple(
            _Worse(value) if name == self.name else value
            for name, value in zip(self.preferences, values, strict=True)
        )

    def settles_at(self, runner: Runner, snapshot: Snapshot) -> datetime | None:
        return self.policy.settles_at(runner, snapshot)


def decided_by_order(snapshot: Snapshot, policy: OldestActive) -> list[str]:
    """The eligible in order, if the decision has a reason that is a preference."""
    decision = elect(snapshot, policy)
    assume(decision.outcome in (Outcome.KEEP, Outcome.ELECT))
    assume(decision.reason != "grace")
    ranked = [verdict.runner_id for verdict in decision.ballot if verdict.eligible]
    assert ranked[0] == decision.leader_runner_id
    return ranked


@given(snapshot=snapshots(least=2, well=True), policy=policies(selective=False))
def test_the_reason_is_the_first_difference(snapshot: Snapshot, policy: OldestActive) -> None:
    """Winner and runner-up are alike in all before the reason; there the winner is better."""
    ranked = decided_by_order(snapshot, policy)
    reason = elect(snapshot, policy).reason
    if len(ranked) == 1:
        assert reason == "only-eligible"
        return
    mine, theirs = (
        order(runner, snapshot, policy)
        for runner_id in ranked[:2]
        if (runner := snapshot.runner(runner_id)) is not None
    )

    assert list(mine) == list(preferences(policy))
    for name in preferences(policy):
        if name == reason:
            break
        assert mine[name] == theirs[name]
    assert mine[reason] < theirs[reason]


@given(snapshot=snapshots(least=2, well=True), policy=policies(selective=False))
def test_turning_the_reason_round_turns_the_order(snapshot: Snapshot, policy: OldestActive) -> None:
    """Were the named preference the other way round, the runner-up would stand first."""
    ranked = decided_by_order(snapshot, policy)
    reason = elect(snapshot, policy).reason
    assume(reason in policy.preferences)

    turned = elect(snapshot, _Reversed(policy, reason)).ballot

    places = [verdict.runner_id for verdict in turned]
    assert places.index(ranked[1]) < places.index(ranked[0])


@given(
    snapshot=snapshots(least=2, led=False, pinned=True, well=True),
    policy=policies(selective=False),
)
def test_without_the_pin_there_is_another_reason(snapshot: Snapshot, policy: OldestActive) -> None:
    """Where the pin decided, taking it away changes the winner or at least the reason."""
    decision = elect(snapshot, policy)
    assume(decision.reason == "pinned")

    without = elect(evolve(snapshot, group=evolve(snapshot.group, pin=None)), policy)

    assert (without.leader_runner_id, without.reason) != (decision.leader_runner_id, "pinned")
    assert without.reason != "pinned"


def test_of_two_born_together_the_lower_id_leads() -> None:
    """The id decides between runners that are alike in everything else."""
    decision = elect(a_snapshot(a_runner("b"), a_runner("a")), OldestActive())

    assert (decision.leader_runner_id, decision.reason) == ("a", "id")


def test_a_tainted_last_resort_leads_when_alone() -> None:
    """`prefer-no-elect` puts a runner last, not out."""
    last = a_runner("a", born=-9000, taints=(a_taint(Effect.PREFER_NO_ELECT),))
    other = a_runner("b")

    both = elect(a_snapshot(last, other), OldestActive())
    alone = elect(a_snapshot(last), OldestActive())

    assert (both.leader_runner_id, both.reason) == ("b", "fewest-prefer-no-elect-taints")
    assert alone.leader_runner_id == "a"


@pytest.mark.parametrize("why", ["expired", "tolerated"])
def test_a_taint_that_does_not_count_is_no_last_resort(why: str) -> None:
    """`prefer-no-elect` puts a runner last only while it counts in the group."""
    taint = a_taint(Effect.PREFER_NO_ELECT, until=0 if why == "expired" else None)
    tolerations = (
        (Toleration(key="manual", operator=Operator.EXISTS),) if why == "tolerated" else ()
    )
    old = a_runner("old", born=-9000, taints=(taint,))
    snapshot = a_snapshot(old, a_runner("young"), settings=Settings(tolerations=tolerations))

    assert elect(snapshot, OldestActive()).leader_runner_id == "old"


def test_preferred_labels_come_before_age() -> None:
    """A younger runner with the labels that the policy prefers is elected before an older one."""
    old, big = a_runner("old", born=-9000), a_runner("big", labels={"size": "2"})

    decision = elect(a_snapshot(old, big), OldestActive(prefer_labels={"size": "2"}))

    assert (decision.leader_runner_id, decision.reason) == ("big", "preferred-labels")


def test_a_required_label_selects() -> None:
    """A runner without a label that the policy requires is told which one it lacks."""
    small = a_runner("small", born=-9000, labels={"size": "1"})
    big = a_runner("big", labels={"size": "2"})

    decision = elect(a_snapshot(small, big), OldestActive(require_labels={"size": "2"}))

    assert decision.leader_runner_id == "big"
    assert decision.ballot[1].reasons == (Reason("not-selected", "label 'size' is not '2'"),)


@pytest.mark.parametrize(
    ("runner", "code"),
    [
        (a_runner("a", offline=True), "pending"),
        (evolve(a_runner("a", offline=True), opened=1), "no-session"),
        (a_runner("a", session=a_session("a", left=0)), "offline"),
        (a_runner("a", session=a_session("a", ready=False)), "not-ready"),
        (a_runner("a", drain=Drain(at=NOW, reason="new disk")), "draining"),
        (a_runner("a", taints=(a_taint(),)), "tainted"),
        (a_runner("a", taints=(a_taint(Effect.NO_ELECT),)), "tainted"),
    ],
    ids=["pending", "no-session", "offline", "not-ready", "draining", "no-lead", "no-elect"],
)
def test_each_refusal_has_its_code(runner: Runner, code: str) -> None:
    """A program can tell from the code what keeps a runner from leading."""
    found = refusals(runner, a_snapshot(runner), OldestActive())

    assert [reason.code for reason in found] == [code]


def test_a_taint_says_whose_it_is_and_why() -> None:
    """A person reads from the refusal who tainted the runner, with which effect, and the reason."""
    taint = evolve(a_taint(), owner="ann", reason="lunch")
    runner = a_runner("a", taints=(taint,))

    (reason,) = refusals(runner, a_snapshot(runner), OldestActive())

    assert reason.detail == "manual (no-lead) by ann: lunch"


def test_a_no_elect_leader_stays() -> None:
    """`no-elect` does not depose: the leader it is put on goes on leading."""
    leader = a_runner("a", taints=(a_taint(Effect.NO_ELECT),))

    decision = elect(a_snapshot(leader, a_runner("b"), leader="a"), OldestActive())

    assert (decision.outcome, decision.leader_runner_id) == (Outcome.KEEP, "a")


def test_a_no_elect_leader_is_not_elected_again() -> None:
    """Once its lease is over, a `no-elect` leader does not come back, alone or not."""
    leader = a_runner(
        "a",
        taints=(a_taint(Effect.NO_ELECT),),
        session=a_session("a", left=5, epoch=7, term_left=0),
    )

    decision = elect(a_snapshot(leader, leader="a"), OldestActive())

    assert (decision.outcome, decision.reason) == (Outcome.VACATE, "no-eligible-runner")


def test_nothing_is_granted_before_the_barrier() -> None:
    """Until the barrier a vacant group stays vacant, and is looked at again when it falls."""
    decision = elect(a_snapshot(a_runner("a"), barrier=3), OldestActive())

    assert (decision.outcome, decision.reason) == (Outcome.VACATE, "barrier")
    assert decision.look_again_at == at(3)


def test_the_barrier_falls_sharp() -> None:
    """At the very time of the barrier a grant is made."""
    assert elect(a_snapshot(a_runner("a"), barrier=0), OldestActive()).outcome is Outcome.ELECT


# Until when it holds.


@given(
    snapshot=snapshots(),
    policy=policies(),
    later=st.integers(0, 100).map(lambda tenths: span(tenths / 2)),
)
def test_a_decision_holds_until_it_is_looked_at_again(
    snapshot: Snapshot, policy: OldestActive, later: timedelta
) -> None:
    """As long as who lives renews, time alone changes nothing before `look_again_at`."""
    settled = plan(snapshot, Decide(), policy).after
    again = settled.group.look_again_at
    then = snapshot.at + later
    assume(again is None or then < again)

    now, future = elect(settled, policy), elect(_renewed(settled, then), policy)

    assert (future.outcome, future.leader_runner_id, future.successor_runner_id) == (
        now.outcome,
        now.leader_runner_id,
        now.successor_runner_id,
    )
    assert (future.reason, future.cause, future.deadline) == (now.reason, now.cause, now.deadline)
    assert _codes(future.ballot) == _codes(now.ballot)


def _codes(ballot: tuple[Any, ...]) -> list[tuple[str, list[str]]]:
    return [(v.runner_id, [reason.code for reason in v.reasons]) for v in ballot]


def _renewed(snapshot: Snapshot, then: datetime) -> Snapshot:
    """The group at another time, with all that is live now still live, and a mark that is fresh."""
    far = then + span(3600)
    members = []
    for runner in snapshot.runners:
        session = runner.session
        if session is not None and session.lease_expires_at > snapshot.at:
            session = evolve(session, lease_expires_at=far)
        if session is not None and session.term_expires_at is not None:
            live = session.term_expires_at > snapshot.at
            ends = far if live else session.term_expires_at
            session = evolve(session, term_expires_at=ends)
        members.append(evolve(runner, session=session))
    stale = snapshot.mark.gap(snapshot.at)
    mark = snapshot.mark if stale else evolve(snapshot.mark, at=then)
    return evolve(snapshot, at=then, runners=tuple(members), mark=mark)


@given(snapshot=snapshots(), policy=policies())
def test_a_look_lies_ahead(snapshot: Snapshot, policy: OldestActive) -> None:
    """`look_again_at` is never now or past, so that no group is decided in a circle."""
    again = elect(snapshot, policy).look_again_at

    assert again is None or again > snapshot.at


@given(snapshot=snapshots(led=True), policy=policies())
def test_whoever_is_spared_is_looked_at_again(snapshot: Snapshot, policy: OldestActive) -> None:
    """A silent leader that a grace spares is decided about again, whatever else happens."""
    decision = elect(snapshot, policy)
    if decision.reason != "grace":
        return

    assert decision.look_again_at is not None
    assert decision.look_again_at <= snapshot.at + 4 * max(snapshot.group.settings.lease, span(60))


def test_a_silent_successor_is_noticed() -> None:
    """In a handover the group is looked at again when the successor's lease is over."""
    leader = a_runner("a", taints=(a_taint(),))
    snapshot = a_snapshot(leader, a_runner("b", session=a_session("b", left=4)), leader="a")

    assert elect(snapshot, OldestActive()).look_again_at == at(4)


def test_a_pin_that_ends_is_noticed() -> None:
    """The group is looked at again when its pin expires."""
    pin = Pin(runner_id="b", created_at=at(-1), expires_at=at(9))

    assert elect(a_snapshot(a_runner("a"), pin=pin), OldestActive()).look_again_at == at(9)


def test_a_handovers_deadline_is_looked_at() -> None:
    """The group is looked at again when the leader's time to step down is over."""
    leader = a_runner("a", taints=(a_taint(),), session=a_session("a", left=900))
    successor = a_runner("b", session=a_session("b", left=900))

    decision = elect(a_snapshot(leader, successor, leader="a"), OldestActive())

    assert decision.look_again_at == decision.deadline == at(60)
