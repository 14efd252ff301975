"""What a call may cost before it is made and what it did cost: failed, cancelled and hedged attempts too."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from timmy_core.errors import StoreError
from timmy_core.router.cascade import Limits
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass, Provider, Usage
from timmy_core.router.hedge import LEAST
from timmy_core.router.purse import Hold, NoPurse, Refused
from timmy_core.router.record import Origin
from timmy_core.testing import FakeClock, ScriptedProvider

from .house import ASK, Heard, ask, assert_at_rest, cascade, classes, done, down, parts_of

both = pytest.mark.parametrize("streamed", [False, True])


class Purse(NoPurse):
    """A budget of so many calls; a token costs one micro-dollar."""

    def __init__(self, calls: int = 1000, *, broken: bool = False) -> None:
        self.calls = calls
        self.broken = broken
        self.held: dict[str, Hold] = {}
        self.released: list[Hold] = []
        self.requests: list[ChatRequest] = []

    def applies(self, origin: Origin, provider: Provider) -> bool:
        del origin
        return not provider.free

    async def reserve(self, origin: Origin, provider: Provider, model: str, request: ChatRequest) -> Hold | Refused:
        del origin, provider, model
        await asyncio.sleep(0)
        self.requests.append(request)
        if self.broken:
            message = "the disk is full"
            raise StoreError(message)
        if self.calls <= 0:
            return Refused("the day's 1.00 $ is spent", "raise day_usd under [budget]")
        self.calls -= 1
        hold = Hold(f"h{len(self.requests)}", 1000)
        self.held[hold.id or ""] = hold
        return hold

    def release(self, hold: Hold) -> None:
        self.released.append(hold)

    def cost(self, provider: Provider, model: str, usage: Usage) -> int | None:
        del model
        return 0 if provider.free else (usage.input_tokens or 0) + (usage.output_tokens or 0)


def paid(name: str, *script: Any, **more: Any) -> ScriptedProvider:
    return ScriptedProvider(name, *script, free=False, **more)


@both
async def test_a_paid_call_is_reserved_for_and_its_record_ends_the_hold(streamed: bool) -> None:
    purse, heard = Purse(), Heard()
    whole = Completion("fine", "stop", Usage(30, 12), "m")
    answer = await ask(cascade(paid("a", whole), purse=purse, recorder=heard), streamed=streamed)
    assert (answer.cost_microusd, answer.attempts[0].cost_microusd) == (42, 42)
    assert [(r.hold_id, r.cost_microusd, r.usage.estimated) for r in heard.attempts] == [("h1", 42, False)]
    assert purse.released == []


async def test_a_free_call_is_not_reserved_for() -> None:
    purse, heard = Purse(0), Heard()
    assert (await cascade(ScriptedProvider("a"), purse=purse, recorder=heard).chat(ASK)).cost_microusd == 0
    assert purse.requests == []
    assert heard.attempts[0].hold_id is None


@both
async def test_an_exhausted_budget_goes_on_to_who_is_free(streamed: bool) -> None:
    house = cascade(paid("a"), ScriptedProvider("b", priority=2), purse=Purse(0))
    answer = await ask(house, streamed=streamed)
    assert classes(answer) == [("a", "skipped", "budget_exhausted"), ("b", "completed", None)]
    assert (answer.attempts[0].message, answer.attempts[0].advice) == (
        "the day's 1.00 $ is spent",
        "raise day_usd under [budget]",
    )
    assert_at_rest(house)


async def test_a_budget_that_cannot_be_asked_lets_nothing_through() -> None:
    provider = paid("a")
    house = cascade(provider, purse=Purse(broken=True))
    answer = await house.chat(ASK)
    assert classes(answer) == [("a", "skipped", "budget_exhausted")]
    assert "the disk is full" in answer.attempts[0].message
    assert provider.requests == []
    assert_at_rest(house)


async def test_money_for_a_call_that_the_circuit_refuses_in_the_last_moment_is_given_back() -> None:
    clock, purse = FakeClock(), Purse()
    sick = paid("sick", *[down(ErrorClass.REFUSED)] * 2, [0.02, "back"])
    house = cascade(sick, ScriptedProvider("b", priority=2), purse=purse, clock=clock)
    for _ in range(2):
        await house.chat(ASK)
    clock.advance(60)
    await asyncio.gather(*(house.chat(ASK) for _ in range(10)))
    assert len(sick.requests) == 3
    assert len(purse.held) - len(purse.released) == 3
    assert_at_rest(house)


async def test_a_broken_stream_costs_what_had_come() -> None:
    heard = Heard()
    house = cascade(
        paid("a", ["some words ", "more", down()]), paid("b", "fine", priority=2), purse=Purse(), recorder=heard
    )
    answer = done(await parts_of(house))
    failed, completed = heard.attempts
    assert failed.usage.estimated
    assert (failed.usage.output_tokens or 0) >= 2
    assert failed.cost_microusd == (failed.usage.input_tokens or 0) + (failed.usage.output_tokens or 0)
    assert answer.cost_microusd == (failed.cost_microusd or 0) + (completed.cost_microusd or 0)


@pytest.mark.parametrize("kind", [ErrorClass.REFUSED, ErrorClass.AUTH, ErrorClass.RATE_LIMITED, ErrorClass.OVERLOADED])
async def test_what_was_turned_away_costs_nothing(kind: ErrorClass) -> None:
    heard = Heard()
    house = cascade(paid("a", down(kind)), ScriptedProvider("b", priority=2), purse=Purse(), recorder=heard)
    assert (await house.chat(ASK)).cost_microusd == 0
    assert (heard.attempts[0].cost_microusd, heard.attempts[0].hold_id) == (0, "h1")


@both
async def test_a_cancelled_and_a_silent_call_may_be_charged_for_the_question(streamed: bool) -> None:
    heard = Heard()
    house = cascade(paid("a", [5.0]), purse=Purse(), recorder=heard)
    asked = asyncio.create_task(ask(house, streamed=streamed))
    await asyncio.sleep(0.01)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await ask(house, streamed=streamed, deadline_s=0.02)
    assert [(r.attempt.outcome, r.usage.estimated) for r in heard.attempts] == [("cancelled", True), ("failed", True)]
    assert all((r.cost_microusd or 0) > 0 for r in heard.attempts)


@both
async def test_a_provider_that_does_not_count_is_counted_by_us_and_marked(streamed: bool) -> None:
    heard = Heard()
    script = [Chunk("some words that nobody counted", "stop")]
    answer = await ask(cascade(paid("a", script), purse=Purse(), recorder=heard), streamed=streamed)
    assert answer.usage.estimated
    assert (answer.usage.output_tokens or 0) > 3
    assert heard.attempts[0].usage == answer.usage


async def test_a_hedge_goes_to_a_paid_provider_only_under_a_budget_that_has_room() -> None:
    for calls, expected in ((5, "b"), (0, "a")):
        purse, heard = Purse(calls), Heard()
        house = cascade(
            ScriptedProvider("a", [0.05, "late"]),
            paid("b", priority=2),
            purse=purse,
            recorder=heard,
            limits=Limits(hedge=True),
        )
        for _ in range(LEAST):
            house._history.note("a", "a-model", streamed=True, ms=5)
        assert done(await parts_of(house)).provider == expected
        assert_at_rest(house)


async def test_the_loser_of_a_hedge_is_paid_and_ends_its_hold() -> None:
    purse, heard = Purse(), Heard()
    house = cascade(
        paid("a", [5.0, "late"]), paid("b", "quick", priority=2), purse=purse, recorder=heard, limits=Limits(hedge=True)
    )
    for _ in range(LEAST):
        house._history.note("a", "a-model", streamed=True, ms=5)
    answer = done(await parts_of(house))
    lost, won = heard.attempts
    assert (lost.attempt.error_class, lost.hold_id, won.hold_id) == ("hedge_lost", "h1", "h2")
    assert lost.usage.estimated
    assert answer.cost_microusd == (lost.cost_microusd or 0) + (won.cost_microusd or 0) > (won.cost_microusd or 0) > 0


async def test_what_was_said_travels_only_to_who_wants_it() -> None:
    for wants in (False, True):
        heard = Heard(wants_content=wants)
        house = cascade(
            ScriptedProvider("a", ["Half", down()]), ScriptedProvider("b", ["Whole"], priority=2), recorder=heard
        )
        await parts_of(house)
        told = [None if r.content is None else r.content.text for r in heard.attempts]
        assert told == (["Half", "Whole"] if wants else [None, None])
        assert not wants or heard.attempts[0].content.messages[0].content == "hi"
