"""The schedule runs what is due, tries again later what failed, and says trouble once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from timmy_core import open_timmy
from timmy_core.errors import StoreError
from timmy_core.events import archive, schedule
from timmy_core.events.events import Events
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.events.schedule import Job, Schedule, upkeep
from timmy_core.settings import LogSettings
from timmy_core.store.engine import Store
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


def test_nothing_is_due_before_it_has_settled(log: EventLog, clock: FakeClock) -> None:
    held = Schedule([Job("tidy", MINUTE, str)], log, clock, timedelta(seconds=20))
    assert held.run_due() == 0
    clock.advance(20)
    assert held.run_due() == 1


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
    held = one(log, clock, lambda: next(runs)())  # noqa: PLW0108 - each run takes the next
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


# What `timmy up` does ------------------------------------------------------------------------------------------


def test_the_settings_choose_the_jobs(store: Store, clock: FakeClock) -> None:
    events = Events(store, clock)
    names = [job.name for job in upkeep(events, LogSettings())]
    assert names == ["text", "seal", "sign", "blobs"]
    nothing = LogSettings(seal=False, head_minutes=0, prune_after_days=0, text=False)
    assert [job.name for job in upkeep(events, nothing)] == ["blobs"]
    assert "prune" in [job.name for job in upkeep(events, LogSettings(prune_after_days=90))]
    events.close()


def test_closed_parts_are_archived_signed_and_pruned_by_themselves(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "SEGMENT", 4)
    events = Events(store, clock)
    events.append_many([NewEvent("system.info", "test", {"n": n}) for n in range(9)])
    clock.advance(2 * 86_400)
    held = Schedule(upkeep(events, LogSettings(prune_after_days=1)), events, clock)
    held.run_due()
    did = {state.name: state.last_did for state in held.states()}
    assert did["seal"] == "2 segments archived"
    assert did["prune"] == "8 events pruned"
    assert did["sign"].startswith("head 1 signs up to event ")
    assert not [state.problem for state in held.states() if state.problem]
    assert [event.data for event in events.list(type="system.info", order="asc")] == [{"n": n} for n in range(9)]
    assert events.verify().ok
    events.close()


def test_an_open_timmy_keeps_its_log_and_stops_with_it(home: Path) -> None:
    with open_timmy(home) as timmy:
        assert timmy.status().upkeep == ()
        timmy.start_schedule()
        timmy.start_schedule()
        assert [state.name for state in timmy.status().upkeep][:4] == ["text", "seal", "sign", "blobs"]
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"timmy-schedule", "timmy-text"}
