"""What each command does to a group, and that repeating it does nothing more."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from election_cases import a_runner, a_session, a_snapshot, a_taint, at, span
from election_core import (
    Command,
    Configure,
    ConflictError,
    Decide,
    DeleteGroup,
    DeleteRunner,
    DrainRunner,
    Effect,
    ElectionError,
    Kind,
    Leave,
    Live,
    LoseRunner,
    Mark,
    NewTaint,
    NotEligible,
    NotFound,
    OldestActive,
    OpenSession,
    Outage,
    Outcome,
    OwnedByOther,
    PinLeader,
    RegisterRunner,
    Reincarnate,
    Release,
    SessionEnded,
    Settings,
    Snapshot,
    TaintRunner,
    Toleration,
    Undrain,
    Unpin,
    Untaint,
    plan,
    what_if,
)
from election_testkit.strategies import commands, policies, settings, snapshots
from election_world import World


def asked(snapshot: Snapshot) -> st.SearchStrategy[Command]:
    """Any command but one whose time to live makes it another command each time."""
    return commands(snapshot).filter(
        lambda command: (
            not isinstance(command, TaintRunner | PinLeader)
            or (command.ttl if isinstance(command, PinLeader) else command.taint.ttl) is None
        )
    )


@given(data=st.data(), snapshot=snapshots(), policy=policies())
def test_a_repeated_command_changes_nothing(
    data: st.DataObject, snapshot: Snapshot, policy: OldestActive
) -> None:
    """What has been done is not done again: no event, no new epoch, no session ended (I8)."""
    command = data.draw(asked(evolve(snapshot, released=None)))
    try:
        once = plan(evolve(snapshot, released=None), command, policy)
    except ElectionError:
        return
    try:
        twice = plan(evolve(once.after, released=None), command, policy)
    except (NotFound, NotEligible, SessionEnded):
        return  # it is gone, or what it asked for is under way

    # A release puts its runner last in the decision that follows, and in that one alone.
    if not (isinstance(command, Release | Leave) and once.changed):
        assert not twice.changed
    assert twice.changes.ended_sessions == ()


@given(data=st.data(), snapshot=snapshots(), policy=policies())
def test_planning_is_deterministic(
    data: st.DataObject, snapshot: Snapshot, policy: OldestActive
) -> None:
    """The same group and command give the same changes each time (I6)."""
    command = data.draw(commands(snapshot))
    try:
        first = plan(snapshot, command, policy)
    except ElectionError as error:
        with pytest.raises(type(error)):
            plan(snapshot, command, policy)
        return

    assert plan(snapshot, command, policy) == first


@given(data=st.data(), snapshot=snapshots(), policy=policies())
def test_what_if_equals_doing_it(
    data: st.DataObject, snapshot: Snapshot, policy: OldestActive
) -> None:
    """The decision that what-if foretells is the one that comes out, ballot included."""
    command = data.draw(commands(snapshot))
    try:
        foretold = what_if(snapshot, [command], policy)
    except ElectionError as error:
        with pytest.raises(type(error)):
            plan(snapshot, command, policy)
        return

    assert plan(snapshot, command, policy).decision == foretold


@given(data=st.data(), snapshot=snapshots(), policy=policies())
def test_epochs_never_fall(data: st.DataObject, snapshot: Snapshot, policy: OldestActive) -> None:
    """No command lowers the epoch, and a new term has a higher one (I2)."""
    try:
        planned = plan(snapshot, data.draw(commands(snapshot)), policy)
    except ElectionError:
        return
    before, after = snapshot.group, planned.after.group

    assert after.epoch >= before.epoch
    if after.term is not None and after.term != before.term:
        assert after.term.epoch == after.epoch > before.epoch


@given(data=st.data(), snapshot=snapshots(), policy=policies())
def test_ended_terms_are_recorded(
    data: st.DataObject, snapshot: Snapshot, policy: OldestActive
) -> None:
    """A term that is there before and not after is among those whose claims end, and no other."""
    try:
        planned = plan(snapshot, data.draw(commands(snapshot)), policy)
    except ElectionError:
        return
    old, new = snapshot.group.term, planned.after.group.term
    gone = [] if old is None or old == new else [old.epoch]

    assert [ended.epoch for ended in planned.changes.ended_terms] == gone


@given(data=st.data(), snapshot=snapshots(), policy=policies())
def test_changes_tell_who_is_roused(
    data: st.DataObject, snapshot: Snapshot, policy: OldestActive
) -> None:
    """A session whose role, epoch or step-down changed is named, and its version rises by one."""
    try:
        planned = plan(snapshot, data.draw(commands(snapshot)), policy)
    except ElectionError:
        return
    for runner in planned.after.runners:
        old = snapshot.runner(runner.id)
        if old is None or old.session is None or runner.session is None:
            continue
        if old.session.id != runner.session.id:
            continue
        moved = (old.session.held_epoch, old.session.step_down_at) != (
            runner.session.held_epoch,
            runner.session.step_down_at,
        )
        risen = runner.session.standing_version - old.session.standing_version
        if moved:
            assert risen == 1
        assert (runner.id in planned.changes.roused) == (risen == 1)


# Registration.


def test_registration_is_by_name() -> None:
    """The same name again is the same runner; labels and version follow the latest call."""
    world = World()
    world.do(RegisterRunner(runner_id="r1", name="a", version="1", labels={"zone": "1"}))

    world.do(RegisterRunner(runner_id="r2", name="a", version="2"))

    (runner,) = world.snapshot.runners
    assert (runner.id, runner.version, runner.labels) == ("r1", "2", {"zone": "1"})
    assert world.kinds == ["group-created", "runner-registered", "runner-updated"]


def test_registration_does_not_touch_taints() -> None:
    """Taints come with a new runner only, one of each key and owner."""
    world = World()
    world.do(RegisterRunner(runner_id="r1", name="a", taints=(NewTaint(), NewTaint(value="later"))))

    world.do(RegisterRunner(runner_id="r1", name="a", taints=(NewTaint(key="gpu"),)))

    assert [(taint.key, taint.value) for taint in world.runner("r1").taints] == [
        ("manual", "later")
    ]


@pytest.mark.parametrize("brought", [None, "other"], ids=["nothing", "another"])
@pytest.mark.parametrize("kept", [None, "own"], ids=["none-kept", "one-kept"])
def test_joining_needs_the_runners_own_key(kept: str | None, brought: str | None) -> None:
    """Who joins is given an existing runner only for the instance key that it registered with."""
    world = World()
    world.do(RegisterRunner(runner_id="r1", name="a", instance_key_hash=kept))

    with pytest.raises(ConflictError):
        world.do(RegisterRunner(runner_id="r2", name="a", instance_key_hash=brought, joining=True))


def test_joining_with_the_right_key_finds_the_runner() -> None:
    """The instance that registered a runner gets it back, and its key stays the one it was."""
    world = World()
    world.do(RegisterRunner(runner_id="r1", name="a", instance_key_hash="own", joining=True))

    world.do(
        RegisterRunner(
            runner_id="r2", name="a", instance_key_hash="own", joining=True, platform="linux"
        )
    )

    assert (world.runner("r1").platform, world.runner("r1").instance_key_hash) == ("linux", "own")


def test_an_operator_may_replace_the_instance_key() -> None:
    """With an operator's token a runner is given to a new instance."""
    world = World()
    world.do(RegisterRunner(runner_id="r1", name="a", instance_key_hash="old"))

    world.do(RegisterRunner(runner_id="r2", name="a", instance_key_hash="new"))

    assert world.runner("r1").instance_key_hash == "new"


def test_deleting_a_leader_waits_for_its_lease() -> None:
    """A deleted leader's process may go on believing, so its lease is waited out."""
    world = World()
    first, second = world.join(), world.join()
    ends = world.session(first).lease_expires_at

    world.do(DeleteRunner(runner_id=first))

    assert world.term is None
    assert world.snapshot.group.grant_not_before == ends
    world.live(20, [second])
    term = world.term
    assert term is not None
    assert (term.runner_id, term.kind) == (second, Kind.DELETED)


def test_deleting_a_pinned_runner_ends_the_pin() -> None:
    """A pin never names a runner that is not there."""
    world = World()
    first = world.join()
    world.do(PinLeader(runner_id=first))

    world.do(DeleteRunner(runner_id=first))

    assert world.snapshot.group.pin is None


# Sessions.


def test_a_restart_waits_for_the_old_lease() -> None:
    """A new process does not know whether the old one still works, so the group waits (I4)."""
    world = World()
    runner = world.join()
    ends = world.session(runner).lease_expires_at
    world.wait(5)

    world.open(runner)

    assert world.leader is None
    assert world.snapshot.group.grant_not_before == ends


def test_a_restart_that_names_its_predecessor_leads_at_once() -> None:
    """A process that has proven its predecessor gone leads under a new epoch without a wait."""
    world = World()
    runner = world.join()

    world.open(runner, previous_session_id=world.session(runner).id)

    term = world.term
    assert term is not None
    assert (world.leader, term.epoch, term.kind) == (runner, 2, Kind.RESTART)


def test_another_previous_session_is_ignored() -> None:
    """Naming a session that is not the current one asserts nothing about it."""
    world = World()
    runner = world.join()

    world.open(runner, previous_session_id="session-of-old")

    assert world.leader is None


def test_the_same_key_is_the_same_session() -> None:
    """Opening again with the key whose answer was lost supersedes nothing."""
    world = World()
    runner = world.register()
    command = OpenSession(runner_id=runner, session_id="s1", session_key="k")
    world.do(command)

    again = world.do(evolve(command, session_id="s2"))

    assert not again.changed
    assert world.session(runner).id == "s1"


def test_opening_tells_the_version() -> None:
    """The version of the program that opened the session is the runner's."""
    world = World()
    runner = world.register(version="1")
    world.open(runner)
    world.open(runner, version="2")

    assert world.runner(runner).version == "2"


def test_releasing_hands_on_at_once() -> None:
    """Leadership that its own session gives up is granted to the next without any wait."""
    world = World()
    first, second = world.join(), world.join()

    world.release(first)

    term = world.term
    assert term is not None
    assert (world.leader, term.epoch, term.kind) == (second, 2, Kind.RELEASE)


def test_a_released_runner_stands_last() -> None:
    """Who gives leadership up leads again only if there is nobody else."""
    world = World()
    first = world.join()

    world.release(first)

    term = world.term
    assert term is not None
    assert (world.leader, term.epoch, term.reason) == (first, 2, "only-eligible")


def test_a_release_is_for_one_epoch() -> None:
    """An old resignation does not end a newer term of the same runner (bug 8)."""
    world = World()
    runner = world.join()
    session = world.session(runner)
    old = Release(runner_id=runner, session_id=session.id, epoch=1)
    world.do(old)
    assert world.epoch == 2

    assert not world.do(old).changed
    assert world.leader == runner


def test_leaving_gives_up_first() -> None:
    """A session that leaves takes its term with it, and the next leads at once."""
    world = World()
    first, second = world.join(), world.join()

    world.leave(first)

    assert world.runner(first).session is None
    assert world.leader == second


def test_only_the_current_session_may_leave() -> None:
    """A session that was superseded cannot end its successor (bug 27)."""
    world = World()
    runner = world.join()
    old = world.session(runner).id
    world.open(runner)

    with pytest.raises(SessionEnded):
        world.do(Leave(runner_id=runner, session_id=old))


# Taints.


def test_a_taint_is_replaced_by_its_owner() -> None:
    """A runner has one taint of each key and owner, the latest."""
    world = World()
    runner = world.join()
    for owner, value in [("ann", "1"), ("bob", "2"), ("ann", "3")]:
        taint = NewTaint(owner=owner, value=value, effect=Effect.PREFER_NO_ELECT)
        world.do(TaintRunner(runner_id=runner, taint=taint))

    found = {(taint.owner, taint.value) for taint in world.runner(runner).taints}
    assert found == {("ann", "3"), ("bob", "2")}


def test_a_taint_ends_sharp() -> None:
    """At the very time at which it expires a taint does not count, and history says so."""
    world = World()
    runner = world.register()
    world.do(TaintRunner(runner_id=runner, taint=NewTaint(ttl=span(5))))
    world.open(runner)
    world.wait(4.999)
    world.elector()
    assert world.leader is None

    world.wait(0.001)
    world.elector()

    assert world.leader == runner
    assert "taint-expired" in world.kinds


@pytest.mark.parametrize(
    ("command", "left"),
    [
        (Untaint(runner_id="r"), {"ann", "bob"}),
        (Untaint(runner_id="r", owner="ann"), {"bob"}),
        (Untaint(runner_id="r", key="manual", owner="ann"), {"bob", ""}),
        (Untaint(runner_id="r", key="gpu"), {"ann", "bob"}),
        (Untaint(runner_id="r", force=True), set()),
        (Untaint(runner_id="r", key="none"), {"ann", "bob", ""}),
    ],
    ids=["unowned", "own-and-unowned", "one-key", "unowned-key", "force", "unknown-key"],
)
def test_untainting_leaves_what_others_hold(command: Untaint, left: set[str]) -> None:
    """Without force only one's own taints and those of nobody go."""
    world = World()
    world.do(
        RegisterRunner(
            runner_id="r",
            name="r",
            taints=(
                NewTaint(owner="ann"),
                NewTaint(key="laptop", owner="bob"),
                NewTaint(key="gpu"),
            ),
        )
    )

    world.do(command)

    assert {taint.owner for taint in world.runner("r").taints} == left


def test_anothers_key_is_refused_by_name() -> None:
    """A key that others alone hold is refused, and the refusal names them."""
    world = World()
    world.do(RegisterRunner(runner_id="r", name="r", taints=(NewTaint(owner="ann"),)))

    with pytest.raises(OwnedByOther) as caught:
        world.do(Untaint(runner_id="r", key="manual", owner="bob"))

    assert caught.value.facts["owner"] == "ann"


def test_a_tolerated_taint_does_not_count() -> None:
    """A group that tolerates a taint elects its bearer."""
    world = World(Settings(tolerations=(Toleration(key="gpu"),)))
    world.do(RegisterRunner(runner_id="r", name="r", taints=(NewTaint(key="gpu"),)))

    world.open("r")

    assert world.leader == "r"


def test_a_weaker_taint_restarts_steadiness() -> None:
    """A runner that a taint barred has to be steady anew once a weaker taint replaces it."""
    world = World()
    runner = world.join()
    world.do(TaintRunner(runner_id=runner, taint=NewTaint(effect=Effect.NO_ELECT)))
    world.wait(5)

    world.do(TaintRunner(runner_id=runner, taint=NewTaint(effect=Effect.PREFER_NO_ELECT)))

    assert world.runner(runner).steady_since == world.now


def test_lifting_a_mild_taint_does_not_restart_steadiness() -> None:
    """A taint that did not bar its runner leaves it as steady as it was."""
    world = World()
    runner = world.join()
    before = world.runner(runner).steady_since
    world.do(TaintRunner(runner_id=runner, taint=NewTaint(effect=Effect.PREFER_NO_ELECT)))
    world.wait(5)

    world.do(Untaint(runner_id=runner))

    assert world.runner(runner).steady_since == before


# Groups.


def test_a_group_with_live_sessions_is_not_deleted() -> None:
    """Deleting a group under live runners has to be forced."""
    world = World()
    world.join()

    with pytest.raises(ConflictError):
        world.do(DeleteGroup())


def test_a_group_whose_runners_are_silent_can_be_deleted() -> None:
    """Sessions that lapsed do not stand in the way."""
    world = World()
    world.join()
    world.wait(16)

    world.do(DeleteGroup())

    assert world.snapshot.group.deleted_at == world.now
    assert world.snapshot.runners == ()


def test_a_recreated_group_goes_on_from_its_epoch() -> None:
    """A group of the same id keeps the last epoch and the barrier (bugs 23 and 41)."""
    world = World()
    world.join()
    ends = world.session(world.snapshot.runners[0].id).lease_expires_at

    world.do(DeleteGroup(force=True))
    world.create(Settings())
    runner = world.join()

    assert (world.leader, world.snapshot.group.grant_not_before) == (None, ends)
    world.live(20, [runner])
    assert (world.leader, world.epoch) == (runner, 2)


@given(snapshot=snapshots(), new=settings(), policy=policies())
def test_configuring_twice_is_configuring_once(
    snapshot: Snapshot, new: Settings, policy: OldestActive
) -> None:
    """The same settings again change nothing."""
    once = plan(evolve(snapshot, released=None), Configure(settings=new), policy)

    assert not plan(once.after, Configure(settings=new), policy).changed


def test_a_shorter_lease_counts_from_the_next_renewal() -> None:
    """A lease that was given stands, so that nobody's trust outlasts it (bug 10)."""
    world = World(Settings(lease=span(60)))
    runner = world.join()
    ends = world.session(runner).lease_expires_at

    world.do(Configure(settings=Settings(lease=span(5))))
    world.beat(runner)

    assert world.session(runner).lease_expires_at == ends
    world.wait(58)
    world.beat(runner)
    assert world.session(runner).lease_expires_at == world.now + span(5)


def test_a_restored_store_ends_terms_and_jumps_epochs() -> None:
    """After a loss of commits no epoch of the lost time can come again (bug 40)."""
    snapshot = a_snapshot(a_runner("a"), leader="a", barrier=90)

    planned = plan(snapshot, Reincarnate(not_before=at(60)), OldestActive())

    group = planned.after.group
    assert (group.term, group.epoch, group.ended) == (None, 7 + 2**20, Kind.RESTORED)
    assert group.grant_not_before == at(90)


def test_losing_a_runner_is_foretold_only() -> None:
    """What-if a leader is lost: the next is elected, as if its lease were over."""
    snapshot = a_snapshot(a_runner("a"), a_runner("b"), leader="a")

    decision = what_if(snapshot, [LoseRunner(runner_id="a")], OldestActive())

    assert decision.leader_runner_id == "b"


def test_losing_a_leader_is_foretold_without_grace() -> None:
    """What-if a leader is lost soon after an outage: who follows it, not that it is spared."""
    mark = Mark(at=at(0), outages=(Outage(began=at(-9), ended=at(-1)),))
    snapshot = a_snapshot(a_runner("a"), a_runner("b"), leader="a", mark=mark)

    decision = what_if(snapshot, [LoseRunner(runner_id="a")], OldestActive())

    assert (decision.outcome, decision.leader_runner_id) == (Outcome.ELECT, "b")


def test_losing_who_has_no_session_changes_nothing() -> None:
    """A runner that is away already cannot be lost."""
    snapshot = a_snapshot(a_runner("a"), a_runner("b", offline=True), leader="a")

    decision = what_if(snapshot, [LoseRunner(runner_id="b")], OldestActive())

    assert decision.leader_runner_id == "a"


@pytest.mark.parametrize(
    "command",
    [
        DeleteRunner(runner_id="nobody"),
        TaintRunner(runner_id="nobody"),
        Untaint(runner_id="nobody"),
        DrainRunner(runner_id="nobody"),
        Undrain(runner_id="nobody"),
        PinLeader(runner_id="nobody"),
        OpenSession(runner_id="nobody", session_id="s", session_key="k"),
        Release(runner_id="nobody", session_id="s", epoch=1),
        Leave(runner_id="nobody", session_id="s"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_runner_of_another_group_is_not_found(command: Command) -> None:
    """Commands about a runner that is not in the group are refused, and change nothing."""
    with pytest.raises(NotFound):
        plan(a_snapshot(a_runner("a")), command, OldestActive())


@pytest.mark.parametrize(
    "command",
    [Decide(), Undrain(runner_id="a"), Unpin(), Untaint(runner_id="a")],
    ids=lambda command: type(command).__name__,
)
def test_what_is_not_there_is_not_taken_away(command: Command) -> None:
    """Ending what never began is no error and no event."""
    snapshot = a_snapshot(a_runner("a"), leader="a")

    assert not plan(snapshot, command, OldestActive()).changed


def test_drains_are_told_apart_by_what_they_say() -> None:
    """The same drain again is nothing new; another reason or timeout is."""
    world = World()
    runner = world.join()
    drain = DrainRunner(runner_id=runner, reason="disk", timeout=span(5))

    assert world.do(drain).changed
    assert not world.do(drain).changed
    assert world.do(evolve(drain, timeout=span(9))).changed


def test_a_first_election_says_how_long_nobody_led() -> None:
    """History tells with each election who led before, and for how long nobody did."""
    world = World(Settings(lease=span(10)))
    first, second = world.join(), world.join()
    world.live(30, [second])

    elected = [event for event in world.history if event.kind == "elected"]

    assert [event.data["kind"] for event in elected] == ["first", "failover"]
    assert elected[0].data["leaderless_seconds"] is None
    assert elected[1].data["previous_runner_id"] == first
    assert elected[1].data["leaderless_seconds"] == 0


def test_a_vacancy_is_recorded_once() -> None:
    """A leader that falls silent with nobody to follow leaves the group vacant, said once."""
    world = World(Settings(lease=span(10)))
    world.join()

    world.live(40)

    assert world.kinds.count("vacated") == 1
    assert world.term is None


def test_a_barred_leader_that_was_silent_comes_back_as_standby() -> None:
    """A `no-elect` leader whose lease ran out resumes only until somebody has decided (I9)."""
    taint = a_taint(Effect.NO_ELECT)
    leader = a_runner("a", taints=(taint,), session=a_session("a", left=-1, epoch=7))

    planned = plan(a_snapshot(leader, leader="a"), Decide(), OldestActive())

    assert planned.after.group.term is None


def test_a_term_without_its_holder_ends() -> None:
    """Should a store have lost the leader's row, its term ends like that of a silent one."""
    whole = a_snapshot(a_runner("a"), a_runner("b"), leader="a")
    snapshot = evolve(whole, runners=whole.runners[1:])

    planned = plan(snapshot, Decide(), OldestActive())

    term = planned.after.group.term
    assert term is not None
    assert (term.runner_id, term.epoch) == ("b", 8)
    assert planned.changes.expects == (Live("b", "session-b"),)


def test_a_term_whose_session_was_replaced_ends() -> None:
    """A session that is not the term's has no part in it, whoever its runner is."""
    whole = a_snapshot(a_runner("a"), leader="a")
    runner = evolve(whole.runners[0], session=a_session("other"))

    planned = plan(evolve(whole, runners=(runner,)), Decide(), OldestActive())

    assert [ended.epoch for ended in planned.changes.ended_terms] == [7]
    assert planned.after.group.epoch == 8
