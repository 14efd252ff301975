"""The budget beside plain dictionaries: reserve, settle, give back and let time pass, in any order."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from timmy_core.events.log import EventLog
from timmy_core.router.budget import FOLD_S, GRACE_S, Budgets, settle
from timmy_core.router.chat import ChatRequest, Message
from timmy_core.router.purse import Hold
from timmy_core.router.record import Origin
from timmy_core.router.tokens import estimate
from timmy_core.settings import Settings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock, ScriptedProvider

PAID = ScriptedProvider("paid", free=False)
# One dollar for a million tokens: a token costs a micro-dollar.
TABLE = {"name": "paid", "kind": "openai", "api_key": "none", "price": {"input": 1, "output": 1}}
HELLO = (Message("user", "hello"),)
QUESTION = estimate(HELLO)


def usd(microusd: int) -> str:
    return f"{microusd / 1_000_000:.6f}"


class Money(RuleBasedStateMachine):
    """Reserve, settle, release and let time pass, in any order, beside plain dictionaries."""

    holds = Bundle("holds")
    limits = (3000, 9000, 2000)  # a day, a month, a day of echo

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        home = Path(self.folder.name)
        self.clock = FakeClock(datetime(2026, 11, 29, 22, tzinfo=UTC))
        self.store = Store.open(home / "timmy.db")
        day, month, echo = map(usd, self.limits)
        budget = {"day_usd": day, "month_usd": month, "agents": {"echo": {"day_usd": echo}}}
        settings = Settings.model_validate({"home": home, "budget": budget, "providers": (TABLE,)})
        events = EventLog(self.store, self.clock)
        self.budgets = Budgets(self.store, events, self.clock, settings)
        self.spent: dict[tuple[str, str], int] = {}
        self.held: dict[str, tuple[str, str, int, datetime]] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def taken(self, of: str, agent: str | None = None) -> int:
        def fits(day: str, owner: str) -> bool:
            return day.startswith(of) and agent in (None, owner)

        spent = sum(cost for (day, owner), cost in self.spent.items() if fits(day, owner))
        now = self.clock.now()
        return spent + sum(
            most if ends > now else QUESTION for day, owner, most, ends in self.held.values() if fits(day, owner)
        )

    @property
    def today(self) -> str:
        return self.clock.now().strftime("%Y-%m-%d")

    @rule(target=holds, most=st.integers(1, 1500), agent=st.sampled_from(["", "echo", "other"]))
    def reserve(self, most: int, agent: str) -> Hold:
        origin = Origin("t", agent_id=agent or None)
        result = asyncio.run(
            self.budgets.reserve(origin, PAID, "m", ChatRequest(HELLO, "m", 30.0, 5.0, max_tokens=most))
        )
        wanted = most + QUESTION
        day, month, echo = self.limits
        fits = self.taken(self.today) + wanted <= day and self.taken(self.today[:7]) + wanted <= month
        if agent == "echo":
            fits = fits and self.taken(self.today, "echo") + wanted <= echo
        assert isinstance(result, Hold) == fits
        if not isinstance(result, Hold):
            return Hold()
        assert result.id is not None
        ends = self.clock.now() + timedelta(seconds=30 + GRACE_S)
        self.held[result.id] = (self.today, agent, wanted, ends)
        return result

    @rule(hold=consumes(holds), share=st.none() | st.integers(0, 120))
    def settle(self, hold: Hold, share: int | None) -> None:
        if hold.id is None:
            return
        cost = None if share is None else hold.microusd * share // 100
        now = self.clock.now()
        self.store.write(lambda c: settle(c, hold_id=hold.id, agent_id="ignored", cost=cost, now=now))
        day, agent, most, _ = self.held.pop(hold.id)
        booked = most if cost is None else cost
        self.spent[day, agent] = self.spent.get((day, agent), 0) + booked

    @rule(hold=consumes(holds))
    def release(self, hold: Hold) -> None:
        self.budgets.release(hold)
        self.store.write(lambda _: None)
        self.held.pop(hold.id or "", None)

    @rule(cost=st.integers(0, 300), agent=st.sampled_from(["", "echo"]))
    def pay_without_a_hold(self, cost: int, agent: str) -> None:
        now = self.clock.now()
        self.store.write(lambda c: settle(c, hold_id=None, agent_id=agent or None, cost=cost, now=now))
        self.spent[self.today, agent] = self.spent.get((self.today, agent), 0) + cost

    @rule(seconds=st.sampled_from([1, 30, 89, 600, 3 * 3600]))
    def wait(self, seconds: int) -> None:
        # Never so long that a hold of nobody's becomes spending, which has a test of its own.
        oldest = min((ends for *_, ends in self.held.values()), default=None)
        if oldest is None or self.clock.now() + timedelta(seconds=seconds) < oldest + timedelta(seconds=FOLD_S):
            self.clock.advance(seconds)

    @invariant()
    def it_stands_as_the_model_does(self) -> None:
        for one in self.budgets.left():
            of = self.today if one.period == "day" else self.today[:7]
            assert one.spent_microusd + one.held_microusd == self.taken(of, one.agent_id)


Money.TestCase.settings = hypothesis_settings(max_examples=25, stateful_step_count=25, deadline=None)
TestMoney = Money.TestCase
