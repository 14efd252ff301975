"""Self-diagnosis: what fails again and again is said once, with a link to what explains it."""

from __future__ import annotations

import pytest

from timmy_core.events.log import EventLog
from timmy_core.events.model import Event
from timmy_core.swarm.diagnosis import Diagnosis
from timmy_core.testing import FakeClock


@pytest.fixture
def diagnosis(log: EventLog, clock: FakeClock) -> Diagnosis:
    return Diagnosis(log, clock, least=3)


def fails(log: EventLog, times: int, tool: str = "look", trace_id: str = "t1") -> None:
    for _ in range(times):
        log.append("tool.failed", source="agent", data={"tool": tool}, trace_id=trace_id)


def said(log: EventLog) -> list[Event]:
    return log.list(family="system", order="asc")


def test_two_failures_are_not_worth_a_word(diagnosis: Diagnosis, log: EventLog) -> None:
    fails(log, 2)
    assert diagnosis.look() == ""
    assert said(log) == []


def test_the_third_of_a_kind_is_said_once_with_its_links(diagnosis: Diagnosis, log: EventLog) -> None:
    fails(log, 3)
    assert diagnosis.look() == "1 repeated failure said"
    fails(log, 1)
    assert diagnosis.look() == ""
    (event,) = said(log)
    data = event.data or {}
    assert (event.type, event.trace_id, data["count"]) == ("system.warning", "t1", 3)
    assert data["link"] == "/swarm/events?type=tool.failed"
    assert data["last"] == "/swarm/events?trace=t1"
    assert data["message"].startswith("the tool look failed 3 times since")


def test_kinds_are_counted_apart(diagnosis: Diagnosis, log: EventLog) -> None:
    fails(log, 2, "look")
    fails(log, 2, "listen")
    assert diagnosis.look() == ""


def test_what_was_long_ago_does_not_count(diagnosis: Diagnosis, log: EventLog, clock: FakeClock) -> None:
    fails(log, 2)
    clock.advance(601)
    fails(log, 2)
    assert diagnosis.look() == ""


def test_many_failures_are_an_error(diagnosis: Diagnosis, log: EventLog) -> None:
    fails(log, 3)
    diagnosis.look()
    fails(log, 9)
    diagnosis.look()
    assert [event.type for event in said(log)] == ["system.warning", "system.error"]


def test_after_ten_minutes_it_is_said_again(diagnosis: Diagnosis, log: EventLog, clock: FakeClock) -> None:
    fails(log, 3)
    diagnosis.look()
    clock.advance(601)
    fails(log, 3)
    diagnosis.look()
    assert len(said(log)) == 2


def test_a_next_run_does_not_say_it_again(diagnosis: Diagnosis, log: EventLog, clock: FakeClock) -> None:
    fails(log, 3)
    diagnosis.look()
    fails(log, 2)
    Diagnosis(log, clock, least=3).look()
    assert len(said(log)) == 1
