"""The schedule runs what is due, tries again later what failed, and says trouble once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from timmy_core.errors import StoreError
from timmy_core.events import schedule
from timmy_core.events.log import EventLog
from timmy_core.events.schedule import Job, Schedule
from timmy_core.testing import FakeClock

MINUTE = timedelta(minutes=1)


def fails(message: str = "no room") -> str:
    raise StoreError(message)


def one(log: EventLog, clock: FakeClock, run: Callable[[], str]) -> Schedule:
    return Schedule([Job("tidy", MINUTE, run)], log, clock)


def test_a_job_runs_at_once_and_then_when_it_is_due(log: EventLog, clock: FakeClock) -> None:
    done: list[int] = []
    held = one(log, clock, lambda: str(done.append(1) or ""))
    assert held.run_due() == 1
    clock.advance(59)
    assert held.run_due() == 0
    clock.advance(1)
    assert held.run_due() == 1
    assert len(done) == 2


def test_setting_the_wall_clock_back_delays_nothing(log: EventLog, clock: FakeClock) -> None:
    held = one(log, clock, str)
    held.run_due()
    clock.set_wall(clock.now() - timedelta(days=30))
    clock.advance(60)
    assert held.run_due() == 1


def test_the_state_says_what_was_done_and_when(log: EventLog, clock: FakeClock) -> None:
    words = iter(["1 segment", ""])
    held = one(log, clock, lambda: next(words))
    held.run_due()
    did_at = clock.now()
    clock.advance(60)
    held.run_due()
    (state,) = held.states()
    assert (state.last_did, state.last_did_at, state.last_at) == ("1 segment", did_at, clock.now())
    assert state.next_at == clock.now() + MINUTE


def test_the_same_trouble_is_one_event_however_often_it_comes_back(log: EventLog, clock: FakeClock) -> None:
    held = one(log, clock, fails)
    for _ in range(500):
        held.run_due()
        clock.advance(60)
    (event,) = log.list()
    assert (event.type, event.source, dict(event.data or {})) == (
        "system.warning", "schedule", {"job": "tidy", "message": "tidy failed: no room"},
    )  # fmt: skip
    (state,) = held.states()
    assert state.problem == "no room"
    assert state.failures < 20


def test_the_end_of_trouble_is_said_too(log: EventLog, clock: FakeClock) -> None:
    runs = iter([fails, str])
    held = one(log, clock, lambda: next(runs)()  # noqa: PLW0108)
    held.run_due()
    clock.advance(3600)
    held.run_due()
    assert [event.type for event in log.list()] == ["system.info", "system.warning"]
    assert held.states()[0].problem == ""


def test_a_job_that_fails_keeps_no_other_from_running(log: EventLog, clock: FakeClock) -> None:
    done: list[str] = []
    held = Schedule([Job("a", MINUTE, fails), Job("b", MINUTE, lambda: str(done.append("b") or ""))], log, clock)
    held.run_due()
    assert done == ["b"]


def test_the_thread_ends_when_it_is_told_to(log: EventLog, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "LOOK_S", 0.001)
    ran = threading.Event()
    held = one(log, clock, lambda: str(ran.set() or ""))
    held.start()
    held.start()
    assert ran.wait(5)
    assert held.alive
    held.stop()
    held.stop()
    assert not held.alive
