"""Who may be asked, and why somebody may not: bars, windows, locality, names, and open circuits when nobody is left."""

from __future__ import annotations

import asyncio

import pytest

from timmy_core.router.cascade import Limits
from timmy_core.router.chat import Chunk, ErrorClass
from timmy_core.testing import FakeClock, ScriptedProvider

from .house import ASK, Heard, ask, assert_at_rest, cascade, classes, down

LONG = [{"role": "user", "content": "word " * 4000}]  # at least 1,600 tokens whoever counts


@pytest.mark.parametrize("kind", [ErrorClass.AUTH, ErrorClass.MODEL_NOT_FOUND])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_fault_of_ours_is_shown_again_without_asking_again(kind: ErrorClass, streamed: bool) -> None:
    wrong = ScriptedProvider("wrong", down(kind), "mended")
    heard = Heard()
    house = cascade(wrong, ScriptedProvider("b", priority=2), recorder=heard)
    for _ in range(12):
        assert (await ask(house, streamed=streamed)).provider == "b"
    answer = await ask(house, streamed=streamed)
    skipped = answer.attempts[0]
    assert (skipped.outcome, skipped.error_class) == ("skipped", kind)
    assert (skipped.message, skipped.advice, skipped.cost_microusd) == (f"it is {kind}", "mend it", 0)
    assert len(wrong.requests) == 1
    assert heard.moves == []
    assert house.standing()["wrong"].bar == (kind, f"it is {kind}")


async def test_a_wrong_key_bars_every_model_and_a_missing_model_only_itself() -> None:
    models = {"default": "big", "small": "little"}
    locked = ScriptedProvider("locked", down(ErrorClass.AUTH), models=models)
    without = ScriptedProvider("without", down(ErrorClass.MODEL_NOT_FOUND), "here", models=models, priority=2)
    house = cascade(locked, without, ScriptedProvider("last", models=models, priority=3))
    assert (await house.chat(ASK)).provider == "last"
    answer = await house.chat(ASK, model="small")
    assert classes(answer) == [("locked", "skipped", "authentication_failed"), ("without", "completed", None)]


async def test_a_good_health_check_clears_the_bar() -> None:
    wrong = ScriptedProvider("a", down(ErrorClass.AUTH), "mended")
    house = cascade(wrong, ScriptedProvider("b", priority=2))
    await house.chat(ASK)
    house.clear_bar("a")
    assert (await house.chat(ASK)).provider == "a"
    assert house.standing()["a"].bar is None


async def test_a_changed_table_clears_the_bar_and_an_unchanged_one_does_not() -> None:
    wrong, locked = ScriptedProvider("a", down(ErrorClass.AUTH)), ScriptedProvider("l", down(ErrorClass.AUTH))
    house = cascade(wrong, locked, ScriptedProvider("b", priority=2))
    await house.chat(ASK)
    house.replace([ScriptedProvider("a", "new key"), locked, ScriptedProvider("b", priority=2)], Limits())
    assert house.standing()["l"].bar is not None
    assert (await house.chat(ASK)).text == "new key"


async def test_a_late_refusal_of_the_old_key_does_not_bar_the_new_one() -> None:
    old = ScriptedProvider("a", [0.02, down(ErrorClass.AUTH)])
    house = cascade(old, ScriptedProvider("b", priority=2))
    asked = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0)
    house.replace([ScriptedProvider("a", "new key"), ScriptedProvider("b", priority=2)], Limits())
    assert (await asked).provider == "b"
    assert (await house.chat(ASK)).text == "new key"


@pytest.mark.parametrize("streamed", [False, True])
async def test_too_long_a_question_goes_on_to_a_larger_window_only(streamed: bool) -> None:
    small = ScriptedProvider("small", down(ErrorClass.CONTEXT_LENGTH), window=8_000)
    equal = ScriptedProvider("equal", window=8_000, priority=2)
    unknown = ScriptedProvider("unknown", down(ErrorClass.REFUSED), priority=3)
    large = ScriptedProvider("large", "fits", window=100_000, priority=4)
    answer = await ask(cascade(small, equal, unknown, large), streamed=streamed)
    assert classes(answer) == [
        ("small", "failed", "context_length_exceeded"),
        ("equal", "skipped", "context_length_exceeded"),
        ("unknown", "failed", "connection_refused"),
        ("large", "completed", None),
    ]


async def test_an_unknown_window_that_was_too_small_says_nothing_about_the_others() -> None:
    house = cascade(
        ScriptedProvider("a", down(ErrorClass.CONTEXT_LENGTH)), ScriptedProvider("b", window=500, priority=2)
    )
    assert (await house.chat(ASK)).provider == "b"


async def test_what_surely_does_not_fit_is_not_sent() -> None:
    small, large = ScriptedProvider("small", window=1000), ScriptedProvider("large", window=100_000, priority=2)
    house = cascade(small, large)
    answer = await house.chat(LONG)
    assert classes(answer) == [("small", "skipped", "context_length_exceeded"), ("large", "completed", None)]
    assert "1,000" in answer.attempts[0].message
    assert small.requests == []
    assert (await house.chat(ASK)).provider == "small"


async def test_room_for_the_answer_counts_too() -> None:
    small, large = ScriptedProvider("small", window=1000), ScriptedProvider("large", window=100_000, priority=2)
    assert (await cascade(small, large).chat(ASK, max_tokens=1100)).provider == "large"
    assert (await cascade(small, large).chat(ASK, max_tokens=900)).provider == "small"


@pytest.mark.parametrize("streamed", [False, True])
async def test_nothing_leaves_this_machine_where_that_was_asked_for(streamed: bool) -> None:
    far, near = ScriptedProvider("far", local=False), ScriptedProvider("near", down(), local=True, priority=2)
    other = ScriptedProvider("other", local=False, priority=3)
    house = cascade(far, near, other, limits=Limits(backoff_s=0.001))
    answer = await ask(house, streamed=streamed, local_only=True)
    assert answer.offline
    assert {(a.provider, a.error_class) for a in answer.attempts} == {
        ("far", "not_local"),
        ("near", "server_error"),
        ("other", "not_local"),
    }
    assert far.requests == other.requests == []


async def test_local_only_holds_when_every_circuit_is_open() -> None:
    far, near = (
        ScriptedProvider("far", down(ErrorClass.REFUSED), local=False),
        ScriptedProvider("near", down(), priority=2),
    )
    house = cascade(far, near, limits=Limits(backoff_s=0.001))
    for _ in range(6):
        await house.chat(ASK)
    asked = len(far.requests)
    await house.chat(ASK, local_only=True)
    assert len(far.requests) == asked


async def test_one_provider_can_be_asked_for_by_name_and_no_other_is() -> None:
    first, second = ScriptedProvider("first"), ScriptedProvider("second", down(ErrorClass.REFUSED), priority=2)
    answer = await cascade(first, second).chat(ASK, provider="second")
    assert (answer.offline, classes(answer)) == (True, [("second", "failed", "connection_refused")])
    assert first.requests == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_unknown_name_is_refused_with_those_there_are(streamed: bool) -> None:
    house = cascade(ScriptedProvider("first"), ScriptedProvider("second"))
    with pytest.raises(ValueError, match="no provider is named 'third'; expected one of: first, second"):
        await ask(house, streamed=streamed, provider="third")


async def test_all_options_reach_the_provider() -> None:
    provider = ScriptedProvider("a")
    schema = {"type": "object"}
    tool = {"name": "look", "description": "look it up", "parameters": {}}
    await cascade(provider).chat(
        ASK, max_tokens=7, temperature=0.5, tools=[tool], tool_choice="look", json_schema=schema, deadline_s=9
    )
    request = provider.requests[0]
    assert (request.max_tokens, request.temperature, request.tool_choice) == (7, 0.5, "look")
    assert (request.tools[0].name, request.json_mode, request.json_schema) == ("look", True, schema)
    assert request.timeout_s == pytest.approx(9, rel=0.1)


async def test_when_all_circuits_are_open_the_next_due_is_tried_before_its_time() -> None:
    clock = FakeClock()
    first = ScriptedProvider("first", *[down(ErrorClass.REFUSED)] * 2, "back")
    second = ScriptedProvider("second", *[down(ErrorClass.REFUSED)] * 3, "back too", priority=2)
    house = cascade(first, second, clock=clock)
    for _ in range(2):
        await house.chat(ASK)
        clock.advance(0.1)
    assert {house.snapshot(n, f"{n}-model").circuit for n in ("first", "second")} == {"open"}
    answer = await house.chat(ASK)
    assert answer.offline
    assert [a.error_class for a in answer.attempts] == ["circuit_open", "circuit_open"]
    clock.advance(1.0)
    answer = await house.chat(ASK)
    assert (answer.provider, len(answer.attempts)) == ("first", 2)
    assert classes(answer) == [("second", "skipped", "circuit_open"), ("first", "completed", None)]


async def test_the_one_due_next_need_not_be_the_one_that_is_well() -> None:
    clock = FakeClock()
    first = ScriptedProvider("first", down(ErrorClass.REFUSED))
    second = ScriptedProvider("second", *[down(ErrorClass.REFUSED)] * 2, "back", priority=2)
    house = cascade(first, second, clock=clock)
    for _ in range(2):
        await house.chat(ASK)
    clock.advance(1.0)
    assert (await house.chat(ASK)).provider == "second"


async def test_an_outage_of_the_only_provider_costs_a_probe_a_second_and_ends_with_it() -> None:
    clock = FakeClock()
    only = ScriptedProvider("only", down(ErrorClass.REFUSED))
    house = cascade(only, clock=clock)
    for _ in range(60):
        assert (await house.chat(ASK)).offline
        clock.advance(0.1)
    assert len(only.requests) <= 8
    only.then("back")
    back = []
    for _ in range(11):
        back.append((await house.chat(ASK)).provider)
        clock.advance(0.1)
    assert "only" in back


async def test_a_circuit_is_not_tried_early_while_somebody_else_answers() -> None:
    clock = FakeClock()
    sick = ScriptedProvider("sick", down(ErrorClass.REFUSED))
    house = cascade(sick, ScriptedProvider("b", priority=2), clock=clock)
    for _ in range(50):
        assert (await house.chat(ASK)).provider == "b"
        clock.advance(1.0)
    assert len(sick.requests) == 2


async def test_forty_callers_without_anybody_else_send_one_probe_to_one_that_is_still_sick() -> None:
    clock = FakeClock()
    only = ScriptedProvider("only", *[down(ErrorClass.REFUSED)] * 2, [0.02, down(ErrorClass.REFUSED)])
    house = cascade(only, clock=clock)
    for _ in range(2):
        await house.chat(ASK)
    clock.advance(1.0)
    answers = await asyncio.gather(*(house.chat(ASK) for _ in range(40)))
    assert len(only.requests) == 3
    assert all(answer.offline for answer in answers)
    assert_at_rest(house)


async def test_a_content_filter_stops_early_tries_and_retries_too() -> None:
    clock = FakeClock()
    sick = ScriptedProvider("sick", *[down(ErrorClass.REFUSED)] * 2, "back")
    filtered = ScriptedProvider("b", "fine", "fine", Chunk("", "content_filter"), priority=2)
    house = cascade(sick, filtered, clock=clock)
    for _ in range(2):
        await house.chat(ASK)
    clock.advance(1.0)
    answer = await house.chat(ASK)
    assert (answer.offline, answer.finish_reason) == (True, "content_filter")
    assert len(sick.requests) == 2
