"""The JSON form of every type."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from election_cases import a_runner, a_snapshot, span
from election_core import (
    MAX_INTEGER,
    Claimed,
    Decision,
    DecisionInfo,
    Effect,
    Event,
    GroupInfo,
    Invalid,
    Job,
    JobSpec,
    Leader,
    Mark,
    NewTaint,
    OldestActive,
    Outage,
    Page,
    Pin,
    PinLeader,
    PolicySpec,
    Reason,
    Registration,
    RunnerInfo,
    Settings,
    Settlement,
    Snapshot,
    Standing,
    Taint,
    Token,
    Toleration,
    Verdict,
    decode,
    elect,
    encode,
)
from election_testkit.strategies import snapshots

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
INTEGERS = st.integers(-MAX_INTEGER, MAX_INTEGER)
TIMES = st.datetimes(timezones=st.just(UTC))
SPANS = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3650))
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
for kind, strategy in {
    str: TEXT,
    int: INTEGERS,
    datetime: TIMES,
    timedelta: SPANS,
    object: JSON,
}.items():
    st.register_type_strategy(kind, strategy)
OPTIONS = st.dictionaries(TEXT.filter(lambda key: key != "name"), JSON, max_size=2)
st.register_type_strategy(PolicySpec, st.builds(PolicySpec, name=TEXT, options=OPTIONS))

TYPES = [
    Claimed,
    DecisionInfo,
    Event,
    GroupInfo,
    Job,
    JobSpec,
    Leader,
    Mark,
    NewTaint,
    OldestActive,
    Outage,
    Pin,
    PinLeader,
    Reason,
    Registration,
    RunnerInfo,
    Settings,
    Settlement,
    Standing,
    Taint,
    Token,
    Toleration,
    Verdict,
]


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_every_type_survives_the_wire(cls: type, data: st.DataObject) -> None:
    """What is written as JSON and read back is the same value."""
    value = data.draw(st.from_type(cls))

    text = json.dumps(encode(value), allow_nan=False)

    assert decode(cls, json.loads(text)) == value


@given(snapshot=snapshots())
def test_a_snapshot_survives_the_wire(snapshot: Snapshot) -> None:
    """A group can be kept and replayed."""
    assert decode(Snapshot, encode(snapshot)) == snapshot


def test_what_derives_from_text_or_a_number_is_one() -> None:
    """A host's own kinds of text and of numbers are written as what they are."""

    class Name(str):
        __slots__ = ()

    class Count(int):
        pass

    assert json.dumps(encode({"name": Name("a"), "count": Count(2)})) == '{"name": "a", "count": 2}'


def test_a_page_carries_its_items() -> None:
    """A page of any type reads back as one of that type."""
    page = Page(items=(Reason("a"), Reason("b")), next_cursor="c")

    assert decode(Page[Reason], encode(page)) == page


def test_durations_are_numbers_of_seconds() -> None:
    """A duration's name ends in its unit: seconds, or days for the retention."""
    document = encode(Settings(lease=span(2.5), retention=timedelta(days=1.5)))

    assert isinstance(document, dict)
    assert (document["lease_seconds"], document["retention_days"]) == (2.5, 1.5)
    assert document["heartbeat_seconds"] is None


def test_times_are_rfc_3339_in_utc() -> None:
    """A time is written with a Z, whatever zone it is in, and read in any."""
    outage = Outage(
        datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1))),
        datetime(2026, 1, 31, 12, 0, 0, 5, tzinfo=UTC),
    )

    document = encode(outage)

    assert document == {"began": "2026-01-31T12:00:00Z", "ended": "2026-01-31T12:00:00.000005Z"}
    assert decode(Outage, {**_dict(document), "began": "2026-01-31T13:00:00+01:00"}) == outage


def _dict(value: object) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value


def test_a_policy_is_its_name_and_options() -> None:
    """A policy stands in the settings as one object."""
    assert encode(PolicySpec(options={"preempt": True})) == {
        "name": "oldest-active",
        "preempt": True,
    }
    assert decode(PolicySpec, {"preempt": True}) == PolicySpec(options={"preempt": True})


def test_a_decision_is_told_as_it_is_explained() -> None:
    """A decision's JSON form is that of the HTTP contract, without what only the core needs."""
    decision = elect(a_snapshot(a_runner("a")), OldestActive())

    document = encode(decision)

    assert document == {
        "outcome": "elect",
        "leader_runner_id": "a",
        "successor_runner_id": None,
        "reason": "only-eligible",
        "look_again_at": None,
        "ballot": [{"runner_id": "a", "eligible": True, "reasons": []}],
    }
    assert isinstance(decision, Decision)
    assert decode(DecisionInfo, document).leader_runner_id == "a"


def test_what_has_no_json_form_is_refused() -> None:
    """Neither direction guesses."""
    with pytest.raises(TypeError):
        encode(b"bytes")
    with pytest.raises(TypeError):
        decode(bytes, "bytes")
    with pytest.raises(TypeError):
        decode(str | int, "either")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], ""),
        ({}, "kind"),
        ({"kind": 3}, "kind"),
        ({"kind": "a\x00"}, "kind"),
        ({"kind": "\ud800"}, "kind"),
        ({"kind": "a", "priority": "1"}, "priority"),
        ({"kind": "a", "priority": True}, "priority"),
        ({"kind": "a", "priority": 1.5}, "priority"),
        ({"kind": "a", "priority": MAX_INTEGER + 1}, "priority"),
        ({"kind": "a", "priority": 1e300}, "priority"),
        ({"kind": "a", "colour": "red"}, "colour"),
        ({"kind": None}, "kind"),
    ],
    ids=[
        "no-object",
        "missing",
        "no-string",
        "nul",
        "surrogate",
        "no-number",
        "boolean",
        "fraction",
        "too-large",
        "much-too-large",
        "unknown",
        "null",
    ],
)
def test_what_is_wrong_is_named(document: object, field: str) -> None:
    """A wrong type, a missing or an unknown field is refused with its path."""
    with pytest.raises(Invalid) as caught:
        decode(JobSpec, document)

    assert caught.value.facts["field"] == field


@pytest.mark.parametrize(
    ("cls", "document", "field"),
    [
        (Settings, {"lease_seconds": "1"}, "lease_seconds"),
        (Settings, {"lease_seconds": True}, "lease_seconds"),
        (Settings, {"lease_seconds": float("nan")}, "lease_seconds"),
        (Settings, {"lease_seconds": float("inf")}, "lease_seconds"),
        (Settings, {"lease_seconds": 10**400}, "lease_seconds"),
        (Settings, {"retention_days": 36526}, "retention_days"),
        (Settings, {"tolerations": {}}, "tolerations"),
        (Settings, {"tolerations": [{}, {"effect": "no"}]}, "tolerations[1].effect"),
        (Settings, {"policy": {"name": 3}}, "policy.name"),
        (Settlement, {"outcome": "lost"}, "outcome"),
        (Settlement, {"outcome": 3}, "outcome"),
        (Settlement, {"outcome": "failed", "retry": 1}, "retry"),
        (Outage, {"began": 1, "ended": 2}, "began"),
        (Outage, {"began": "soon", "ended": "late"}, "began"),
        (Outage, {"began": "2026-01-31T12:00:00", "ended": ""}, "began"),
        (Outage, {"began": "0001-01-01T00:00:00+23:59", "ended": ""}, "began"),
        (OldestActive, {"prefer_labels": []}, "prefer_labels"),
        (OldestActive, {"prefer_labels": {"a": 1}}, "prefer_labels.a"),
    ],
    ids=str,
)
def test_each_kind_of_value_is_checked(cls: type, document: object, field: str) -> None:
    """Whatever a program sends, the answer is which field is wrong, never a crash."""
    with pytest.raises(Invalid) as caught:
        decode(cls, document)

    assert caught.value.facts["field"] == field


@given(value=JSON, cls=st.sampled_from(TYPES))
def test_any_json_is_read_or_refused(value: object, cls: type) -> None:
    """No JSON value makes reading fail in another way than by a refusal."""
    with contextlib.suppress(Invalid):
        decode(cls, value)


def test_integers_may_be_written_as_whole_floats() -> None:
    """JSON has one kind of number, so 3.0 is 3."""
    assert decode(JobSpec, {"kind": "a", "priority": 3.0}).priority == 3


def test_the_path_starts_with_the_given_name() -> None:
    """A value within a larger body is refused with its place there."""
    with pytest.raises(Invalid, match=r"^settings\.lease_seconds: a number is wanted$"):
        decode(Settings, {"lease_seconds": []}, path="settings")


def test_a_lenient_reader_ignores_what_it_does_not_know() -> None:
    """An old program understands the answers of a newer one."""
    document = {"began": "2026-01-31T12:00:00Z", "ended": "2026-01-31T12:00:00Z", "why": "fire"}

    assert decode(Outage, document, lenient=True) == decode(
        Outage, {key: document[key] for key in ("began", "ended")}
    )


def test_a_lenient_reader_keeps_unknown_values_of_an_enum() -> None:
    """An effect of a later version stays readable as text; a known one is the enum's."""
    assert decode(Effect, "no-lead", lenient=True) is Effect.NO_LEAD
    unknown = decode(Effect, "no-sleep", lenient=True)
    assert unknown == "no-sleep"
    assert not isinstance(unknown, Effect)


def test_a_lenient_reader_is_strict_about_types() -> None:
    """Lenience is for what is new, not for what is wrong."""
    with pytest.raises(Invalid):
        decode(Effect, 3, lenient=True)


def test_plain_values_have_their_own_form() -> None:
    """Enums, numbers and containers of anything are written as JSON has them."""

    class Colour(StrEnum):
        RED = "red"

    assert encode({"a": (Colour.RED, 1, 2.5, None, True)}) == {"a": ["red", 1, 2.5, None, True]}


def test_floats_are_numbers() -> None:
    """A float field takes any finite number and nothing else."""

    @attrs.frozen
    class Ratio:
        of: float

    cls: type = attrs.make_class("Ratio", {"of": attrs.field(type=float)}, frozen=True)

    assert Ratio is not cls
    assert decode(cls, {"of": 1}).of == 1.0
    for wrong in ("1", True, float("nan"), 10**400):
        with pytest.raises(Invalid):
            decode(cls, {"of": wrong})


def test_a_null_text_is_not_given() -> None:
    """A null leaves an optional text at its default; all else needs a value of its type."""
    assert decode(NewTaint, {"key": None, "ttl_seconds": None}) == NewTaint()
    with pytest.raises(Invalid, match="runner_id: a string is wanted"):
        decode(PinLeader, {"runner_id": None})
    with pytest.raises(Invalid, match="lease_seconds: a number is wanted"):
        decode(Settings, {"lease_seconds": None})
