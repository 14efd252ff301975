"""Budgets: no day or month is ever promised more than it has, whoever reserves, and nothing that was spent is lost."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from timmy_core.errors import ProviderError
from timmy_core.events.log import EventLog
from timmy_core.router.budget import FOLD_S, GRACE_S, OUTPUT_TOKENS, Budgets, Standing, dollars, settle
from timmy_core.router.cascade import Cascade, Limits
from timmy_core.router.chat import ChatRequest, Completion, ErrorClass, Message, Usage
from timmy_core.router.metrics import Metrics
from timmy_core.router.purse import Hold, Refused
from timmy_core.router.record import Origin
from timmy_core.router.tokens import estimate
from timmy_core.settings import Settings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock, ScriptedProvider

SPENDER = Path(__file__).with_name("spender.py")
PAID = ScriptedProvider("paid", free=False)
# One dollar for a million tokens: a token costs a micro-dollar.
TABLE = {"name": "paid", "kind": "openai", "api_key": "none", "price": {"input": 1, "output": 1}}
ORIGIN = Origin("t")
HELLO = (Message("user", "hello"),)
QUESTION = estimate(HELLO)


def configured(home: Path, budget: dict[str, Any], *tables: dict[str, Any]) -> Settings:
    return Settings.model_validate({"home": home, "budget": budget, "providers": tables or (TABLE,)})


def usd(microusd: int) -> str:
    return f"{microusd / 1_000_000:.6f}"


def request(most: int | None = 100, timeout_s: float = 30.0) -> ChatRequest:
    """A request that may cost `most` micro-dollars and its question."""
    return ChatRequest(HELLO, "m", timeout_s, 5.0, max_tokens=most)


@dataclass
class House:
    store: Store
    events: EventLog
    clock: FakeClock
    budgets: Budgets
    home: Path

    def settle(self, hold: Hold | None, cost: int | None, agent_id: str | None = None) -> None:
        hold_id = None if hold is None else hold.id
        now = self.clock.now()
        self.store.write(lambda c: settle(c, hold_id=hold_id, agent_id=agent_id, cost=cost, now=now))

    def standing(self, period: str = "day", agent_id: str | None = None) -> Standing:
        return next(one for one in self.budgets.left() if (one.period, one.agent_id) == (period, agent_id))

    async def take(self, most: int | None = 100, origin: Origin = ORIGIN, timeout_s: float = 30.0) -> Hold:
        hold = await self.budgets.reserve(origin, PAID, "m", request(most, timeout_s))
        assert isinstance(hold, Hold), hold
        return hold

    async def refused(self, most: int | None = 100, origin: Origin = ORIGIN) -> Refused:
        refused = await self.budgets.reserve(origin, PAID, "m", request(most))
        assert isinstance(refused, Refused), refused
        return refused


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    store, clock = Store.open(tmp_path / "timmy.db"), FakeClock(datetime(2026, 11, 22, 12, tzinfo=UTC))
    events = EventLog(store, clock)
    budgets = Budgets(store, events, clock, configured(tmp_path, {"day_usd": usd(1000), "month_usd": usd(2000)}))
    yield House(store, events, clock, budgets, tmp_path)
    store.close()


# Reserving -------------------------------------------------------------------------------------------------------


async def test_a_hold_is_for_the_question_and_the_longest_answer(house: House) -> None:
    hold = await house.take(100)
    assert hold.microusd == QUESTION + 100
    assert house.standing() == Standing(None, "day", 1000, 0, QUESTION + 100)
    assert house.standing().left_microusd == 900 - QUESTION


async def test_without_a_limit_an_answer_is_taken_to_be_of_4096_tokens(house: House) -> None:
    refused = await house.refused(None)
    assert dollars(QUESTION + OUTPUT_TOKENS) in refused.message


async def test_a_call_that_does_not_fit_is_refused_with_what_is_left_and_what_to_do(house: House) -> None:
    await house.take(900)
    refused = await house.refused(100)
    left = dollars(100 - QUESTION)
    assert refused.message == (
        f"the budget has {left} of $0.001 left for this day (UTC), and the call may cost {dollars(100 + QUESTION)}"
    )
    assert refused.advice == "raise day_usd under [budget], give the request a smaller max_tokens, or wait"


async def test_a_budget_may_be_used_to_its_last_micro_dollar(house: House) -> None:
    await house.take(1000 - QUESTION)
    assert house.standing().left_microusd == 0


async def test_what_was_set_aside_and_not_used_comes_back(house: House) -> None:
    hold = await house.take(900)
    house.settle(hold, 5)
    assert house.standing() == Standing(None, "day", 1000, 5, 0)
    await house.take(900)


async def test_more_than_was_set_aside_is_booked_as_it_is(house: House) -> None:
    house.settle(await house.take(10), 1500)
    assert house.standing().spent_microusd == 1500
    assert house.standing().left_microusd == 0
    await house.refused(1)


async def test_a_call_of_unknown_cost_takes_all_that_was_set_aside(house: House) -> None:
    hold = await house.take(100)
    house.settle(hold, None)
    assert house.standing() == Standing(None, "day", 1000, hold.microusd, 0)


async def test_a_hold_of_a_call_that_was_never_made_comes_back_whole(house: House) -> None:
    house.budgets.release(await house.take(900))
    house.store.write(lambda _: None)
    assert house.standing() == Standing(None, "day", 1000, 0, 0)


async def test_a_caller_that_gives_up_while_money_is_set_aside_leaves_no_hold(house: House) -> None:
    for _ in range(20):
        waiting = asyncio.ensure_future(house.budgets.reserve(ORIGIN, PAID, "m", request()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    house.store.write(lambda _: None)
    assert house.standing() == Standing(None, "day", 1000, 0, 0)


async def test_an_unknown_price_is_refused_once_a_budget_is_set_and_says_what_to_add(house: House) -> None:
    bare = {"name": "paid", "kind": "openai", "base_url": "https://gateway.example/v1", "api_key": "none"}
    house.budgets.configure(configured(house.home, {"day_usd": "1"}, bare))
    refused = await house.refused()
    assert refused.message == "a budget is set, and nobody knows what m costs"
    assert 'to [[providers]] name = "paid"' in refused.advice
    assert house.budgets.cost(PAID, "m", Usage(1, 1)) is None


async def test_without_a_budget_nothing_is_set_aside_and_nothing_is_written(house: House) -> None:
    house.budgets.configure(configured(house.home, {}))
    assert not house.budgets.applies(ORIGIN, PAID)
    assert await house.take(10**9) == Hold()
    house.settle(None, 7)  # what it cost is kept all the same
    assert house.standing() == Standing(None, "day", None, 7, 0)
    assert house.standing().left_microusd is None


def test_a_free_provider_needs_no_budget_unless_its_owner_gave_it_a_price(house: House) -> None:
    free, priced = ScriptedProvider("other"), ScriptedProvider("paid")
    assert not house.budgets.applies(ORIGIN, free)
    assert house.budgets.applies(ORIGIN, priced)
    assert house.budgets.cost(free, "m", Usage()) == 0
    assert house.budgets.cost(priced, "m", Usage(3, 4)) == 7


# Days, months, agents --------------------------------------------------------------------------------------------


async def test_a_new_day_has_a_new_budget_and_the_month_goes_on(house: House) -> None:
    house.settle(await house.take(900), 950)
    await house.refused(100)
    house.clock.advance(12 * 3600)
    assert house.standing() == Standing(None, "day", 1000, 0, 0)
    house.settle(await house.take(900), 950)
    house.clock.advance(24 * 3600)
    refused = await house.refused(100)
    assert "for this month (UTC)" in refused.message
    assert "month_usd under [budget]" in refused.advice


async def test_a_new_month_has_a_new_budget(house: House) -> None:
    house.settle(await house.take(900), 1990)
    house.clock.set_wall(datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC))
    await house.refused(100)
    house.clock.advance(1)
    await house.take(900)
    assert house.standing("month").spent_microusd == 0


async def test_a_call_belongs_to_the_day_on_which_it_was_made(house: House) -> None:
    house.clock.set_wall(datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC))
    hold = await house.take(900)
    house.clock.advance(10)
    assert house.standing("month").held_microusd == 0
    house.settle(hold, 500)
    assert house.standing("month").spent_microusd == 0
    house.clock.set_wall(datetime(2026, 11, 30, tzinfo=UTC))
    assert house.standing().spent_microusd == 500


async def test_the_last_day_of_every_month_counts(house: House) -> None:
    for month in range(1, 13):
        last = datetime(2028 + month // 12, month % 12 + 1, 1, tzinfo=UTC) - timedelta(hours=1)
        house.clock.set_wall(last)
        house.settle(None, month)
        assert house.standing("month").spent_microusd == month


async def test_an_agent_has_a_budget_of_its_own_inside_that_of_all(house: House) -> None:
    budget = {"day_usd": usd(1000), "agents": {"echo": {"day_usd": usd(300)}}}
    house.budgets.configure(configured(house.home, budget))
    echo, other = Origin("t", agent_id="echo"), Origin("t", agent_id="other")
    house.settle(await house.take(200, echo), 250, "echo")
    refused = await house.refused(100, echo)
    assert refused.message.startswith("the budget of echo has")
    assert "under [budget.agents.echo]" in refused.advice
    await house.take(600, other)
    assert house.standing("day", "echo") == Standing("echo", "day", 300, 250, 0)
    assert "the budget has" in (await house.refused(200, other)).message


async def test_an_agents_budget_alone_binds_nobody_else(house: House) -> None:
    house.budgets.configure(configured(house.home, {"agents": {"echo": {"month_usd": usd(10)}}}))
    assert not house.budgets.applies(ORIGIN, PAID)
    assert house.budgets.applies(Origin("t", agent_id="echo"), PAID)


async def test_a_smaller_budget_takes_effect_at_once_and_forgets_nothing(house: House) -> None:
    house.settle(await house.take(500), 400)
    house.budgets.configure(configured(house.home, {"day_usd": usd(300)}))
    assert house.standing() == Standing(None, "day", 300, 400, 0)
    await house.refused(1)


async def test_a_budget_tells_once_a_day_that_it_refused(house: House) -> None:
    for _ in range(3):
        await house.refused(5000, Origin("t", agent_id="echo"))
    (event,) = house.events.list(type="budget.exceeded")
    assert event.agent_id == "echo"
    assert event.data == {
        "scope": "all",
        "period": "day",
        "limit_microusd": 1000,
        "spent_microusd": 0,
        "held_microusd": 0,
        "wanted_microusd": 5000 + QUESTION,
        "provider": "paid",
        "model": "m",
    }
    house.clock.advance(24 * 3600)
    await house.refused(5000)
    assert len(house.events.list(type="budget.exceeded")) == 2


async def test_the_hold_of_a_dead_process_runs_out_and_its_question_stays_paid(house: House) -> None:
    hold = await house.take(800, timeout_s=30)
    house.clock.advance(30 + GRACE_S - 1)
    assert house.standing().held_microusd == hold.microusd
    await house.refused(500)
    house.clock.advance(1)
    assert house.standing().held_microusd == QUESTION
    await house.take(500)
    house.clock.advance(FOLD_S)
    await house.take(1)
    assert house.standing().spent_microusd == QUESTION
    (event,) = house.events.list(type="budget.released")
    assert event.data is not None
    assert (event.data["held_microusd"], event.data["spent_microusd"]) == (hold.microusd, QUESTION)


async def test_a_record_that_comes_late_still_books_what_the_call_cost(house: House) -> None:
    hold = await house.take(800)
    house.clock.advance(30 + GRACE_S + 10)
    house.settle(hold, 600)
    assert house.standing() == Standing(None, "day", 1000, 600, 0)


def test_a_hold_that_cannot_be_given_back_is_reported(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.store.close()
    with caplog.at_level(logging.ERROR):
        house.budgets.release(Hold("h", 1))
    assert "the hold h was not given back" in caplog.text


@pytest.mark.parametrize(
    ("microusd", "words"), [(0, "$0.00"), (1, "$0.000001"), (12_500_000, "$12.50"), (1_234_000_000, "$1,234.00")]
)
def test_money_is_said_exactly(microusd: int, words: str) -> None:
    assert dollars(microusd) == words


def cascade(house: House, *providers: ScriptedProvider) -> Cascade:
    metrics = Metrics(house.store, house.events)
    return Cascade(
        providers,
        offline=lambda _: "offline",
        limits=Limits(retry_percent=0),
        clock=house.clock,
        recorder=metrics,
        purse=house.budgets,
    )


async def test_an_answer_settles_its_hold_with_its_record(house: House) -> None:
    paid = ScriptedProvider("paid", Completion("hi", "stop", Usage(30, 12), "m"), free=False)
    answer = await cascade(house, paid).chat(list(HELLO), max_tokens=100)
    house.store.write(lambda _: None)
    assert answer.cost_microusd == 42
    assert house.standing() == Standing(None, "day", 1000, 42, 0)


async def test_a_provider_without_money_is_passed_over_for_a_free_one(house: House) -> None:
    house.settle(None, 999)
    paid, free = ScriptedProvider("paid", free=False), ScriptedProvider("free", "mine", priority=2)
    answer = await cascade(house, paid, free).chat(list(HELLO))
    assert (answer.provider, answer.cost_microusd) == ("free", 0)
    assert answer.attempts[0].error_class == ErrorClass.BUDGET
    assert paid.requests == []


async def test_a_failed_attempt_costs_what_it_had_begun_to_say(house: House) -> None:
    cut = ProviderError(ErrorClass.CONNECTION, "cut")
    paid = ScriptedProvider("paid", ["some words before it breaks", cut], free=False)
    parts = [part async for part in cascade(house, paid).stream(list(HELLO), max_tokens=100)]
    assert parts
    house.store.write(lambda _: None)
    standing = house.standing()
    assert standing.held_microusd == 0
    assert standing.spent_microusd == QUESTION + estimate("some words before it breaks")


# Processes -------------------------------------------------------------------------------------------------------


def in_file(home: Path, day_usd: str) -> None:
    table = 'name = "paid"\nkind = "openai"\napi_key = "none"\nprice = { input = 1, output = 1 }'
    (home / "timmy.toml").write_text(f"[budget]\nday_usd = {day_usd}\n\n[[providers]]\n{table}\n")


def test_processes_that_reserve_at_once_never_promise_more_than_there_is(tmp_path: Path) -> None:
    in_file(tmp_path, usd(2500))
    Store.open(tmp_path / "timmy.db").close()
    command = [sys.executable, str(SPENDER), str(tmp_path), "settle", "20"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert all(process.returncode == 0 for process in running)
    assert sum(one["refused"] for one in told) > 0, "the budget was never at its end, so this tested nothing"
    spent, held = sum(one["spent"] for one in told), sum(one["held"] for one in told)
    # Even all that was ever promised at one moment fits, since nobody settles before its own last reservation.
    assert spent + held <= 2500
    store = Store.open(tmp_path / "timmy.db")
    with store.read() as connection:
        assert connection.execute("SELECT sum(microusd) FROM spending").fetchone() == (spent,)
        assert connection.execute("SELECT sum(microusd) FROM spending_holds").fetchone() == (held,)
    store.close()


def test_a_process_that_is_killed_leaves_a_hold_that_runs_out(tmp_path: Path) -> None:
    in_file(tmp_path, usd(1000))
    command = [sys.executable, str(SPENDER), str(tmp_path), "hang", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    held = json.loads(process.stdout.readline())["microusd"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store, clock = Store.open(tmp_path / "timmy.db"), FakeClock(datetime.now(UTC))
    house = House(
        store,
        EventLog(store, clock),
        clock,
        Budgets(store, EventLog(store, clock), clock, configured(tmp_path, {"month_usd": usd(1000)})),
        tmp_path,
    )
    month = clock.now().strftime("%Y-%m")
    assert house.standing("month").held_microusd == held
    clock.advance(30 + GRACE_S + 1)
    assert held == 100 + QUESTION
    # The money is there again but for the question, which the provider has.
    assert clock.now().strftime("%Y-%m") != month or house.standing("month").held_microusd == QUESTION
    store.close()
