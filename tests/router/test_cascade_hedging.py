"""Hedging: who is later than usual gets company, the first token wins, and the loser is cancelled and paid."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from timmy_core.router.cascade import Cascade, Limits
from timmy_core.router.chat import Chunk, Delta, ErrorClass
from timmy_core.router.hedge import LEAST, FirstTokens
from timmy_core.testing import ScriptedProvider

from .house import ASK, Heard, ask, assert_at_rest, cascade, classes, done, down, parts_of

HEDGE = Limits(hedge=True, backoff_s=0.001)
both = pytest.mark.parametrize("streamed", [False, True])


def hedging(*providers: ScriptedProvider, **more: Any) -> Cascade:
    """A cascade that knows the first one to be usually quick: 10 ms to its first token, or to its whole answer."""
    house = cascade(*providers, **{"limits": HEDGE, **more})
    for _ in range(LEAST):
        for streamed in (False, True):
            house._history.note(providers[0].name, providers[0].default_model, streamed, 10)
    return house


@both
async def test_who_is_late_gets_company_and_the_first_token_wins(streamed: bool) -> None:
    heard = Heard()
    late = ScriptedProvider("a", [5.0, "late"])
    house = hedging(late, ScriptedProvider("b", ["quick", " answer"], priority=2), recorder=heard)
    answer = await ask(house, streamed=streamed)
    assert (answer.provider, answer.text) == ("b", "quick answer")
    assert [(a.provider, a.outcome, a.error_class, a.why) for a in answer.attempts] == [
        ("a", "cancelled", "hedge_lost", "cascade"),
        ("b", "completed", None, "hedge"),
    ]
    assert late.cancelled == 1
    assert house.snapshot("a", "a-model").failures == 0
    assert len(heard.attempts) == 2
    assert_at_rest(house)


@both
async def test_who_is_in_time_stays_alone(streamed: bool) -> None:
    other = ScriptedProvider("b", priority=2)
    house = hedging(ScriptedProvider("a", "quick"), other)
    assert classes(await ask(house, streamed=streamed)) == [("a", "completed", None)]
    assert other.requests == []


@both
async def test_the_late_one_may_still_win(streamed: bool) -> None:
    second = ScriptedProvider("b", [5.0, "later"], priority=2)
    house = hedging(ScriptedProvider("a", [0.05, "late"]), second)
    answer = await ask(house, streamed=streamed)
    assert [(a.provider, a.outcome, a.error_class, a.why) for a in answer.attempts] == [
        ("b", "cancelled", "hedge_lost", "hedge"),
        ("a", "completed", None, "cascade"),
    ]
    assert second.cancelled == 1
    assert_at_rest(house)


@both
@pytest.mark.parametrize("first", [[0.03, down()], [0.1, "fine"]])
@pytest.mark.parametrize("second", [down(), [0.05, down()]])
async def test_one_who_fails_leaves_the_other_running(streamed: bool, first: Any, second: Any) -> None:
    third = ScriptedProvider("c", "third", priority=3)
    house = hedging(ScriptedProvider("a", first), ScriptedProvider("b", second, priority=2), third)
    answer = await ask(house, streamed=streamed)
    assert answer.text == ("fine" if "fine" in first else "third")
    assert [a.outcome for a in answer.attempts].count("completed") == 1
    assert len([a for a in answer.attempts if a.provider == "b"]) == 1
    assert_at_rest(house)


async def test_the_loser_is_cancelled_as_soon_as_the_winner_speaks() -> None:
    late = ScriptedProvider("a", [5.0, "late"])
    house = hedging(late, ScriptedProvider("b", ["quick", 0.2, " end"], priority=2))
    async with aclosing(house.stream(ASK)) as stream:
        assert await anext(stream) == Delta("quick")
        assert late.cancelled == 1
        assert house.standing()["a"].in_flight == 0


@both
async def test_a_caller_who_leaves_takes_both_along(streamed: bool) -> None:
    heard = Heard()
    first, second = ScriptedProvider("a", [5.0, "x"]), ScriptedProvider("b", [5.0, "y"], priority=2)
    house = hedging(first, second, recorder=heard)
    asked = asyncio.create_task(ask(house, streamed=streamed))
    await asyncio.sleep(0.05)
    assert house.standing()["b"].in_flight == 1
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert (first.cancelled, second.cancelled) == (1, 1)
    assert sorted(heard.outcomes) == [("a", "cancelled", "cancelled"), ("b", "cancelled", "cancelled")]
    assert_at_rest(house)


async def test_a_winner_that_breaks_is_switched_like_any_other() -> None:
    house = hedging(
        ScriptedProvider("a", [5.0, "late"]),
        ScriptedProvider("b", ["Half", down()], priority=2),
        ScriptedProvider("c", ["Whole"], priority=3),
    )
    answer = done(await parts_of(house))
    assert (answer.text, [a.provider for a in answer.attempts]) == ("Whole", ["a", "b", "c"])
    assert_at_rest(house)


@both
async def test_a_content_filter_of_either_ends_both(streamed: bool) -> None:
    first = ScriptedProvider("a", [5.0, "late"])
    house = hedging(
        first, ScriptedProvider("b", Chunk("", "content_filter"), priority=2), ScriptedProvider("c", priority=3)
    )
    answer = await ask(house, streamed=streamed)
    assert (answer.offline, answer.finish_reason, first.cancelled) == (True, "content_filter", 1)
    assert_at_rest(house)


@pytest.mark.parametrize(
    "more", [{"free": False}, {"missing": ("no key", "")}, {"max_concurrency": 1}, {"window": 1, "local": True}]
)
async def test_only_one_who_is_free_ready_and_idle_is_asked_beside(more: dict[str, Any]) -> None:
    second = ScriptedProvider("b", [0.2, "busy"], priority=2, **more)
    house = hedging(ScriptedProvider("a", [0.05, "late"]), second)
    busy = asyncio.create_task(house.chat(ASK, provider="b"))
    await asyncio.sleep(0)
    asked = len(second.requests)
    long = [{"role": "user", "content": "word " * 100}]
    answer = await house.chat(long)
    assert classes(answer)[-1] == ("a", "completed", None)
    assert len(second.requests) == asked
    await busy


async def test_a_provider_that_was_in_trouble_is_not_asked_beside() -> None:
    second = ScriptedProvider("b", *[down(ErrorClass.REFUSED)] * 2, "fine", priority=2)
    house = hedging(ScriptedProvider("a", [0.05, "late"]), second)
    for _ in range(2):
        await house.chat(ASK, provider="b")
    assert (await house.chat(ASK)).provider == "a"
    assert len(second.requests) == 2


async def test_without_the_setting_nobody_is_hedged_and_nothing_is_remembered() -> None:
    second = ScriptedProvider("b", priority=2)
    house = hedging(ScriptedProvider("a", [0.05, "late"]), second, limits=Limits())
    assert (await house.chat(ASK)).provider == "a"
    assert second.requests == []
    assert house._desk.note is None


async def test_too_few_first_tokens_call_nobody_late() -> None:
    second = ScriptedProvider("b", priority=2)
    house = cascade(ScriptedProvider("a", *["quick"] * (LEAST - 1), [0.05, "late"]), second, limits=HEDGE)
    for _ in range(LEAST):
        assert (await house.chat(ASK)).provider == "a"
    assert second.requests == []
    house.replace(house.providers, HEDGE)
    house._history.note("a", "a-model", streamed=False, ms=1)
    assert (await house.chat(ASK)).provider == "b"


async def test_what_is_known_from_before_counts() -> None:
    def before(provider: str, model: str) -> Sequence[float]:
        assert model == f"{provider}-model"
        return [10.0] * LEAST

    house = cascade(
        ScriptedProvider("a", [5.0, "late"]), ScriptedProvider("b", priority=2), limits=HEDGE, first_tokens=before
    )
    assert done(await parts_of(house)).provider == "b"


def test_the_p95_moves_with_the_last_hundred() -> None:
    known = FirstTokens()
    times = known._of("a", "m", streamed=True)
    for _ in range(100):
        times.add(10)
    assert times.p95_ms() == 10
    for _ in range(20):
        times.add(50)
    assert times.p95_ms() == 50
