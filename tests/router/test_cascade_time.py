"""How long each may take: the first token, the pieces after it, their pace, a whole answer, and all together."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from timmy_core.router.cascade import Limits
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass
from timmy_core.router.limits import Pace
from timmy_core.router.policy import Policy
from timmy_core.testing import FakeClock, ScriptedProvider

from .house import ASK, Heard, ask, cascade, classes, done, down, parts_of

ONE = Policy(failure_threshold=1, certain_threshold=1)


class Ticking(ScriptedProvider):
    """A pause is time that passes on the clock, and none that anybody waits for."""

    def __init__(self, name: str, clock: FakeClock, *script: Any, **more: Any) -> None:
        super().__init__(name, *script, **more)
        self._clock = clock

    async def _pause(self, seconds: float) -> None:
        self._clock.advance(seconds)
        await asyncio.sleep(0)


def spaced(pause_s: float, piece: str | Chunk, times: int) -> list[Any]:
    return [step for _ in range(times) for step in (piece, pause_s)]


async def test_a_stream_that_drips_has_failed_long_before_the_deadline() -> None:
    clock = FakeClock()
    drip = Ticking("drip", clock, ["begun ", *spaced(2, "x", 100)])
    house = cascade(drip, ScriptedProvider("b", "whole", priority=2), clock=clock, limits=Limits(deadline_s=600))
    began = clock.monotonic()
    answer = done(await parts_of(house))
    assert classes(answer) == [("drip", "failed", "timeout"), ("b", "completed", None)]
    assert 15 <= clock.monotonic() - began <= 20
    assert "min_chars_per_s" in answer.attempts[0].advice


@pytest.mark.parametrize(("pause_s", "piece"), [(0.5, "word "), (10, "twenty characters, ok"), (1, "x")])
async def test_a_stream_that_flows_however_unevenly_is_left_to_finish(pause_s: float, piece: str) -> None:
    clock = FakeClock()
    house = cascade(Ticking("a", clock, spaced(pause_s, piece, 40)), clock=clock, limits=Limits(deadline_s=900))
    assert done(await parts_of(house)).text == piece * 40


async def test_a_stream_that_flowed_and_then_drips_has_failed_too() -> None:
    clock = FakeClock()
    script = [*spaced(1, "a good long piece of text", 20), *spaced(3, "x", 30)]
    house = cascade(Ticking("a", clock, script), clock=clock, limits=Limits(deadline_s=900))
    answer = done(await parts_of(house))
    assert classes(answer) == [("a", "failed", "timeout")]


async def test_no_pace_is_asked_for_where_the_setting_is_zero() -> None:
    clock = FakeClock()
    limits = Limits(deadline_s=900, min_chars_per_s=0)
    house = cascade(Ticking("a", clock, spaced(8, "x", 20)), clock=clock, limits=limits)
    assert done(await parts_of(house)).text == "x" * 20


async def test_thinking_aloud_has_no_pace() -> None:
    clock = FakeClock()
    script = ["so ", *spaced(5, Chunk(), 20), "wise"]
    house = cascade(Ticking("a", clock, script), clock=clock, limits=Limits(deadline_s=900))
    assert done(await parts_of(house)).text == "so wise"


async def test_the_pace_is_that_of_the_provider_and_not_of_its_reader() -> None:
    clock = FakeClock()
    house = cascade(ScriptedProvider("a", ["x"] * 30), clock=clock, limits=Limits(deadline_s=9000))
    read = []
    async for part in house.stream(ASK):
        clock.advance(20)
        read.append(part)
    assert done(read).text == "x" * 30


def test_the_pace_forgets_what_lies_before_its_window() -> None:
    pace = Pace(1.0, 15.0)
    assert not any(pace.drips(1.0, 100) for _ in range(30))
    told = [pace.drips(1.0, 0) for _ in range(15)]
    assert told == [False] * 14 + [True]


def test_many_small_waits_add_up() -> None:
    pace = Pace(1.0, 15.0)
    assert not any(pace.drips(0.01, 1) for _ in range(5000))
    assert any(pace.drips(0.01, 0) for _ in range(1700))


async def test_a_stream_that_stalls_has_failed_and_its_circuit_knows() -> None:
    limits = Limits(between_tokens_s=0.03, policy=ONE)
    house = cascade(
        ScriptedProvider("a", ["Hel", 5.0, "lo"]), ScriptedProvider("b", "whole", priority=2), limits=limits
    )
    answer = done(await parts_of(house))
    assert classes(answer) == [("a", "failed", "timeout"), ("b", "completed", None)]
    assert "stalled" in answer.attempts[0].message
    assert house.snapshot("a", "a-model").circuit == "open"


async def test_a_stall_is_silence_and_a_thought_is_none() -> None:
    limits = Limits(between_tokens_s=0.3)
    thinking = ScriptedProvider("a", ["so", *spaced(0.08, Chunk(), 5), " wise"])
    assert done(await parts_of(cascade(thinking, limits=limits))).text == "so wise"


async def test_an_impatient_caller_does_not_make_a_stall_of_a_short_wait() -> None:
    house = cascade(ScriptedProvider("a", ["one", 5.0]), limits=Limits(policy=ONE))
    answer = done(await parts_of(house, deadline_s=0.03))
    assert classes(answer) == [("a", "failed", "timeout")]
    assert house.snapshot("a", "a-model").failures == 0


async def test_a_whole_answer_has_a_limit_of_its_own() -> None:
    limits = Limits(body_s=0.03, policy=ONE)
    house = cascade(ScriptedProvider("a", [5.0, "late"]), ScriptedProvider("b", priority=2), limits=limits)
    answer = await house.chat(ASK)
    assert classes(answer) == [("a", "failed", "timeout"), ("b", "completed", None)]
    assert "body_s" in answer.attempts[0].advice
    assert house.snapshot("a", "a-model").circuit == "open"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_silent_provider_gets_one_try(streamed: bool) -> None:
    silent = ScriptedProvider("a", [5.0], first_token_s=0.02)
    house = cascade(silent, limits=Limits(body_s=0.02, backoff_s=0.001))
    answer = await ask(house, streamed=streamed)
    assert answer.offline
    assert len(silent.requests) == 1


@pytest.mark.parametrize("kind", [ErrorClass.REFUSED, ErrorClass.TIMEOUT])
async def test_a_refused_port_and_a_silent_provider_open_the_circuit_at_the_second(kind: ErrorClass) -> None:
    sick = ScriptedProvider("sick", down(kind))
    heard = Heard()
    house = cascade(sick, ScriptedProvider("b", priority=2), recorder=heard)
    for _ in range(6):
        assert (await house.chat(ASK)).provider == "b"
    assert len(sick.requests) == 2
    assert heard.moves == [("sick", "open")]


async def test_a_refused_first_provider_costs_next_to_nothing_once_its_circuit_is_open() -> None:
    house = cascade(ScriptedProvider("sick", down(ErrorClass.REFUSED)), ScriptedProvider("b", priority=2))
    for _ in range(2):
        await house.chat(ASK)
    began = time.process_time()
    for _ in range(100):
        await house.chat(ASK)
    assert (time.process_time() - began) / 100 < 0.005


async def test_the_time_that_is_left_is_shared_by_those_who_are_ready() -> None:
    asked: list[ChatRequest] = []

    class Telling(ScriptedProvider):
        async def chat(self, request: ChatRequest) -> Completion:
            asked.append(request)
            raise down(ErrorClass.REFUSED)

    clock = FakeClock()
    missing = ScriptedProvider("x", missing=("no key", ""), priority=2)
    house = cascade(Telling("a"), missing, Telling("b", priority=3), Telling("c", priority=4), clock=clock)
    await house.chat(ASK, deadline_s=30)
    assert [request.timeout_s for request in asked] == pytest.approx([10, 15, 30])


async def test_a_stream_may_wait_for_its_first_token_no_longer_than_its_share() -> None:
    asked = ScriptedProvider("a", down(ErrorClass.REFUSED))
    house = cascade(asked, ScriptedProvider("b", priority=2))
    await parts_of(house, deadline_s=10)
    assert asked.requests[0].first_token_s == pytest.approx(5, rel=0.01)
    assert asked.requests[0].timeout_s == pytest.approx(10, rel=0.01)


async def test_a_slow_answer_counts_as_slow_where_that_is_configured() -> None:
    clock = FakeClock()
    slow = Ticking("a", clock, [3, "late"])
    house = cascade(slow, ScriptedProvider("b", priority=2), clock=clock, limits=Limits(slow_call_s=2))
    answers = [await house.chat(ASK) for _ in range(6)]
    assert [answer.provider for answer in answers] == ["a"] * 5 + ["b"]
    relaxed = cascade(Ticking("a", clock, [3, "late"]), clock=clock)
    assert [(await relaxed.chat(ASK)).provider for _ in range(8)] == ["a"] * 8
