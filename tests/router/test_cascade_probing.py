"""Who has nobody left to ask but a provider that another request is probing waits for what becomes of that."""

from __future__ import annotations

import asyncio
import time

import pytest

from timmy_core.clock import SystemClock
from timmy_core.errors import ProviderError
from timmy_core.router.cascade import Cascade, Limits
from timmy_core.router.chat import Answer, ChatRequest, Completion, ErrorClass, Usage
from timmy_core.router.news import News
from timmy_core.router.policy import Policy
from timmy_core.testing import FakeClock, ScriptedProvider

from .house import ASK, Heard, ask, assert_at_rest, cascade, classes, down, parts_of

CALLERS = 40
PAUSE_S = 0.6
SLOW_S = 3 * PAUSE_S

both = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


class Door(ScriptedProvider):
    """One that is sick until somebody makes it well; knows who came while it was sick, and how many at once."""

    def __init__(self, name: str = "only", *, takes_s: float = 0.02, priority: int = 1) -> None:
        super().__init__(name, priority=priority)
        self.takes_s = takes_s
        self.fault: ErrorClass | None = ErrorClass.REFUSED
        self.served: list[str] = []
        self.now = self.most = self.while_sick = 0

    async def chat(self, request: ChatRequest) -> Completion:
        fault = self.fault
        self.now += 1
        self.most = max(self.most, self.now)
        self.while_sick += fault is not None
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.now -= 1
        if fault is not None:
            raise ProviderError(fault, "it is down")
        self.served.append(request.messages[-1].content)
        return Completion("well", "stop", Usage(1, 1), request.model)


async def opened(*doors: ScriptedProvider, clock: FakeClock | None = None) -> Cascade:
    """Return a cascade whose circuits are open, and due for an early probe."""
    policy = Policy(early_probe_s=PAUSE_S)
    house = cascade(*doors, clock=clock or SystemClock(), limits=Limits(backoff_s=0.001, policy=policy))
    for _ in range(2):
        assert (await house.chat(ASK)).offline
    if clock is None:
        await asyncio.sleep(PAUSE_S)
    else:
        clock.advance(PAUSE_S)
    for door in doors:
        assert house.snapshot(door.name, door.default_model).circuit == "open"
        if isinstance(door, Door):
            door.now = door.most = door.while_sick = 0
    return house


async def numbered(house: Cascade, callers: int = CALLERS) -> list[Answer]:
    """Let many ask at once; each says which one it is."""
    return await asyncio.gather(*(house.chat([{"role": "user", "content": str(n)}]) for n in range(callers)))


async def test_forty_callers_at_the_moment_of_recovery_are_all_answered_in_the_order_in_which_they_came() -> None:
    only = Door()
    house = await opened(only, clock=FakeClock())
    only.fault = None
    answers = await numbered(house)
    assert [answer.provider for answer in answers] == ["only"] * CALLERS
    assert only.served == [str(n) for n in range(CALLERS)]
    assert house.snapshot("only", only.default_model).circuit == "closed"
    assert_at_rest(house)


async def test_until_two_have_succeeded_they_come_one_at_a_time() -> None:
    clock, only = FakeClock(), Door()
    house = await opened(only, clock=clock)
    only.fault = None
    calls = asyncio.create_task(numbered(house))
    while len(only.served) < 2:
        assert only.now <= 1
        await asyncio.sleep(0.001)
    await calls
    assert only.most > 1  # and then side by side


@both
async def test_a_stream_waits_like_a_whole_answer_and_nothing_tells_that_it_was_passed_over(streamed: bool) -> None:
    clock = FakeClock()
    only = ScriptedProvider("only", *[down(ErrorClass.REFUSED)] * 2, [0.02, "back"], [0.02, "back"], "back")
    house = await opened(only, clock=clock)
    answers = await asyncio.gather(*(ask(house, streamed=streamed) for _ in range(CALLERS)))
    assert {tuple(classes(answer)) for answer in answers} == {(("only", "completed", None),)}
    assert_at_rest(house)


async def test_one_reaches_a_sick_provider_and_its_failure_is_told_to_all_who_waited() -> None:
    only = Door()
    house = await opened(only, clock=FakeClock())
    answers = await numbered(house)
    assert (only.while_sick, only.most) == (1, 1)
    assert all(answer.offline for answer in answers)
    assert sorted(classes(answer)[0][1] for answer in answers) == ["failed"] + ["skipped"] * (CALLERS - 1)
    assert_at_rest(house)


async def test_a_quick_failure_is_not_waited_out() -> None:
    only = Door(takes_s=PAUSE_S / 4)
    house = await opened(only)
    began = time.monotonic()
    assert all(answer.offline for answer in await numbered(house))
    assert only.while_sick == 1
    assert time.monotonic() - began < PAUSE_S


async def test_a_slow_failure_is_old_news_so_the_next_probe_is_waited_for_once() -> None:
    only = Door()
    house = await opened(only)
    only.takes_s = SLOW_S
    answers = await numbered(house)
    assert (only.while_sick, only.most) == (2, 1)
    assert all(answer.offline for answer in answers)
    assert_at_rest(house)


async def test_who_waited_for_a_silent_probe_is_answered_by_a_provider_that_recovered_meanwhile() -> None:
    only = Door()
    house = await opened(only)
    only.takes_s = SLOW_S
    calls = asyncio.create_task(numbered(house))
    await asyncio.sleep(SLOW_S / 2)
    only.fault, only.takes_s = None, 0.01
    answers = await calls
    assert only.while_sick == 1
    assert sum(answer.offline for answer in answers) == 1  # the one that was silenced
    assert_at_rest(house)


async def test_whoever_is_under_a_probe_is_waited_for_after_all_others_and_the_first_that_is_well_answers() -> None:
    silent, quick = Door("silent"), Door("quick", priority=2)
    house = await opened(silent, quick)
    silent.takes_s = SLOW_S
    quick.fault = None
    first = asyncio.create_task(house.chat(ASK, provider="silent"))
    second = asyncio.create_task(house.chat(ASK, provider="quick"))
    await asyncio.sleep(0.01)
    began = time.monotonic()
    answer = await house.chat(ASK)
    assert answer.provider == "quick"
    assert time.monotonic() - began < SLOW_S
    await asyncio.gather(first, second)
    assert_at_rest(house)


async def test_nobody_waits_while_somebody_else_answers() -> None:
    only = Door()
    spare = ScriptedProvider("spare", *[down(ErrorClass.REFUSED)] * 2, "fine", priority=2)
    house = await opened(only, spare)
    only.takes_s = SLOW_S
    house.close_by_hand("spare")
    probing = asyncio.create_task(house.chat(ASK, provider="only"))
    await asyncio.sleep(0.01)
    began = time.monotonic()
    answer = await house.chat(ASK)
    assert classes(answer) == [("only", "skipped", "circuit_open"), ("spare", "completed", None)]
    assert time.monotonic() - began < SLOW_S / 2
    await probing


@both
async def test_a_wait_takes_no_more_than_half_of_the_time_that_is_left(streamed: bool) -> None:
    only = ScriptedProvider("only", *[down(ErrorClass.REFUSED)] * 2, [60.0])
    house = await opened(only)
    probing = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.01)
    began = time.monotonic()
    answer = await ask(house, streamed=streamed, deadline_s=3)
    assert 1.4 < time.monotonic() - began < 2.9
    assert classes(answer) == [("only", "skipped", "circuit_open")]
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)
    assert_at_rest(house)


async def test_those_who_leave_while_they_wait_leave_nothing_behind_and_the_others_are_served_in_order() -> None:
    only = Door()
    house = await opened(only, clock=FakeClock())
    only.fault = None
    calls = [asyncio.create_task(house.chat([{"role": "user", "content": str(n)}])) for n in range(CALLERS)]
    await asyncio.sleep(0.01)
    assert house._seats.news.waiting == CALLERS - 1
    for n in range(1, CALLERS, 2):
        calls[n].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert only.served == [str(n) for n in range(0, CALLERS, 2)]
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[1::2])
    assert_at_rest(house)


async def test_a_probe_whose_caller_leaves_is_made_by_the_next() -> None:
    only = Door(takes_s=PAUSE_S / 2)
    house = await opened(only)
    only.fault = None
    calls = [asyncio.create_task(house.chat(ASK)) for _ in range(CALLERS)]
    await asyncio.sleep(0.01)
    calls[0].cancel()
    answers = await asyncio.gather(*calls[1:])
    assert [answer.provider for answer in answers] == ["only"] * (CALLERS - 1)
    assert_at_rest(house)


async def test_a_stream_that_is_closed_while_it_waits_leaves_nothing_behind() -> None:
    only = Door()
    house = await opened(only)
    only.takes_s = 5
    probing = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(parts_of(house))
    await asyncio.sleep(0.01)
    assert house._seats.news.waiting == 1
    for task in (waiting, probing):
        task.cancel()
    await asyncio.gather(waiting, probing, return_exceptions=True)
    assert_at_rest(house)


async def test_a_hand_that_closes_or_isolates_the_circuit_ends_the_wait() -> None:
    only = Door()
    house = await opened(only)
    only.takes_s = 5
    probing = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(house.chat(ASK)) for _ in range(3)]
    await asyncio.sleep(0.01)
    only.fault, only.takes_s = None, 0.01
    house.close_by_hand("only")
    assert [(await call).provider for call in waiting] == ["only"] * 3
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)
    assert_at_rest(house)


async def test_a_provider_that_is_taken_away_is_waited_for_no_longer() -> None:
    only = Door()
    house = await opened(only)
    only.takes_s = 5
    probing = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.01)
    house.replace([], Limits())
    assert (await asyncio.wait_for(waiting, 0.5)).offline
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)


async def test_who_waited_goes_through_the_door_that_replaced_the_old_one() -> None:
    old, new = Door(takes_s=0.1), Door()
    house = await opened(old)
    old.fault = new.fault = None
    probing = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(house.chat([{"role": "user", "content": "second"}]))
    await asyncio.sleep(0.01)
    house.replace([new], Limits())
    await asyncio.gather(probing, waiting)
    assert new.served == ["second"]
    assert_at_rest(house)


async def test_what_is_told_of_those_who_waited_in_vain_is_one_skip_each() -> None:
    heard, only = Heard(), Door()
    house = cascade(only, recorder=heard, clock=(clock := FakeClock()))
    for _ in range(2):
        await house.chat(ASK)
    clock.advance(1)
    await numbered(house)
    assert [len(record.attempts) for record in heard.unanswereds] == [1] * (2 + CALLERS)


async def test_news_reach_all_who_wait_and_a_wait_has_an_end() -> None:
    news, order = News(), []

    async def waits(n: int, limit_s: float) -> float:
        took_s = await news.wait(limit_s)
        order.append(n)
        return took_s

    tasks = [asyncio.create_task(waits(n, 5)) for n in range(5)]
    late = asyncio.create_task(waits(9, 0.02))
    assert await late >= 0.019
    assert news.waiting == 5
    tasks[1].cancel()
    news.probed("p", 3.0)
    tasks[3].cancel()  # in the moment in which it was told
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [9, 0, 2, 4]
    assert (news.waiting, news.took_s("p"), news.took_s("q")) == (0, 3.0, 0.0)
