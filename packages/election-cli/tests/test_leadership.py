"""`election leader`, `pin`, `unpin`, `explain`, `what-if`."""

from __future__ import annotations

import pytest

from command_world import Run, Server
from election_cli._exits import ExitCode
from election_cli._sentences import verdict
from election_core import Cause, DecisionInfo, Kind, Outcome


@pytest.fixture
def ids(server: Server, group: str) -> dict[str, str]:
    """Two runners, of which the older one leads."""
    return server.group(group, "cloud", "laptop")


def test_the_leader_is_told(election: Run, group: str, ids: dict[str, str]) -> None:
    """By name with its epoch for people, with everything for programs."""
    told = election("leader", group).out
    assert "leader       cloud\n" in told
    assert "epoch        1\n" in told

    found = election("leader", group, "--json").json
    assert (found["runner"]["id"], found["epoch"]) == (ids["cloud"], 1)


@pytest.mark.parametrize("form", ["two words", "one word", "id"])
def test_a_person_may_choose_the_leader(
    form: str, election: Run, group: str, ids: dict[str, str]
) -> None:
    """The leader of now hands over, whichever way the chosen one is named."""
    words = {
        "two words": [group, "laptop"],
        "one word": [f"{group}/laptop"],
        "id": [group, ids["laptop"]],
    }[form]

    pinned = election("pin", *words, "--ttl", "1h", "--owner", "ada", "--reason", "demo")

    assert pinned.out == "cloud hands over to laptop, because the other one is pinned.\n"
    pin = election("groups", "show", group, "--json").json["pin"]
    assert (pin["runner_id"], pin["owner"], pin["reason"]) == (ids["laptop"], "ada", "demo")
    assert pin["expires_at"] is not None


def test_unpinning_leaves_it_to_the_policy(election: Run, group: str, ids: dict[str, str]) -> None:
    """The handover that the pin began is cancelled."""
    election("pin", group, "laptop")

    found = election("unpin", group, "--json").json

    assert (found["outcome"], found["leader_runner_id"]) == ("keep", ids["cloud"])
    assert election("unpin", group).out.startswith("cloud goes on leading, because ")


def test_who_cannot_lead_is_pinned_for_later_only(
    election: Run, group: str, ids: dict[str, str]
) -> None:
    """A tainted runner is refused with the way out, and accepted with it."""
    election("taint", ids["laptop"])

    refused = election("pin", group, "laptop")
    assert refused.code == ExitCode.REFUSED
    assert "(not-eligible)" in refused.err
    assert "--when-eligible" in refused.err

    accepted = election("pin", group, "laptop", "--when-eligible", "--immediate", "--json")
    assert accepted.json["outcome"] == "keep"


def test_an_explanation_says_who_why_and_until_when(
    election: Run, server: Server, group: str, ids: dict[str, str]
) -> None:
    """Who leads and why, who is not eligible and why, and when it is looked at again."""
    election("taint", ids["laptop"], "--owner", "ada", "--reason", "offsite", "--ttl", "1h")

    told = election("explain", group)
    assert told.code == 0
    said, ballot = told.out.split("\n\n")
    assert said.splitlines()[0].startswith(f"cloud leads {group} under epoch 1 since ")
    assert "It was elected because no other runner is eligible; the group had no leader." in said
    assert "As things stand: cloud goes on leading, because no other runner is eligible." in said
    assert "It is looked at again when something changes or a lease runs out, and at 20" in said
    lines = ballot.splitlines()
    assert lines[0].split() == ["PLACE", "RUNNER", "ELIGIBLE", "WHY", "NOT", "ID"]
    assert lines[1].split() == ["1", "cloud", "yes", "-", ids["cloud"]]
    assert "2      laptop  no        tainted: manual (no-lead) by ada: offsite" in lines[2]

    found = election("explain", group, "--json").json
    assert found["outcome"] == "keep"
    assert [line["eligible"] for line in found["ballot"]] == [True, False]


def test_an_explanation_of_a_handover_says_by_when(
    election: Run, group: str, ids: dict[str, str]
) -> None:
    """A pin, with who made it and why, and the deadline of the handover that it began."""
    election("pin", group, "laptop", "--owner", "ada", "--reason", "demo")

    said = election("explain", group).out

    assert "cloud hands over to laptop, because the other one is pinned." in said
    assert "The handover has to be done by 20" in said
    assert "laptop is pinned by ada until it is unpinned (demo)." in said


def test_an_explanation_of_a_vacancy_says_why(election: Run, server: Server, group: str) -> None:
    """A group that nobody leads is explained, not refused."""
    server.group(group)

    told = election("explain", group)

    assert told.code == 0
    assert f"Nobody leads {group} now." in told.out
    assert "because no runner is eligible" in told.out
    assert "when something changes or a lease runs out." in told.out
    assert "The group has no runners." in told.err


def test_an_explanation_after_a_deletion_tells_the_barrier(
    election: Run, group: str, ids: dict[str, str]
) -> None:
    """While the last leader may still trust its lease, it is told until when."""
    election("runners", "delete", ids["cloud"])

    said = election("explain", group).out

    assert "Nobody leads" in said
    assert "its last epoch is 1" in said
    assert "because the last leader may still trust its lease" in said
    assert "Nobody is elected before 20" in said


@pytest.mark.parametrize(
    ("arguments", "outcome", "leader", "successor"),
    [
        ((), "keep", "cloud", None),
        (("--taint", "cloud"), "hand-over", "cloud", "laptop"),
        (("--lose", "cloud"), "elect", "laptop", None),
        (("--pin", "laptop"), "hand-over", "cloud", "laptop"),
        (("--drain", "cloud"), "hand-over", "cloud", "laptop"),
        (("--drain", "cloud", "--undrain", "cloud"), "keep", "cloud", None),
        (("--taint", "cloud", "--untaint", "cloud"), "keep", "cloud", None),
        (("--untaint", "cloud", "--taint", "cloud"), "hand-over", "cloud", "laptop"),
        (("--pin", "laptop", "--taint", "laptop"), "keep", "cloud", None),
        (("--pin", "laptop", "--unpin"), "hand-over", "cloud", "laptop"),
        (("--lose", "laptop", "--taint", "cloud"), "vacate", "cloud", None),
    ],
)
def test_what_if_tells_and_does_not(
    arguments: tuple[str, ...],
    outcome: str,
    leader: str,
    successor: str | None,
    election: Run,
    group: str,
    ids: dict[str, str],
) -> None:
    """Suppositions count in their order, and nothing is changed by them."""
    before = election("groups", "show", group, "--json").json

    found = election("what-if", group, *arguments, "--json").json

    assert found["outcome"] == outcome
    assert found["leader_runner_id"] == ids[leader]
    assert found["successor_runner_id"] == (successor and ids[successor])
    after = election("groups", "show", group, "--json").json
    assert after["epoch"] == before["epoch"]
    assert after["pin"] is after["handover"] is None


def test_what_if_is_told_in_a_sentence(election: Run, group: str, ids: dict[str, str]) -> None:
    """What would come out, that nothing was changed, and the ballot of then."""
    told = election("what-if", group, "--lose", f"{group}/cloud")

    assert told.out.splitlines()[:2] == [
        "Then: laptop is elected, because no other runner is eligible.",
        "Nothing was changed.",
    ]
    assert "offline: its lease ended at" in told.out


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_a_sentence(outcome: Outcome) -> None:
    """Each outcome, with and without a leader, is one sentence; a later one is told as it is."""
    for leader in ("r1", None):
        for reason in (*Cause, "oldest", "later"):
            decision = DecisionInfo(
                outcome=outcome,
                leader_runner_id=leader,
                successor_runner_id=None,
                reason=reason,
                look_again_at=None,
            )
            assert verdict(decision, {"r1": "cloud"}).endswith(".")
    later = DecisionInfo(
        outcome="later",
        leader_runner_id=None,
        successor_runner_id=None,
        reason="later",
        look_again_at=None,
    )
    assert verdict(later, {}) == "later: nobody, because later."


def test_every_reason_of_the_core_has_words() -> None:
    """Reasons, causes and kinds that the core knows are not shown as codes."""
    from election_cli import _sentences as words
    from election_core import OldestActive, preferences

    reasons = {
        *preferences(OldestActive()),
        *preferences(OldestActive(preempt=True)),
        "only-eligible",
        "grace",
        "barrier",
        "no-eligible-runner",
    }
    assert set(words._PREFERENCES) == reasons
    assert set(words._CAUSES) == set(Cause)
    assert set(words._KINDS) == set(Kind)
