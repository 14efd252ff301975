"""A provider that is gone, and the moment in which it comes back: who notices, and who has to pay for it."""

from __future__ import annotations

import asyncio
import collections

import pytest

from timmy_core.router.cascade import Cascade
from timmy_core.testing import FAULTS, FakeClock, Turn, WireServer
from timmy_core.testing.turn import APIS, Api

from .sick import ask, assert_from_the_well_one, door, limits, offline, ward

CALLERS = 40
LONG_S = 600.0 * 1.2

each_api = pytest.mark.parametrize("api", APIS)
both = pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])


@each_api
@both
async def test_of_forty_callers_at_the_moment_of_recovery_one_reaches_the_sick_provider(
    api: Api, streamed: bool, clock: FakeClock
) -> None:
    async with ward(api) as opened:
        cascade = opened.cascade(clock)
        opened.sick.then(FAULTS["server_error"])
        for _ in range(5):
            await ask(cascade, streamed=streamed)
        assert cascade.snapshot("sick", "tiny").circuit == "open"
        clock.advance(LONG_S)
        opened.sick.then(Turn(pieces=("Back ", "again."), first_s=0.3))
        before = len(opened.sick.questions)
        heard = await asyncio.gather(*(ask(cascade, streamed=streamed) for _ in range(CALLERS)))
        assert len(opened.sick.questions) - before == 1
        back = [one for one in heard if one.answer.provider == "sick"]
        assert [one.answer.text for one in back] == ["Back again."]
        others = [one for one in heard if one.answer.provider != "sick"]
        assert len(others) == CALLERS - 1
        for one in others:
            assert one.answer.attempts[0].error_class == "circuit_open"
            assert_from_the_well_one(one)


@each_api
async def test_of_forty_callers_that_find_it_still_sick_one_pays(api: Api, clock: FakeClock) -> None:
    async with ward(api) as opened:
        cascade = opened.cascade(clock)
        opened.sick.then(FAULTS["server_error"])
        for _ in range(5):
            await ask(cascade, streamed=False)
        clock.advance(LONG_S)
        opened.sick.then(Turn(status=500, first_s=0.2))
        opened.sick.requests.clear()
        heard = await asyncio.gather(*(ask(cascade, streamed=False) for _ in range(CALLERS)))
        # A door may look around before it asks, and then finds out sooner; but only one caller's does.
        assert set(collections.Counter(request.path for request in opened.sick.requests).values()) == {1}
        assert sum(one.answer.attempts[0].outcome == "failed" for one in heard) == 1
        for one in heard:
            assert_from_the_well_one(one)
        assert cascade.snapshot("sick", "tiny").circuit == "open"


@each_api
@both
async def test_a_refused_provider_is_not_contacted_once_its_circuit_is_open(api: Api, streamed: bool) -> None:
    async with ward(api) as opened:
        cascade = opened.cascade()
        await opened.sick.stop()
        for _ in range(2):
            heard = await ask(cascade, streamed=streamed)
            assert heard.answer.attempts[0].error_class == "connection_refused"
            assert_from_the_well_one(heard)
        assert cascade.snapshot("sick", "tiny").circuit == "open"
        # Now somebody listens there, and would notice.
        await opened.sick.start()
        before = opened.sick.connections
        for heard in await asyncio.gather(*(ask(cascade, streamed=streamed) for _ in range(20))):
            first = heard.answer.attempts[0]
            assert (first.outcome, first.error_class) == ("skipped", "circuit_open")
            assert_from_the_well_one(heard)
        assert opened.sick.connections == before


@each_api
@both
async def test_a_provider_that_came_back_is_used_again_after_two_good_probes(
    api: Api, streamed: bool, clock: FakeClock
) -> None:
    async with ward(api) as opened:
        cascade = opened.cascade(clock)
        await opened.sick.stop()
        for _ in range(2):
            await ask(cascade, streamed=streamed)
        await opened.sick.start()
        clock.advance(LONG_S)
        for circuit in ("half_open", "closed", "closed"):
            heard = await ask(cascade, streamed=streamed)
            assert (heard.answer.provider, heard.answer.text) == ("sick", "Hello there.")
            assert cascade.snapshot("sick", "tiny").circuit == circuit


@both
async def test_a_silent_provider_is_asked_once(streamed: bool) -> None:
    async with ward("openai") as opened:
        opened.sick.then(FAULTS["hang_before_headers"])
        heard = await ask(opened.cascade(), streamed=streamed)
        assert_from_the_well_one(heard)
        assert len(opened.sick.questions) == 1


@each_api
@both
async def test_a_dead_connection_costs_one_more_question_and_no_failure(api: Api, streamed: bool) -> None:
    async with ward(api) as opened:
        cascade = opened.cascade()
        opened.sick.then(FAULTS["dead_keep_alive"])
        for _ in range(3):
            heard = await ask(cascade, streamed=streamed)
            assert [attempt.outcome for attempt in heard.answer.attempts] == ["completed"]
            assert heard.answer.text == "Hello there."
        # Every question but one that found no kept connection came twice: on the dead one, and on a new one.
        assert 4 <= len(opened.sick.questions) <= 6
        assert cascade.snapshot("sick", "tiny").failures == 0


@both
async def test_two_sick_providers_of_three_leave_time_for_the_third(streamed: bool) -> None:
    async with ward("openai") as opened, WireServer(FAULTS["stall"]) as second:
        opened.sick.then(FAULTS["hang_before_headers"])
        stalls = door("anthropic", second, "stalls", "tiny", 1)
        try:
            await stalls.check(timeout_s=20)
            cascade = Cascade([*opened.doors, stalls], offline=offline, limits=limits())
            heard = await ask(cascade, streamed=streamed)
        finally:
            await stalls.close()
        assert [attempt.error_class for attempt in heard.answer.attempts] == ["timeout", "timeout", None]
        assert_from_the_well_one(heard)
