"""What may be an event, and how what may not is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timmy_core.errors import EventDataError, UnknownEventTypeError
from timmy_core.events.model import EVENT_TYPES, MAX_DATA_BYTES, NewEvent, encode, families, prepare

ADR_017 = """
task.created task.bidding task.assigned task.started task.completed task.failed agent.joined agent.left
agent.status_changed bid.submitted auction.closed tool.called tool.completed tool.failed system.error system.warning
system.info
"""


def test_every_type_of_adr_017_and_every_family_is_declared() -> None:
    assert set(ADR_017.split()) <= set(EVENT_TYPES)
    assert {"llm", "circuit", "invoice", "payment", "budget", "memory", "upgrade", "log"} <= set(families())


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_a_type_is_a_noun_and_a_past_participle_with_a_meaning(name: str) -> None:
    assert name.count(".") == 1
    assert EVENT_TYPES[name]


@pytest.mark.parametrize(
    ("name", "near"),
    [("task.create", "task.created"), ("task_created", "task.created"), ("llm.complete", "llm.completed")],
)
def test_an_undeclared_type_is_refused_with_near_matches(name: str, near: str) -> None:
    with pytest.raises(UnknownEventTypeError, match=rf"did you mean .*{near}"):
        prepare(NewEvent(name, "test"))


def test_a_type_far_from_all_is_refused_with_the_way_to_the_list() -> None:
    with pytest.raises(UnknownEventTypeError, match="timmy events types"):
        prepare(NewEvent("qqqq", "test"))


def test_own_types_begin_with_x() -> None:
    assert prepare(NewEvent("x.backup.made", "test")).type == "x.backup.made"
    for wrong in ("x.", "x.Backup", "x.backup made", "x." + "a" * 300):
        with pytest.raises(UnknownEventTypeError):
            prepare(NewEvent(wrong, "test"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"a": [1, {2: 3}]}, r"data\.a\[1\] has the key 2"),
        ({"a": object()}, r"data\.a is of type object"),
        ({"a": {"b": float("nan")}}, r"data\.a\.b is nan"),
        ({"a": float("inf")}, r"data\.a is inf"),
        ({"a": 1 << 63}, r"data\.a is an integer of more than 64 bits"),
        ({"a": 10**5000}, r"data\.a is an integer of more than 64 bits"),
        ({"a": b"bytes"}, r"data\.a is of type bytes"),
        ({"a": datetime(2026, 1, 1, tzinfo=UTC)}, r"data\.a is of type datetime"),
        ({"a": "\ud800"}, "half a surrogate"),
        ({"a": "x" * MAX_DATA_BYTES}, "at most 262,144 fit"),
        ([1], "has to be a mapping"),
    ],
)
def test_data_that_json_cannot_carry_is_refused_by_name(data: Any, said: str) -> None:
    with pytest.raises(EventDataError, match=said):
        prepare(NewEvent("task.created", "test", data=data))


def test_data_nested_without_end_is_refused() -> None:
    data: dict[str, Any] = {}
    data["again"] = data
    with pytest.raises(EventDataError, match="nested deeper than 64"):
        prepare(NewEvent("task.created", "test", data=data))


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(EventDataError, match="without a zone"):
        prepare(NewEvent("task.created", "test", ts=datetime(2026, 1, 1)))  # noqa: DTZ001 - the fault under test


def test_a_time_before_1970_is_refused() -> None:
    with pytest.raises(EventDataError, match="before 1970"):
        prepare(NewEvent("task.created", "test", ts=datetime(1969, 12, 31, tzinfo=UTC)))


def test_an_empty_id_is_refused() -> None:
    with pytest.raises(EventDataError, match="id is empty"):
        prepare(NewEvent("task.created", "test", id=""))


@pytest.mark.parametrize("field", ["source", "task_id", "agent_id", "trace_id", "id"])
@pytest.mark.parametrize("value", ["x" * 201, "a\nb", "\ud800", 7])
def test_a_field_that_is_too_long_or_not_printable_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(EventDataError, match=field):
        prepare(NewEvent(**{"type": "task.created", "source": "test", field: value}))


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(EventDataError, match="source is empty"):
        prepare(NewEvent("task.created", ""))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**63, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_whatever_json_can_carry_comes_back_as_it_was(data: dict[str, Any]) -> None:
    import json

    assert json.loads(encode(data)) == data
