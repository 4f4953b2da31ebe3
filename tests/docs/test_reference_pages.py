"""What the reference says is what the code does."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

import election_testkit
from election_core import EventKind, Kind, OldestActive, Settings, encode, preferences
from election_core.ports import Census
from election_ctl_api import Metrics
from tests.docs.reference_tables import MADE, REFERENCE, rewritten

AGAIN = "write it anew with `python -m tests.docs.reference_tables`"


def named(page: str, heading: str) -> list[str]:
    """The first cells of the table below a heading, without their backticks."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `([^`]+)`", section, flags=re.MULTILINE)


@pytest.mark.parametrize("page", MADE)
def test_what_is_made_from_the_code_is_up_to_date(page: str) -> None:
    """The tables of routes, codes, states and commands are those of the code."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    assert text == rewritten(page, text), AGAIN


def test_every_kind_of_event_is_told() -> None:
    """The reference knows each kind of event, and no other, in the order of the code."""
    assert named("events.md", "Kinds") == [kind.value for kind in EventKind]


def test_every_kind_of_term_is_told() -> None:
    """The reference knows each way in which a term can come to be."""
    assert named("events.md", "Kinds of terms") == [kind.value for kind in Kind]


def test_every_reason_is_told() -> None:
    """The reference knows each preference by which a winner can beat the runner-up."""
    known = named("events.md", "Reasons")
    for policy in (OldestActive(), OldestActive(preempt=True)):
        assert set(preferences(policy)) <= set(known)


def test_every_setting_is_told_with_its_default() -> None:
    """The reference knows each setting of a group, and its default."""
    document = encode(Settings())
    assert isinstance(document, dict)
    assert named("settings.md", "Settings") == list(document)


def test_every_option_of_the_policy_is_told() -> None:
    """The reference knows each option of the policy that ships."""
    options = encode(OldestActive())
    assert isinstance(options, dict)
    assert named("settings.md", "The policy oldest-active") == list(options)


def test_every_metric_is_told() -> None:
    """The reference knows each metric of ours that is served, and no other."""
    census = Census(groups=0, led=0, runners=0, live_sessions=0)
    body, _ = Metrics().render(census, {})
    families = text_string_to_metric_families(body.decode())
    served = {each.name for each in families if each.name.startswith("election_")}
    served = {name for name in served if not name.endswith("_created")}
    told = {name.removesuffix("_total") for name in named("metrics.md", "Metrics")}
    assert told == served


def test_all_of_the_testkit_is_told() -> None:
    """The reference of the kit, which is in an order of its own, knows each name, and no other."""
    text = (REFERENCE / "python" / "testkit.md").read_text(encoding="utf-8")
    told = re.findall(r"^::: election_testkit\.(\w+)", text, flags=re.MULTILINE)
    assert sorted(told) == sorted([*election_testkit.__all__, "strategies"])
