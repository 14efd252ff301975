"""The same provider again: only when nobody else is ready, only for what may pass, and seldom over all."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest

from timmy_core.router.cascade import Cascade, Limits
from timmy_core.router.chat import ChatRequest, Completion, ErrorClass
from timmy_core.router.policy import Policy
from timmy_core.router.retry import MAY_PASS, RetryBudget, pause_s
from timmy_core.testing import FakeClock, ScriptedProvider

from .house import ASK, ask, assert_at_rest, cascade, classes, done, down, parts_of, text_shown

QUICK = Limits(backoff_s=0.001)
SEEDED = Random(7)  # noqa: S311 - jitter is no secret


@pytest.mark.parametrize("kind", sorted(MAY_PASS))
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_may_pass_is_asked_once_more_when_nobody_else_can_be(kind: ErrorClass, streamed: bool) -> None:
    answer = await ask(cascade(ScriptedProvider("a", down(kind), "fine"), limits=QUICK), streamed=streamed)
    assert [(a.provider, a.outcome, a.why) for a in answer.attempts] == [
        ("a", "failed", "cascade"),
        ("a", "completed", "retry"),
    ]


@pytest.mark.parametrize("kind", sorted(set(ErrorClass) - MAY_PASS - {ErrorClass.RATE_LIMITED}))
async def test_what_does_not_pass_is_not_asked_again(kind: ErrorClass) -> None:
    provider = ScriptedProvider("a", down(kind), "fine")
    assert (await cascade(provider, limits=QUICK).chat(ASK)).offline
    assert len(provider.requests) == 1


async def test_a_fallback_that_is_ready_comes_before_any_retry() -> None:
    first, second = ScriptedProvider("a", down(), "fine"), ScriptedProvider("b", down(), "late", priority=2)
    answer = await cascade(first, second, limits=QUICK).chat(ASK)
    assert classes(answer) == [
        ("a", "failed", "server_error"),
        ("b", "failed", "server_error"),
        ("a", "completed", None),
    ]


async def test_a_request_has_two_retries_at_most() -> None:
    provider = ScriptedProvider("a", down())
    house = cascade(provider, limits=QUICK)
    for _ in range(100):
        house._retries.earn()
    assert (await house.chat(ASK)).offline
    assert len(provider.requests) == 3


async def test_a_second_retry_may_bring_the_answer() -> None:
    house = cascade(ScriptedProvider("a", down(), down(), "fine"), limits=QUICK)
    for _ in range(10):
        house._retries.earn()
    assert (await house.chat(ASK)).text == "fine"


async def test_a_circuit_that_opened_meanwhile_is_not_asked_again() -> None:
    provider = ScriptedProvider("a", down())
    house = cascade(provider, limits=Limits(backoff_s=0.001, policy=Policy(failure_threshold=1)))
    assert (await house.chat(ASK)).offline
    assert len(provider.requests) == 1


@pytest.mark.parametrize(("percent", "most"), [(10, 101), (50, 501), (0, 0)])
async def test_all_retries_together_stay_below_their_share_of_the_traffic(percent: int, most: int) -> None:
    class Shaky(ScriptedProvider):
        """Fails every call, and yet its circuit stays closed."""

    shaky = Shaky("a", down())
    house = cascade(shaky, limits=Limits(backoff_s=1e-6, retry_percent=percent))
    requests = 1000
    for _ in range(requests):
        await house.chat(ASK)
        house.close_by_hand("a")
    retries = len(shaky.requests) - requests
    assert most * 0.9 <= retries <= most


def test_the_budget_saves_up_for_a_bad_moment_and_no_more() -> None:
    budget = RetryBudget(10)
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == 10
    for _ in range(10):
        budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]


def test_pauses_double_and_never_come_in_step() -> None:
    first = [pause_s(down(), 0, 0, 60, 0.2, SEEDED) for _ in range(200)]
    second = [pause_s(down(), 1, 0, 60, 0.2, SEEDED) for _ in range(200)]
    assert all(wait is not None and 0.1 <= wait <= 0.3 for wait in first)
    assert all(wait is not None and 0.2 <= wait <= 0.6 for wait in second)
    assert len(set(first)) > 190


def test_a_request_that_took_long_waits_longer_before_its_retry() -> None:
    waits = [pause_s(down(), 0, 20, 40, 0.2, SEEDED) for _ in range(200)]
    assert all(wait is not None and 2.5 <= wait <= 7.5 for wait in waits)


@pytest.mark.parametrize(("elapsed_s", "waits"), [(0.0, False), (1.0, False), (20.0, True)])
def test_a_refused_port_is_tried_again_only_after_a_pause_in_which_it_may_have_opened(
    elapsed_s: float, *, waits: bool
) -> None:
    wait_s = pause_s(down(ErrorClass.REFUSED), 0, elapsed_s, 40, 0.2, SEEDED)
    assert (wait_s is not None) == waits


async def test_who_sat_before_a_silent_provider_for_long_gets_an_answer_from_one_that_comes_back() -> None:
    clock = FakeClock()

    class Silent(ScriptedProvider):
        """Takes a while to say nothing."""

        async def chat(self, request: ChatRequest) -> Completion:
            clock.advance(0.4)
            return await super().chat(request)

    silent = Silent("a", down(ErrorClass.TIMEOUT))
    back = ScriptedProvider("b", down(ErrorClass.SERVER), "fine", priority=2)
    house = Cascade([silent, back], offline=lambda _: "", limits=QUICK, clock=clock, random=SEEDED)
    began = time.monotonic()
    answer = await house.chat(ASK)
    assert [(a.provider, a.why) for a in answer.attempts] == [("a", "cascade"), ("b", "cascade"), ("b", "retry")]
    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize(
    ("retry_after_s", "remaining_s", "waits"),
    [(1, 60, True), (10, 60, True), (10.5, 60, False), (6, 10, False), (None, 60, False)],
)
def test_a_rate_limit_is_waited_for_only_where_that_is_short(
    retry_after_s: float | None, remaining_s: float, waits: bool
) -> None:
    wait_s = pause_s(down(ErrorClass.RATE_LIMITED, retry_after_s), 0, 0, remaining_s, 0.2, SEEDED)
    assert (wait_s is not None) == waits
    assert wait_s is None or retry_after_s is None or wait_s > retry_after_s


async def test_a_short_rate_limit_is_waited_out() -> None:
    provider = ScriptedProvider("a", down(ErrorClass.RATE_LIMITED, 0.05), "fine")
    began = time.monotonic()
    answer = await cascade(provider, limits=QUICK).chat(ASK)
    assert classes(answer) == [("a", "failed", "rate_limited"), ("a", "completed", None)]
    assert time.monotonic() - began >= 0.05


async def test_no_retry_outlives_the_deadline() -> None:
    provider = ScriptedProvider("a", down())
    answer = await cascade(provider, limits=Limits(backoff_s=50)).chat(ASK, deadline_s=5)
    assert (answer.offline, len(provider.requests)) == (True, 1)
    assert answer.latency_ms < 4000


async def test_a_caller_who_leaves_during_the_pause_leaves_nothing_behind() -> None:
    provider = ScriptedProvider("a", down(), "fine")
    house = cascade(provider, limits=Limits(backoff_s=5))
    asked = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.01)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert len(provider.requests) == 1
    assert_at_rest(house)


async def test_a_broken_stream_is_begun_again_by_the_same_provider() -> None:
    parts = await parts_of(cascade(ScriptedProvider("a", ["Hel", down()], ["Hi"]), limits=QUICK))
    assert text_shown(parts) == done(parts).text == "Hi"
    assert done(parts).attempts[-1].why == "retry"
