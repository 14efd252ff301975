"""How many calls one provider has at once, who waits in which order, and who goes on to the next."""

from __future__ import annotations

import asyncio
import time

import pytest

from timmy_core.router.cascade import Limits
from timmy_core.router.chat import ChatRequest, Completion, ErrorClass, Usage
from timmy_core.router.slots import Slots
from timmy_core.testing import FakeClock, ScriptedProvider

from .house import ASK, ask, assert_at_rest, cascade, classes, down, parts_of

LIMITS = Limits(max_concurrency=1, max_waiting=2)


class Counting(ScriptedProvider):
    """Knows how many ask it at once, and in which order they came."""

    now = most = 0

    async def chat(self, request: ChatRequest) -> Completion:
        self.now += 1
        self.most = max(self.most, self.now)
        self.requests.append(request)
        try:
            await asyncio.sleep(0.01)
        finally:
            self.now -= 1
        return Completion("ok", "stop", Usage(1, 1), request.model)


@pytest.mark.parametrize(("own", "most"), [(None, 3), (2, 2)])
async def test_no_more_than_the_limit_ask_at_once(own: int | None, most: int) -> None:
    provider = Counting("a", max_concurrency=own)
    house = cascade(provider, limits=Limits(max_concurrency=3))
    answers = await asyncio.gather(*(house.chat(ASK) for _ in range(12)))
    assert all(answer.text == "ok" for answer in answers)
    assert provider.most == most
    assert_at_rest(house)


async def test_those_who_wait_are_served_in_the_order_in_which_they_came() -> None:
    provider = Counting("a")
    house = cascade(provider, limits=Limits(max_concurrency=1))
    await asyncio.gather(*(house.chat([{"role": "user", "content": str(n)}]) for n in range(8)))
    assert [request.messages[0].content for request in provider.requests] == [str(n) for n in range(8)]


@pytest.mark.parametrize("streamed", [False, True])
async def test_with_a_fallback_that_is_ready_nobody_waits_for_what_may_take_long(streamed: bool) -> None:
    house = cascade(ScriptedProvider("a", [2.0, "late"]), ScriptedProvider("b", priority=2), limits=LIMITS)
    first = asyncio.create_task(ask(house, streamed=streamed))
    await asyncio.sleep(0.01)
    began = time.monotonic()
    answer = await ask(house, streamed=streamed)
    assert classes(answer) == [("a", "skipped", "concurrency_full"), ("b", "completed", None)]
    assert time.monotonic() - began < 1.9
    assert (await first).provider == "a"
    assert_at_rest(house)


async def test_a_short_wait_is_better_than_a_fallback() -> None:
    provider = Counting("a")
    house = cascade(provider, ScriptedProvider("b", priority=2), limits=LIMITS)
    await house.chat(ASK)  # now it is known how long one takes
    answers = await asyncio.gather(*(house.chat(ASK) for _ in range(3)))
    assert [answer.provider for answer in answers] == ["a"] * 3


async def test_a_full_line_goes_on_to_the_fallback_and_without_one_says_so() -> None:
    provider = Counting("a")
    house = cascade(provider, ScriptedProvider("b", priority=2), limits=LIMITS)
    await house.chat(ASK)
    answers = await asyncio.gather(*(house.chat(ASK) for _ in range(5)))
    assert [answer.provider for answer in answers] == ["a"] * 3 + ["b"] * 2
    alone = cascade(Counting("a"), limits=LIMITS)
    answers = await asyncio.gather(*(alone.chat(ASK) for _ in range(5)))
    assert [answer.offline for answer in answers] == [False] * 3 + [True] * 2
    assert classes(answers[-1]) == [("a", "skipped", "concurrency_full")]
    assert "max_concurrency" in answers[-1].attempts[0].advice
    assert_at_rest(alone)


async def test_who_was_passed_over_as_busy_is_waited_for_when_the_fallback_fails() -> None:
    busy = ScriptedProvider("a", [1.5, "slow"], "then")
    house = cascade(busy, ScriptedProvider("b", down(ErrorClass.REFUSED), priority=2), limits=LIMITS)
    first = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.01)
    answer = await house.chat(ASK)
    assert classes(answer) == [("b", "failed", "connection_refused"), ("a", "completed", None)]
    await first


async def test_the_wait_ends_with_the_deadline() -> None:
    house = cascade(ScriptedProvider("a", [60.0]), limits=LIMITS)
    first = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.01)
    answer = await house.chat(ASK, deadline_s=0.03)
    assert classes(answer) == [("a", "skipped", "concurrency_full")]
    assert answer.latency_ms < 20_000
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert_at_rest(house)


async def test_a_caller_who_leaves_the_line_leaves_his_place_to_the_next() -> None:
    provider = Counting("a")
    house = cascade(provider, limits=LIMITS)
    calls = [asyncio.create_task(house.chat(ASK)) for _ in range(3)]
    await asyncio.sleep(0.005)
    assert house.standing()["a"].waiting == 2
    calls[1].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert len(provider.requests) == 2
    assert_at_rest(house)


async def test_a_stream_holds_its_slot_until_it_is_read_or_closed() -> None:
    house = cascade(ScriptedProvider("a", ["one", "two"]), limits=LIMITS)
    stream = house.stream(ASK)
    await anext(stream)
    assert house.standing()["a"].in_flight == 1
    await stream.aclose()
    assert_at_rest(house)
    await parts_of(house)
    assert_at_rest(house)


async def test_of_forty_who_waited_for_a_slot_one_reaches_a_provider_that_just_comes_back() -> None:
    """The slot comes before the permit: those who waited are not all let through by a circuit that admitted them."""
    clock = FakeClock()
    sick = ScriptedProvider("sick", *[down(ErrorClass.REFUSED)] * 2, [0.02, down(ErrorClass.REFUSED)])
    limits = Limits(max_concurrency=2, max_waiting=100)
    house = cascade(sick, ScriptedProvider("b", priority=2, max_concurrency=50), clock=clock, limits=limits)
    for _ in range(2):
        await house.chat(ASK)
    clock.advance(60)
    answers = await asyncio.gather(*(house.chat(ASK) for _ in range(40)))
    assert len(sick.requests) == 3
    assert [answer.provider for answer in answers] == ["b"] * 40
    assert_at_rest(house)


async def test_those_in_line_do_not_ask_a_provider_whose_circuit_opened_meanwhile() -> None:
    sick = ScriptedProvider("sick", [0.01, down(ErrorClass.REFUSED)])
    house = cascade(sick, limits=Limits(max_concurrency=1, max_waiting=100))
    answers = await asyncio.gather(*(house.chat(ASK) for _ in range(40)))
    assert len(sick.requests) == 2
    assert all(answer.offline for answer in answers)
    assert_at_rest(house)


async def test_a_slot_that_is_handed_over_to_one_who_is_just_leaving_is_not_lost() -> None:
    slots = Slots(1, 5)
    assert slots.take()
    leaving = asyncio.create_task(slots.wait(5))
    staying = asyncio.create_task(slots.wait(5))
    await asyncio.sleep(0)
    slots.give()  # hands the slot to the first in line, who is cancelled before it wakes up
    leaving.cancel()
    assert await staying
    slots.give()
    assert (slots.in_flight, slots.waiting) == (0, 0)


async def test_a_slot_that_comes_in_the_moment_in_which_time_runs_out_is_taken() -> None:
    slots = Slots(1, 5)
    assert slots.take()
    waiting = asyncio.create_task(slots.wait(0.01))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.01, slots.give)
    if await waiting:
        slots.give()
    await asyncio.sleep(0.02)
    assert (slots.in_flight, slots.waiting) == (0, 0)


async def test_a_larger_limit_lets_in_those_who_wait_and_a_smaller_one_throws_nobody_out() -> None:
    slots = Slots(1, 5)
    assert slots.take()
    waiting = [asyncio.create_task(slots.wait(5)) for _ in range(3)]
    await asyncio.sleep(0)
    slots.resize(3, 5)
    await asyncio.sleep(0)
    assert (slots.in_flight, slots.waiting) == (3, 1)
    slots.resize(1, 5)
    slots.give()
    slots.give()
    assert (slots.in_flight, slots.waiting) == (1, 1)
    slots.give()
    assert await asyncio.gather(*waiting) == [True] * 3


def test_the_expected_wait_grows_with_the_line_and_is_unknown_at_first() -> None:
    slots = Slots(2, 5)
    assert slots.expected_s() == 0
    assert slots.take()
    assert slots.take()
    assert slots.expected_s() == float("inf")
    slots.give(held_s=4)
    assert slots.take()
    assert slots.expected_s() == 2
