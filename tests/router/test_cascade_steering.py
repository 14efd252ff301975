"""Steering while calls are under way: another configuration, and what a person sets."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from timmy_core.errors import RouterError, UnknownProviderError
from timmy_core.router.cascade import Limits
from timmy_core.router.chat import Delta, ErrorClass
from timmy_core.router.policy import Policy
from timmy_core.testing import FakeClock, ScriptedProvider

from .house import ASK, Heard, assert_at_rest, cascade, classes, done, down, parts_of


async def test_calls_under_way_end_as_they_began_and_new_ones_go_through_the_new_door() -> None:
    old, new = ScriptedProvider("a", ["from ", 0.03, "old"]), ScriptedProvider("a", "from new")
    house = cascade(old)
    async with aclosing(house.stream(ASK)) as stream:
        assert await anext(stream) == Delta("from ")
        assert house.replace([new], Limits()) == [old]
        assert (await house.chat(ASK)).text == "from new"
        gone = asyncio.create_task(house.idle(old))
        await asyncio.sleep(0.005)
        assert not gone.done()
        parts = [part async for part in stream]
    assert done(parts).text == "from old"
    await asyncio.wait_for(gone, 1)
    assert_at_rest(house)


async def test_a_door_that_nobody_uses_is_idle_at_once_and_so_is_one_that_was_never_there() -> None:
    old = ScriptedProvider("a")
    house = cascade(old)
    await house.chat(ASK)
    house.replace([ScriptedProvider("a")], Limits())
    await asyncio.wait_for(house.idle(old), 1)
    await asyncio.wait_for(house.idle(ScriptedProvider("x")), 1)


async def test_the_same_door_stays_and_is_not_given_back() -> None:
    kept, old = ScriptedProvider("kept"), ScriptedProvider("old", priority=2)
    house = cascade(kept, old)
    assert house.replace([kept, ScriptedProvider("new", priority=2)], Limits()) == [old]
    assert house.providers[0] is kept


async def test_circuits_survive_a_new_configuration_and_follow_its_policy() -> None:
    clock = FakeClock()
    house = cascade(ScriptedProvider("a", down(ErrorClass.REFUSED)), ScriptedProvider("b", priority=2), clock=clock)
    for _ in range(2):
        await house.chat(ASK)
    again = ScriptedProvider("a", "back")
    policy = Policy(reset_timeout_s=5, max_reset_s=5)
    house.replace([again, ScriptedProvider("b", priority=2)], Limits(policy=policy))
    assert (await house.chat(ASK)).provider == "b"
    assert house.snapshot("a", "a-model").circuit == "open"
    clock.advance(5)
    assert (await house.chat(ASK)).provider == "a"


async def test_a_call_that_waits_in_line_goes_through_the_door_it_waits_at_which_is_not_idle_meanwhile() -> None:
    old = ScriptedProvider("a", [0.03, "old"], "old too")
    house = cascade(old, limits=Limits(max_concurrency=1))
    calls = [asyncio.create_task(house.chat(ASK)) for _ in range(2)]
    await asyncio.sleep(0.005)
    house.replace([ScriptedProvider("a", "new")], Limits(max_concurrency=1))
    gone = asyncio.create_task(house.idle(old))
    answers = await asyncio.gather(*calls)
    assert [answer.text for answer in answers] == ["old", "old too"]
    await asyncio.wait_for(gone, 1)


async def test_a_request_that_comes_to_a_replaced_provider_finds_the_new_one() -> None:
    first = ScriptedProvider("a", [0.02, down(ErrorClass.REFUSED)])
    old, removed = ScriptedProvider("b", "old", priority=3), ScriptedProvider("r", "removed", priority=2)
    house = cascade(first, removed, old)
    asked = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.005)
    house.replace([first, ScriptedProvider("b", "new", priority=3)], Limits())
    answer = await asked
    assert (answer.text, classes(answer)) == ("new", [("a", "failed", "connection_refused"), ("b", "completed", None)])
    assert old.requests == removed.requests == []


async def test_new_limits_hold_at_once() -> None:
    house = cascade(ScriptedProvider("a", [60.0]))
    house.replace(house.providers, Limits(deadline_s=0.02, max_concurrency=7))
    answer = await house.chat(ASK)
    assert (answer.offline, answer.latency_ms < 20_000) == (True, True)
    assert house._seats.find("a").slots.capacity == 7


async def test_two_providers_of_one_name_are_refused_and_nothing_changes() -> None:
    house = cascade(ScriptedProvider("a"))
    with pytest.raises(RouterError, match="two providers are named 'b'"):
        house.replace([ScriptedProvider("b"), ScriptedProvider("b")], Limits())
    assert (await house.chat(ASK)).provider == "a"


async def test_one_that_is_switched_off_is_not_asked_until_it_is_switched_on() -> None:
    house = cascade(ScriptedProvider("a"), ScriptedProvider("b", priority=2))
    house.set_control("a", enabled=False)
    answer = await house.chat(ASK)
    assert classes(answer) == [("a", "skipped", "disabled"), ("b", "completed", None)]
    assert "timmy router enable a" in answer.attempts[0].advice
    assert not house.standing()["a"].enabled
    house.set_control("a", enabled=None)
    assert (await house.chat(ASK)).provider == "a"


async def test_one_that_is_isolated_is_not_asked_not_even_when_nobody_is_left() -> None:
    clock, heard = FakeClock(), Heard()
    only = ScriptedProvider("a", models={"default": "big", "small": "little"})
    house = cascade(only, clock=clock, recorder=heard)
    house.set_control("a", isolated=True)
    clock.advance(10_000)
    answer = await house.chat(ASK)
    assert classes(answer) == [("a", "skipped", "isolated")]
    assert "timmy router close a" in answer.attempts[0].advice
    assert only.requests == []
    assert heard.moves == [("a", "open"), ("a", "open")]
    house.set_control("a", isolated=False)
    assert heard.moves[2:] == [("a", "closed"), ("a", "closed")]
    assert (await house.chat(ASK)).provider == "a"


async def test_a_call_under_way_ends_though_its_provider_is_isolated_meanwhile() -> None:
    house = cascade(ScriptedProvider("a", [0.02, "fine"]), limits=Limits())
    asked = asyncio.create_task(house.chat(ASK))
    await asyncio.sleep(0.005)
    house.set_control("a", isolated=True)
    assert (await asked).text == "fine"
    standing = house.standing()["a"]
    assert (standing.isolated, standing.circuit) == (True, "open")


async def test_isolation_holds_for_models_that_come_with_a_new_configuration() -> None:
    house = cascade(ScriptedProvider("a"))
    house.set_control("a", isolated=True)
    house.replace([ScriptedProvider("a", models={"default": "another"})], Limits())
    assert (await house.chat(ASK)).attempts[0].error_class == "isolated"


async def test_to_set_nothing_leaves_an_open_circuit_open() -> None:
    house = cascade(ScriptedProvider("a", down(ErrorClass.REFUSED)), ScriptedProvider("b", priority=2))
    for _ in range(2):
        await house.chat(ASK)
    house.set_control("a", enabled=True, priority=None, isolated=False)
    assert house.snapshot("a", "a-model").circuit == "open"


async def test_to_close_by_hand_forgets_all_that_keeps_callers_away() -> None:
    heard = Heard()
    models = {"default": "big", "small": "little", "tiny": "less"}
    script = [*[down(ErrorClass.REFUSED)] * 2, down(ErrorClass.RATE_LIMITED, 60), down(ErrorClass.AUTH), "well"]
    sick = ScriptedProvider("a", *script, models=models)
    house = cascade(sick, ScriptedProvider("b", models=models, priority=2), recorder=heard)
    for model in ("default", "default", "small", "tiny"):
        assert (await house.chat(ASK, model=model)).provider == "b"
    house.close_by_hand("a")
    assert heard.moves == [("a", "open"), ("a", "closed")]
    assert [(await house.chat(ASK, model=model)).provider for model in models] == ["a"] * 3
    assert house.standing()["a"].bar is None


async def test_priority_changes_the_order_at_once_survives_a_reload_and_goes_back() -> None:
    a, b = ScriptedProvider("a", priority=1), ScriptedProvider("b", priority=2)
    house = cascade(a, b)
    house.set_control("b", priority=0)
    assert [provider.name for provider in house.providers] == ["b", "a"]
    assert (await house.chat(ASK)).provider == "b"
    house.replace([a, ScriptedProvider("b", priority=2)], Limits())
    assert (await house.chat(ASK)).provider == "b"
    assert list(house.standing()) == ["b", "a"]
    house.set_control("b", priority=None)
    assert (await house.chat(ASK)).provider == "a"


@pytest.mark.parametrize("what", ["set_control", "close_by_hand", "clear_bar"])
def test_an_unknown_name_is_refused_with_those_there_are(what: str) -> None:
    house = cascade(ScriptedProvider("a"), ScriptedProvider("b"))
    with pytest.raises(UnknownProviderError, match="no provider is named 'c'; expected one of: a, b"):
        getattr(house, what)("c")


async def test_the_standing_says_what_each_is_doing_now() -> None:
    clock = FakeClock()
    busy = ScriptedProvider("busy", [0.05, "ok"])
    limited = ScriptedProvider("limited", down(ErrorClass.RATE_LIMITED, 30), priority=2)
    house = cascade(busy, limited, clock=clock, limits=Limits(max_concurrency=1))
    await house.chat(ASK, provider="limited")
    calls = [asyncio.create_task(house.chat(ASK, provider="busy")) for _ in range(3)]
    await asyncio.sleep(0.005)
    standing = house.standing()
    assert (standing["busy"].in_flight, standing["busy"].waiting, standing["busy"].circuit) == (1, 2, "closed")
    until = standing["limited"].limited_until
    assert until is not None
    assert (until - clock.now()).total_seconds() == pytest.approx(30)
    await asyncio.gather(*calls)
    assert_at_rest(house)


async def test_close_closes_every_door() -> None:
    providers = [ScriptedProvider("a"), ScriptedProvider("b", priority=2)]
    house = cascade(*providers)
    await parts_of(house)
    await house.close()
    assert all(provider.closed for provider in providers)
