"""Who is asked, in which order, for how long, and what is said when nobody answers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from timmy_core.router.cascade import Limits
from timmy_core.router.chat import (
    Attempt,
    ChatRequest,
    Chunk,
    Completion,
    Delta,
    Done,
    ErrorClass,
    Switch,
    Usage,
)
from timmy_core.router.policy import Policy
from timmy_core.router.record import Origin
from timmy_core.testing import FakeClock, ScriptedProvider

from .house import ASK, Heard, cascade, done, down, parts_of, text_shown


async def test_the_lowest_priority_number_answers() -> None:
    second, first = ScriptedProvider("second", priority=2), ScriptedProvider("first", "hello", priority=1)
    answer = await cascade(second, first).chat(ASK)
    assert (answer.provider, answer.text, answer.offline) == ("first", "hello", False)
    assert second.requests == []


async def test_a_failure_is_answered_by_the_next_and_both_are_told() -> None:
    heard = Heard()
    house = cascade(ScriptedProvider("a", down()), ScriptedProvider("b", "fine", priority=2), recorder=heard)
    answer = await house.chat(ASK, origin=Origin("t1", session="s"))
    assert answer.provider == "b"
    assert [(a.provider, a.outcome, a.error_class) for a in answer.attempts] == [
        ("a", "failed", "server_error"),
        ("b", "completed", None),
    ]
    assert [(r.index, r.attempt.outcome, r.origin.trace_id) for r in heard.attempts] == [
        (0, "failed", "t1"),
        (1, "completed", "t1"),
    ]
    assert heard.unanswereds == []


async def test_usage_model_and_finish_reason_are_those_of_who_answered() -> None:
    whole = Completion("fine", "length", Usage(3, 4), "exact-name")
    answer = await cascade(ScriptedProvider("a", down()), ScriptedProvider("b", whole, priority=2)).chat(ASK)
    assert (answer.usage, answer.model, answer.finish_reason) == (Usage(3, 4), "exact-name", "length")


async def test_the_price_is_nothing_at_home_and_unknown_elsewhere() -> None:
    assert (await cascade(ScriptedProvider("a", free=True)).chat(ASK)).cost_microusd == 0
    assert (await cascade(ScriptedProvider("a", free=False)).chat(ASK)).cost_microusd is None


async def test_nobody_answers_so_the_offline_answer_does() -> None:
    heard = Heard()
    house = cascade(
        ScriptedProvider("a", down(ErrorClass.REFUSED)),
        ScriptedProvider("b", missing=("no key", "set it")),
        recorder=heard,
    )
    answer = await house.chat(ASK)
    assert (answer.offline, answer.provider, answer.text) == (True, "offline", "offline: 2 tried")
    assert answer.attempts[1] == Attempt(
        "b", "b-model", "skipped", error_class="not_configured", message="no key", advice="set it", cost_microusd=0
    )
    assert len(heard.unanswereds) == 1
    assert len(heard.attempts) == 1


async def test_without_any_provider_the_offline_answer_comes_at_once() -> None:
    assert (await cascade().chat(ASK)).offline
    parts = await parts_of(cascade())
    assert [type(part) for part in parts] == [Delta, Done]


async def test_five_failures_open_the_circuit_and_the_sick_one_is_left_alone() -> None:
    clock, heard = FakeClock(), Heard()
    sick = ScriptedProvider("sick", down())
    house = cascade(sick, ScriptedProvider("well", priority=2), clock=clock, recorder=heard)
    for _ in range(8):
        assert (await house.chat(ASK)).provider == "well"
    assert len(sick.requests) == 5
    assert heard.moves == [("sick", "open")]
    answer = await house.chat(ASK)
    assert (answer.attempts[0].outcome, answer.attempts[0].error_class) == ("skipped", "circuit_open")


async def test_one_first_failure_does_not_shut_a_provider_out() -> None:
    house = cascade(ScriptedProvider("a", down(), "back"), ScriptedProvider("b", priority=2))
    assert [(await house.chat(ASK)).provider for _ in range(2)] == ["b", "a"]


async def test_it_comes_back_after_a_minute_and_its_circuit_closes() -> None:
    clock, heard = FakeClock(), Heard()
    sick = ScriptedProvider("sick", *[down()] * 5, "well again")
    house = cascade(sick, ScriptedProvider("b", priority=2), clock=clock, recorder=heard)
    for _ in range(5):
        await house.chat(ASK)
    clock.advance(60)
    assert (await house.chat(ASK)).provider == "sick"
    assert heard.moves == [("sick", "open"), ("sick", "half_open")]
    assert (await house.chat(ASK)).provider == "sick"
    assert heard.moves[2:] == [("sick", "closed")]


async def test_of_forty_callers_at_the_moment_of_recovery_one_reaches_the_sick_provider() -> None:
    clock = FakeClock()
    sick = ScriptedProvider("sick", *[down()] * 5, ["slow", 0.02])
    house = cascade(sick, ScriptedProvider("b", priority=2), clock=clock)
    for _ in range(5):
        await house.chat(ASK)
    clock.advance(60)
    answers = await asyncio.gather(*(house.chat(ASK) for _ in range(40)))
    assert len(sick.requests) == 6
    assert sorted(answer.provider for answer in answers) == ["b"] * 39 + ["sick"]


@pytest.mark.parametrize(
    "kind",
    [ErrorClass.BAD_REQUEST, ErrorClass.CONTEXT_LENGTH, ErrorClass.LOADING],
)
async def test_a_fault_of_ours_fails_over_and_never_opens_the_circuit(kind: ErrorClass) -> None:
    wrong = ScriptedProvider("wrong", down(kind))
    house = cascade(wrong, ScriptedProvider("b", priority=2))
    for _ in range(12):
        assert (await house.chat(ASK)).provider == "b"
    assert len(wrong.requests) == 12


async def test_a_rate_limited_provider_is_asked_again_when_it_said_so() -> None:
    clock, heard = FakeClock(), Heard()
    busy = ScriptedProvider("busy", down(ErrorClass.RATE_LIMITED, 30), "again")
    house = cascade(busy, ScriptedProvider("b", priority=2), clock=clock, recorder=heard)
    assert (await house.chat(ASK)).provider == "b"
    answer = await house.chat(ASK)
    assert (answer.provider, answer.attempts[0].error_class) == ("b", "rate_limited")
    assert len(busy.requests) == 1
    clock.advance(30)
    assert (await house.chat(ASK)).provider == "busy"
    assert heard.moves == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_content_filter_stops_the_cascade_and_says_so(streamed: bool) -> None:
    other = ScriptedProvider("other", priority=2)
    house = cascade(ScriptedProvider("a", Chunk("", "content_filter")), other)
    answer = done(await parts_of(house)) if streamed else await house.chat(ASK)
    assert (answer.offline, answer.finish_reason) == (True, "content_filter")
    assert answer.attempts[-1].error_class == "content_filtered"
    assert other.requests == []


async def test_a_cancelled_caller_cancels_the_provider_and_counts_for_nothing() -> None:
    heard = Heard()
    slow = ScriptedProvider("slow", [5.0])
    house = cascade(slow, recorder=heard, limits=Limits(policy=Policy(failure_threshold=1)))
    task = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.cancelled == 1
    assert [r.attempt.outcome for r in heard.attempts] == ["cancelled"]
    assert house.snapshot("slow", "slow-model").failures == 0


async def test_a_cancelled_probe_lets_the_next_caller_probe() -> None:
    clock = FakeClock()
    sick = ScriptedProvider("sick", *[down()] * 5, [5.0], "well")
    house = cascade(sick, clock=clock)
    for _ in range(5):
        await house.chat(ASK)
    clock.advance(60)
    task = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await house.chat(ASK)).text == "well"


async def test_a_silent_provider_leaves_time_for_the_next() -> None:
    house = cascade(ScriptedProvider("silent", [5.0]), ScriptedProvider("b", priority=2))
    answer = await house.chat(ASK, deadline_s=3)
    assert (answer.provider, answer.attempts[0].error_class) == ("b", "timeout")
    assert answer.latency_ms < 3000


async def test_the_deadline_holds_for_all_together() -> None:
    silent = [ScriptedProvider(name, [60.0], priority=n) for n, name in enumerate("abc")]
    answer = await cascade(*silent).chat(ASK, deadline_s=1)
    assert answer.offline
    assert answer.latency_ms < 2900  # not one deadline for each
    assert {a.error_class for a in answer.attempts} <= {"timeout", "deadline_exceeded"}


async def test_an_impatient_caller_does_not_open_the_circuit_for_others() -> None:
    house = cascade(ScriptedProvider("slow", [1.0]), limits=Limits(policy=Policy(failure_threshold=1)))
    await house.chat(ASK, deadline_s=0.01)
    assert house.snapshot("slow", "slow-model").failures == 0


async def test_a_provider_that_had_its_time_and_kept_silent_has_failed() -> None:
    limits = Limits(deadline_s=0.02, first_token_s=0.02, policy=Policy(failure_threshold=1))
    house = cascade(ScriptedProvider("slow", [1.0]), limits=limits)
    await house.chat(ASK)
    assert house.snapshot("slow", "slow-model").circuit == "open"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("words", ["", "  \n"])
async def test_an_empty_answer_is_a_failure(streamed: bool, words: str) -> None:
    house = cascade(ScriptedProvider("mute", Chunk(words, "stop")), ScriptedProvider("b", "words", priority=2))
    answer = done(await parts_of(house)) if streamed else await house.chat(ASK)
    assert (answer.provider, answer.text, answer.attempts[0].error_class) == ("b", "words", "empty_answer")


async def test_a_stream_says_piece_by_piece_what_the_whole_answer_is() -> None:
    parts = await parts_of(cascade(ScriptedProvider("a", ["Hel", "lo"])))
    assert parts[:-1] == [Delta("Hel"), Delta("lo")]
    answer = done(parts)
    assert (answer.text, answer.usage.output_tokens) == ("Hello", 2)
    assert answer.attempts[0].first_token_ms is not None


async def test_before_the_first_token_a_failure_is_invisible() -> None:
    house = cascade(ScriptedProvider("a", down()), ScriptedProvider("b", ["Hi"], priority=2))
    parts = await parts_of(house)
    assert [type(part) for part in parts] == [Delta, Done]
    assert done(parts).provider == "b"


async def test_after_the_first_token_a_switch_says_that_the_answer_starts_again() -> None:
    house = cascade(ScriptedProvider("a", ["Hel", down()]), ScriptedProvider("b", ["Good", " day"], priority=2))
    parts = await parts_of(house)
    assert parts[:2] == [Delta("Hel"), Switch("a", "b", "it is server_error")]
    assert text_shown(parts) == done(parts).text == "Good day"


async def test_a_switch_names_who_really_goes_on() -> None:
    house = cascade(
        ScriptedProvider("a", ["Hel", down()]),
        ScriptedProvider("b", down(), priority=2),
        ScriptedProvider("c", ["Hi"], priority=3),
    )
    parts = await parts_of(house)
    assert [part for part in parts if isinstance(part, Switch)] == [Switch("a", "c", "it is server_error")]


async def test_a_stream_that_breaks_with_nobody_left_switches_to_the_offline_answer() -> None:
    parts = await parts_of(cascade(ScriptedProvider("a", ["Hel", down(ErrorClass.REFUSED)])))
    assert isinstance(parts[1], Switch)
    assert parts[1].to_provider == "offline"
    assert text_shown(parts) == done(parts).text == "offline: 1 tried"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_stream_without_a_finish_reason_was_cut(streamed: bool) -> None:
    house = cascade(ScriptedProvider("a", ["Hel", Chunk("lo")]), ScriptedProvider("b", "whole", priority=2))
    answer = done(await parts_of(house)) if streamed else await house.chat(ASK)
    assert (answer.text, answer.attempts[0].error_class) == ("whole", "stream_truncated")


async def test_a_first_token_that_does_not_come_in_time_is_a_timeout() -> None:
    house = cascade(ScriptedProvider("a", [5.0, "late"], first_token_s=0.02), ScriptedProvider("b", priority=2))
    answer = done(await parts_of(house))
    assert (answer.provider, answer.attempts[0].error_class) == ("b", "timeout")


async def test_a_provider_that_thinks_aloud_is_not_silent() -> None:
    thinking = ScriptedProvider("a", [Chunk(), 1.5, "wise"], first_token_s=1.0)
    assert done(await parts_of(cascade(thinking))).text == "wise"


async def test_a_dripping_stream_does_not_outlive_the_deadline() -> None:
    drip = ScriptedProvider("drip", [step for _ in range(100) for step in ("x", 0.1)])
    answer = done(await parts_of(cascade(drip), deadline_s=0.3))
    assert (answer.offline, answer.attempts[0].error_class) == (True, "timeout")
    assert answer.latency_ms < 5000


async def test_a_slow_reader_is_not_hit_by_the_providers_limits() -> None:
    house = cascade(ScriptedProvider("a", ["one", "two", "three"], first_token_s=1.0))
    async with aclosing(house.stream(ASK)) as stream:
        parts = []
        async for part in stream:
            await asyncio.sleep(0 if parts else 1.1)
            parts.append(part)
    assert done(parts).text == "onetwothree"


async def test_closing_a_stream_early_cancels_the_provider_and_counts_for_nothing() -> None:
    heard = Heard()
    house = cascade(ScriptedProvider("a", ["one", 5.0, "two"]), recorder=heard)
    async with aclosing(house.stream(ASK)) as stream:
        assert await anext(stream) == Delta("one")
    assert [r.attempt.outcome for r in heard.attempts] == ["cancelled"]
    assert house.snapshot("a", "a-model").failures == 0


async def test_a_bug_in_a_provider_reaches_the_caller_and_frees_its_permit() -> None:
    class Broken(ScriptedProvider):
        async def chat(self, request: ChatRequest) -> Completion:
            self.requests.append(request)
            message = "a bug"
            raise RuntimeError(message)

    heard, clock = Heard(), FakeClock()
    house = cascade(Broken("broken"), recorder=heard, clock=clock)
    with pytest.raises(RuntimeError, match="a bug"):
        await house.chat(ASK)
    assert [(r.attempt.outcome, r.attempt.message) for r in heard.attempts] == [
        ("failed", "the attempt broke with RuntimeError")
    ]


async def test_a_circuit_is_taken_up_again_where_it_was() -> None:
    clock = FakeClock()
    first = cascade(ScriptedProvider("a", down()), clock=clock)
    for _ in range(5):
        await first.chat(ASK)
    kept = {("a", "a-model"): first.snapshot("a", "a-model")}
    house = cascade(ScriptedProvider("a"), ScriptedProvider("b", priority=2), clock=clock, circuits=kept)
    assert (await house.chat(ASK)).provider == "b"
    clock.advance(60)
    assert (await house.chat(ASK)).provider == "a"


async def test_each_model_of_a_provider_has_its_own_circuit() -> None:
    both = ScriptedProvider("a", *[down()] * 5, "fine", models={"default": "big", "small": "little"})
    house = cascade(both)
    for _ in range(5):
        await house.chat(ASK)
    assert house.snapshot("a", "big").circuit == "open"
    answer = await house.chat(ASK, model="small")
    assert (answer.provider, answer.model) == ("a", "little")


async def test_a_model_is_asked_for_by_its_own_name_too_and_an_unknown_one_is_skipped() -> None:
    house = cascade(
        ScriptedProvider("a", models={"default": "big"}), ScriptedProvider("b", models={"default": "other"})
    )
    assert (await house.chat(ASK, model="other")).provider == "b"
    answer = await house.chat(ASK, model="nobody-has-it")
    assert {a.error_class for a in answer.attempts} == {"not_configured"}


async def test_wrong_messages_are_refused_before_anybody_is_asked() -> None:
    provider = ScriptedProvider("a")
    with pytest.raises(ValueError, match="at least one"):
        await cascade(provider).chat([])
    assert provider.requests == []
