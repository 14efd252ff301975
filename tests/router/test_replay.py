"""What was recorded, replayed against today's policy and others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timmy_core.errors import ReplayError
from timmy_core.events.log import EventLog
from timmy_core.router.chat import ErrorClass
from timmy_core.router.recorded import Record, Tried, read_recording
from timmy_core.router.replay import Figures, Plan, Replayed, as_recorded, replay
from timmy_core.router.virtual import JumpingClock, run_jumping
from timmy_core.settings import RouterSettings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

from .replay_house import START, Weather, info, kept, lived, taped

FIRST = Weather("first", 0.4, down=((300.0, 900.0), (2000.0, 2030.0)))
SECOND = Weather("second", 1.2, down=((500.0, 560.0),))
BOTH = (FIRST, SECOND)


def arrivals(count: int, mean_s: float, seed: int = 0) -> list[float]:
    chance = Random(seed)  # noqa: S311 - for a simulation
    return list(accumulate(chance.expovariate(1 / mean_s) for _ in range(count)))


def tried(at_s: float, *, latency_s: float = 1.0, outcome: str = "completed", kind: str | None = None) -> Tried:
    return Tried(at_s, "p", "m", outcome, kind, "", "cascade", False, latency_s, None, 10, 5, None, 0)


def today(weathers: tuple[Weather, ...] = BOTH, **numbers: object) -> Plan:
    return Plan(tuple(one.name for one in weathers), RouterSettings.model_validate(numbers))


def played(plan: Plan, weathers: tuple[Weather, ...] = BOTH, *, streamed: bool = False, count: int = 400) -> Replayed:
    recording = taped(lived(weathers, arrivals(count, 6.0), streamed=streamed))
    return replay(recording, plan, [info(one) for one in weathers])


# Time that jumps ---------------------------------------------------------------------------------------------


def test_hours_of_waiting_pass_at_once_and_in_order() -> None:
    clock, heard = JumpingClock(START), list[tuple[str, float]]()

    async def one(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        heard.append((name, clock.monotonic()))

    async def main() -> None:
        await asyncio.gather(one("late", 7200.0), one("soon", 3600.0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()

    run_jumping(clock, main())
    assert [(name, round(at)) for name, at in heard] == [("soon", 3600), ("late", 7200)]
    assert clock.now() == START + timedelta(seconds=clock.monotonic())
    assert round(clock.monotonic()) == 7260


def test_waiting_for_what_never_comes_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(ReplayError, match="never comes"):
        run_jumping(JumpingClock(), asyncio.Event().wait())


# Today's policy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_todays_own_policy_gives_exactly_what_was_recorded(streamed: bool) -> None:
    recording = taped(lived(BOTH, arrivals(400, 6.0), streamed=streamed))
    again = replay(recording, today(), [info(one) for one in BOTH])
    then = as_recorded(recording)
    assert again.figures.drawn == 0
    assert [fate.provider for fate in again.fates] == [fate.provider for fate in then.fates]
    for one, other in zip(again.fates, then.fates, strict=True):
        assert one.at_s == pytest.approx(other.at_s, abs=1e-3)
        assert one.latency_s == pytest.approx(other.latency_s, abs=0.02)
    assert again.figures.by_provider.keys() == {"first", "second"}
    assert again.opened >= 2


@settings(max_examples=15)
@given(
    down=st.lists(st.tuples(st.floats(0, 900), st.floats(1, 400)), max_size=3),
    kind=st.sampled_from([ErrorClass.SERVER, ErrorClass.REFUSED, ErrorClass.TIMEOUT]),
    mean_s=st.floats(0.5, 20),
)
def test_it_does_so_in_every_weather(down: list[tuple[float, float]], kind: ErrorClass, mean_s: float) -> None:
    weathers = (Weather("first", 0.4, [(begin, begin + length) for begin, length in down], kind), SECOND)
    recording = taped(lived(weathers, arrivals(120, mean_s)))
    again = replay(recording, today(weathers), [info(one) for one in weathers])
    then = as_recorded(recording)
    # By a hair another order of two moments is possible, and then one request may fare differently.
    assert again.figures.answered == pytest.approx(then.figures.answered, abs=2)
    assert again.figures.drawn <= 4


# Other policies ----------------------------------------------------------------------------------------------


def test_another_order_is_answered_by_who_is_first_then_and_draws_what_was_not_tried() -> None:
    turned = played(today((SECOND, FIRST)))
    assert turned.figures.by_provider["second"] > turned.figures.by_provider.get("first", 0)
    assert turned.figures.drawn > 0
    assert turned.figures.availability is not None
    assert turned.figures.availability > 0.97


def test_one_provider_alone_is_as_available_as_it_was() -> None:
    alone = played(Plan(("first",)))
    # It was down for 630 of 2,400 seconds.
    assert alone.figures.availability == pytest.approx(1 - 630 / 2400, abs=0.08)
    assert alone.figures.by_provider.keys() == {"first"}


def test_a_shorter_deadline_ends_what_took_longer() -> None:
    slow = (Weather("slow", 5.0),)
    assert played(today(slow), slow, count=60).figures.availability == 1.0
    hasty = played(today(slow, deadline_s=3.0, body_s=3.0), slow, count=60)
    assert hasty.figures.availability is not None
    assert hasty.figures.availability < 0.3


def test_a_breaker_that_opens_late_costs_callers_time() -> None:
    silent = (Weather("silent", 0.3, ((60.0, 1200.0),), ErrorClass.TIMEOUT), SECOND)
    prompt = played(today(silent), silent)
    assert prompt.figures.p95_ms is not None
    patient = played(today(silent, reset_timeout_s=1.0, max_reset_s=1.0), silent)
    assert patient.figures.p95_ms is not None
    assert patient.figures.p95_ms > prompt.figures.p95_ms


def test_the_same_seed_gives_the_same_and_another_one_other_luck() -> None:
    recording = taped(lived(BOTH, arrivals(200, 6.0)))
    infos, plan = [info(one) for one in BOTH], today((SECOND, FIRST))
    assert replay(recording, plan, infos).fates == replay(recording, plan, infos).fates
    assert replay(recording, plan, infos, seed=1).fates != replay(recording, plan, infos).fates


def test_of_whom_nothing_is_recorded_is_not_asked_and_is_named() -> None:
    recording = taped(lived((FIRST,), arrivals(50, 6.0)))
    found = replay(recording, Plan(("second", "first")), [info(one) for one in BOTH])
    assert found.unknown == ("second",)
    assert found.figures.by_provider.keys() == {"first"}


def test_what_is_asked_more_than_then_costs_more() -> None:
    paid = (Weather("first", down=((0.0, 1e9),)), Weather("second", local=False))
    recording = taped(lived(paid, arrivals(50, 6.0)))
    infos = [info(one) for one in paid]
    found = replay(recording, today(paid), infos, cost=lambda door, _, usage: 0 if door.free else usage.output_tokens)
    assert found.figures.cost_microusd == 50 * found.figures.by_provider["second"]
    assert found.figures.unpriced == 0


@pytest.mark.parametrize("order", [(), ("nobody",), ("first", "first")])
def test_a_plan_that_asks_nobody_or_somebody_unknown_is_refused(order: tuple[str, ...]) -> None:
    recording = taped(lived((FIRST,), arrivals(3, 6.0)))
    with pytest.raises(ReplayError, match=r"asks nobody|unknown or there twice"):
        replay(recording, Plan(order), [info(FIRST)])


def test_it_ends_when_it_takes_too_long() -> None:
    recording = taped(lived((FIRST,), arrivals(3, 6.0)))
    with pytest.raises(ReplayError, match="choose a shorter time"):
        replay(recording, Plan(("first",)), [info(FIRST)], patience_s=-1)


def test_it_runs_where_a_loop_runs_already() -> None:
    recording = taped(lived((FIRST,), arrivals(3, 6.0)))

    async def cell() -> Replayed:
        return replay(recording, Plan(("first",)), [info(FIRST)])

    assert asyncio.run(cell()).figures.requests == 3


# Drawing -----------------------------------------------------------------------------------------------------


def test_what_is_near_is_drawn_more_often_than_what_is_far() -> None:
    record = Record([tried(0.0, latency_s=1.0), tried(3600.0, latency_s=9.0)])
    chance = Random(0)  # noqa: S311 - for a simulation
    drawn = [record.near(10.0, chance) for _ in range(500)]
    assert sum(one is not None and one.latency_s == 1.0 for one in drawn) > 470


def test_what_was_about_the_question_is_never_drawn() -> None:
    assert not tried(0.0, outcome="failed", kind="content_filtered").telling
    assert not tried(0.0, outcome="cancelled", kind="hedge_lost").telling
    assert tried(0.0, outcome="failed", kind="server_error").telling


def test_without_requests_there_are_no_figures() -> None:
    figures = Figures.of(())
    assert (figures.requests, figures.availability, figures.p50_ms) == (0, None, None)


# Reading -----------------------------------------------------------------------------------------------------


def test_what_the_recorder_wrote_is_read_back_as_it_happened(store: Store) -> None:
    tape = lived(BOTH, arrivals(80, 6.0))
    kept(tape, store)
    read = read_recording(store, EventLog(store, FakeClock()), since=START, until=START + timedelta(hours=1))
    expected = taped(tape)
    assert [asked.trace_id for asked in read.requests] == [asked.trace_id for asked in expected.requests]
    assert [len(asked.tries) for asked in read.requests] == [len(asked.tries) for asked in expected.requests]
    for one, other in zip(read.requests, expected.requests, strict=True):
        assert one.at_s == pytest.approx(other.at_s, abs=1e-4)
        assert one.answered == other.answered
    assert read.complete
    assert read.records.keys() == expected.records.keys()


def test_requests_for_which_nobody_could_be_asked_count_too(store: Store) -> None:
    # After two refusals the circuit is open; an early probe a second comes to those in between.
    dead = (Weather("dead", down=((0.0, 1e9),), kind=ErrorClass.REFUSED),)
    tape = lived(dead, [float(number) / 4 for number in range(40)])
    kept(tape, store)
    read = read_recording(store, EventLog(store, FakeClock()), since=START, until=START + timedelta(hours=1))
    assert len(read.requests) == 40
    assert any(not asked.tries for asked in read.requests)


def test_only_the_newest_are_read_where_there_are_too_many(store: Store) -> None:
    kept(lived((FIRST,), arrivals(30, 6.0)), store)
    log = EventLog(store, FakeClock())
    read = read_recording(store, log, since=START, until=START + timedelta(hours=1), limit=10)
    assert len(read.requests) == 10
    assert not read.complete
    with pytest.raises(ReplayError, match="exchange them"):
        read_recording(store, log, since=START, until=START)


def test_without_a_price_tokens_cost_what_they_did_on_average_then() -> None:
    record = Record([tried(0.0)])
    assert record.cost(100) == 0
    priced = Tried(0.0, "p", "m", "completed", None, "", "cascade", False, 1.0, None, 10, 5, None, 30)
    assert Record([priced]).cost(100) == 200
    assert Record([]).cost(100) is None


def test_what_a_caller_wanted_of_one_provider_alone_is_replayed_and_lost_where_that_one_goes(store: Store) -> None:
    tape = lived(BOTH, arrivals(40, 6.0), only="second")
    kept(tape, store)
    log = EventLog(store, FakeClock())
    recording = read_recording(store, log, since=START, until=START + timedelta(hours=1))
    assert {asked.only for asked in recording.requests} == {"second"}
    infos = [info(one) for one in BOTH]
    assert replay(recording, today(), infos).figures.by_provider == {"second": 40}
    assert replay(recording, Plan(("first",)), infos).figures.answered == 0


def test_what_had_to_stay_on_this_machine_stays_there(store: Store) -> None:
    pair = (Weather("near", 2.0), Weather("far", 0.2, local=False))
    kept(lived(pair, arrivals(20, 6.0), local_only=True), store)
    log = EventLog(store, FakeClock())
    recording = read_recording(store, log, since=START, until=START + timedelta(hours=1))
    turned = replay(recording, Plan(("far", "near")), [info(one) for one in pair])
    assert turned.figures.by_provider == {"near": 20}
