"""Budgets: what a paid call may cost is set aside before it is made, and what it did cost is booked with its record.

Days and months are those of UTC. A call belongs to the day on which it was made, however late it ends. Every check
and its hold are one transaction of the store, so processes that reserve at the same moment never promise more
together than a budget has.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from timmy_core.clock import Clock, new_id, to_us
from timmy_core.errors import StoreError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.router import tokens
from timmy_core.router.chat import ChatRequest, Provider, Usage
from timmy_core.router.pricing import MILLION, Price, Prices, cost_microusd, most_microusd
from timmy_core.router.purse import Hold, Refused
from timmy_core.router.record import Origin
from timmy_core.settings import Budget, ProviderSettings, Settings
from timmy_core.store.engine import Connection, Store

_log = logging.getLogger(__name__)

Period = Literal["day", "month"]

OUTPUT_TOKENS: Final = 4096
"""What an answer is taken to have at most where the request sets no `max_tokens`."""
GRACE_S: Final = 60.0
"""How long after its deadline a call's hold still counts in full: its record may be on its way to the disk."""
FOLD_S: Final = 3600.0
"""How long after that a hold whose process died becomes spending."""

_TOLD: Final = 1000
_SOURCE: Final = "router"
_NOTHING: Final = Hold()

_SPENT: Final = """
SELECT coalesce(sum(microusd), 0), coalesce(sum(microusd) FILTER (WHERE day = :day), 0),
       coalesce(sum(microusd) FILTER (WHERE agent_id = :agent), 0),
       coalesce(sum(microusd) FILTER (WHERE agent_id = :agent AND day = :day), 0)
FROM spending WHERE day BETWEEN :first AND :last"""
# A hold that ran out is that of a dead process: its question was sent, and nobody knows of an answer.
_HELD: Final = """
SELECT coalesce(sum(amount), 0), coalesce(sum(amount) FILTER (WHERE day = :day), 0),
       coalesce(sum(amount) FILTER (WHERE agent_id = :agent), 0),
       coalesce(sum(amount) FILTER (WHERE agent_id = :agent AND day = :day), 0)
FROM (
    SELECT day, agent_id, CASE WHEN expires_at > :now THEN microusd ELSE sent_microusd END AS amount
    FROM spending_holds WHERE day BETWEEN :first AND :last
)"""
_HOLD: Final = """
INSERT INTO spending_holds (id, day, agent_id, provider, model, trace_id, microusd, sent_microusd, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_END: Final = "DELETE FROM spending_holds WHERE id = ? RETURNING day, agent_id, microusd"
_DEAD: Final = """
DELETE FROM spending_holds WHERE id IN (SELECT id FROM spending_holds WHERE expires_at <= ? LIMIT 100)
RETURNING day, agent_id, microusd, sent_microusd, provider, model, trace_id"""
_SPEND: Final = """
INSERT INTO spending (day, agent_id, microusd) VALUES (?, ?, ?)
ON CONFLICT (day, agent_id) DO UPDATE SET microusd = microusd + excluded.microusd"""
_AGENTS: Final = "SELECT DISTINCT agent_id FROM spending WHERE day BETWEEN ? AND ? AND agent_id <> '' LIMIT 1000"


@dataclass(frozen=True, slots=True)
class Standing:
    """How one budget stands in its present day or month, in micro-dollars; `agent_id` None is all together."""

    agent_id: str | None
    period: Period
    limit_microusd: int | None  # None: no limit is set
    spent_microusd: int
    held_microusd: int  # set aside for calls under way

    @property
    def left_microusd(self) -> int | None:
        """What may still be spent; None without a limit."""
        if self.limit_microusd is None:
            return None
        return max(0, self.limit_microusd - self.spent_microusd - self.held_microusd)


@dataclass(frozen=True, slots=True)
class _Limits:
    day: int | None = None
    month: int | None = None

    @property
    def any(self) -> bool:
        return self.day is not None or self.month is not None


@dataclass(frozen=True, slots=True)
class _Rules:
    """The configuration, in whole micro-dollars; replaced as one."""

    together: _Limits
    agents: dict[str, _Limits]
    tables: dict[str, ProviderSettings]

    def of(self, agent_id: str | None) -> _Limits:
        return _UNLIMITED if agent_id is None else self.agents.get(agent_id, _UNLIMITED)


_UNLIMITED: Final = _Limits()


class Budgets:
    """The purse of the cascade, over the store.

    Args:
        store: where spending and holds are kept, for all processes of the home.
        events: where a refusal and a lost hold are told.
        clock: says which day it is, and when a hold runs out.
        settings: the limits, and the providers' own prices and addresses.
        prices: the price file; the one that came with this version if None.
    """

    def __init__(
        self,
        store: Store,
        events: EventLog,
        clock: Clock,
        settings: Settings,
        *,
        prices: Prices | None = None,
    ) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._prices = prices
        self._told: dict[tuple[str, str, str], None] = {}
        self._rules = _rules(settings)

    def configure(self, settings: Settings) -> None:
        """Take another configuration, at once; what was spent and held stays."""
        self._rules = _rules(settings)

    @property
    def prices(self) -> Prices:
        """The price file."""
        if self._prices is None:
            self._prices = Prices.load()
        return self._prices

    # Prices --------------------------------------------------------------------------------------------------

    def price(self, provider: Provider, model: str) -> Price | None:
        """Return what a provider charges for a model; None where nobody knows."""
        table = self._rules.tables.get(provider.name)
        if table is not None and (table.price is not None or not provider.free):
            return self.prices.at(table, model)
        return _FREE if provider.free else None

    def cost(self, provider: Provider, model: str, usage: Usage) -> int | None:
        """Return what these tokens cost in micro-dollars; None where no price is known, 0 where it is free."""
        price = self.price(provider, model)
        return 0 if price is not None and price.free else cost_microusd(price, usage)

    # Reserving -----------------------------------------------------------------------------------------------

    def applies(self, origin: Origin, provider: Provider) -> bool:
        """Return whether a budget holds for this call; without one nothing is set aside and nobody waits."""
        # A call that would leave no record is not made: `reserve` refuses it.
        if self._store.read_only:
            return True
        rules = self._rules
        if not rules.together.any and not rules.of(origin.agent_id).any:
            return False
        table = rules.tables.get(provider.name)
        return not provider.free or (table is not None and table.price is not None)

    async def reserve(self, origin: Origin, provider: Provider, model: str, request: ChatRequest) -> Hold | Refused:
        """Set aside what the call may cost at most, or say why it may not be made; durable when it returns.

        Raises:
            StoreError: the store did not take it.
        """
        if not self.applies(origin, provider):
            return _NOTHING
        if self._store.read_only:
            advice = "start with `timmy lab --write` to ask from here"
            return Refused("this home is open to be read only, and an answer would leave no record", advice)
        price = self.price(provider, model)
        if price is None:
            return Refused(
                f"a budget is set, and nobody knows what {model} costs",
                f'add price = {{ input = …, output = … }} (dollars for a million tokens) to [[providers]] name = "'
                f'{provider.name}", or take the limits out of [budget]',
            )
        if price.free:
            return _NOTHING
        question = tokens.estimate(request.messages, request.tools) + tokens.estimate(request.prefill)
        most = most_microusd(price, question, request.max_tokens or OUTPUT_TOKENS)
        sent = most_microusd(price, question, 0)
        wish = _Wish(Hold(new_id(), most), origin, provider.name, model, sent, request.timeout_s)
        try:
            return await self._store.awrite(lambda connection: self._reserve(connection, wish))
        except asyncio.CancelledError:
            # It may be on its way to the disk; writes keep their order, so this one comes behind it.
            self.release(wish.hold)
            raise

    def _reserve(self, connection: Connection, wish: _Wish) -> Hold | Refused:
        now = self._clock.now()
        self._fold(connection, now)
        limits = (self._rules.together, self._rules.of(wish.origin.agent_id))
        used = _used(connection, now, wish.origin.agent_id)
        for scope, limit in zip(("", wish.origin.agent_id or ""), limits, strict=True):
            for period, most in (("day", limit.day), ("month", limit.month)):
                taken = used[scope != "", period]
                if most is not None and sum(taken) + wish.hold.microusd > most:
                    self._tell(connection, wish, scope, period, most, taken, now)
                    return _refusal(wish, scope, period, most, taken)
        expires = to_us(now + timedelta(seconds=wish.timeout_s + GRACE_S))
        owner = (_day(now), wish.origin.agent_id or "", wish.provider, wish.model, wish.origin.trace_id)
        connection.execute(_HOLD, (wish.hold.id, *owner, wish.hold.microusd, wish.sent_microusd, expires))
        data = {"held_microusd": wish.hold.microusd, "provider": wish.provider, "model": wish.model}
        self._events.append_in(connection, _event("budget.reserved", data, wish.origin.agent_id, wish.origin.trace_id))
        return wish.hold

    def _tell(
        self, connection: Connection, wish: _Wish, scope: str, period: str, limit: int, taken: _Taken, now: datetime
    ) -> None:
        """Say once a day or month that a budget refused; every refusal stands in its request's own events anyway."""
        key = (scope, period, _day(now) if period == "day" else _day(now)[:7])
        if key in self._told:
            return
        if len(self._told) >= _TOLD:
            self._told.clear()
        self._told[key] = None
        data = {
            "scope": "agent" if scope else "all",
            "period": period,
            "limit_microusd": limit,
            "spent_microusd": taken[0],
            "held_microusd": taken[1],
            "wanted_microusd": wish.hold.microusd,
            "provider": wish.provider,
            "model": wish.model,
        }
        self._events.append_in(connection, _event("budget.exceeded", data, wish.origin.agent_id, wish.origin.trace_id))

    def _fold(self, connection: Connection, now: datetime) -> None:
        """Book what dead processes had sent, and give the rest of their holds back."""
        lost = connection.execute(_DEAD, (to_us(now - timedelta(seconds=FOLD_S)),)).fetchall()
        for day, agent, held, sent, provider, model, trace in lost:
            connection.execute(_SPEND, (day, agent, sent))
            data = {
                "reason": "its process ended without a record; the question counts as paid, the answer does not",
                "held_microusd": held,
                "spent_microusd": sent,
                "provider": provider,
                "model": model,
                "day": day,
            }
            self._events.append_in(connection, _event("budget.released", data, agent or None, trace))

    # Ending a hold -------------------------------------------------------------------------------------------

    def release(self, hold: Hold) -> None:
        """Give a hold back whose call was never made; a hold that could not be given back runs out."""
        if hold.id is None:
            return

        def written(future: Future[Any]) -> None:
            error = None if future.cancelled() else future.exception()
            if error is not None:
                _log.error("the hold %s was not given back: %s", hold.id, error)

        try:
            self._store.submit(lambda connection: connection.execute(_END, (hold.id,)).fetchall()).add_done_callback(
                written
            )
        except StoreError as error:
            _log.error("the hold %s was not given back: %s", hold.id, error)

    # Looking -------------------------------------------------------------------------------------------------

    def left(self) -> list[Standing]:
        """Return how the budgets stand: all together by day and month, then every agent that has a limit or spent."""
        now = self._clock.now()
        rules = self._rules
        with self._store.read() as connection:
            spent = {row[0] for row in connection.execute(_AGENTS, _month(now))}
            agents = [None, *sorted(spent | set(rules.agents))]
            used = {agent: _used(connection, now, agent) for agent in agents}
        found: list[Standing] = []
        for agent in agents:
            limits = rules.together if agent is None else rules.of(agent)
            taken = used[agent]
            found.append(Standing(agent, "day", limits.day, *taken[agent is not None, "day"]))
            found.append(Standing(agent, "month", limits.month, *taken[agent is not None, "month"]))
        return found


def settle(
    connection: Connection, *, hold_id: str | None, agent_id: str | None, cost: int | None, now: datetime
) -> None:
    """Book what an attempt cost and end its hold, inside the transaction of the attempt's record."""
    day, agent = _day(now), agent_id or ""
    if hold_id is not None:
        held = connection.execute(_END, (hold_id,)).fetchone()
        if held is not None:
            day, agent = held[0], held[1]
            # Without a figure the whole of what was set aside is gone, so that no budget is passed unseen.
            cost = held[2] if cost is None else cost
    if cost:
        connection.execute(_SPEND, (day, agent, cost))


_Taken = tuple[int, int]  # spent, held
_FREE: Final = Price(0, 0)


@dataclass(frozen=True, slots=True)
class _Wish:
    """A call that would be made, and the hold that it needs."""

    hold: Hold
    origin: Origin
    provider: str
    model: str
    sent_microusd: int
    timeout_s: float


def _used(connection: Connection, now: datetime, agent_id: str | None) -> dict[tuple[bool, str], _Taken]:
    """What is spent and held, by (of the agent, period)."""
    first, last = _month(now)
    asked = {"day": _day(now), "agent": agent_id or "", "first": first, "last": last, "now": to_us(now)}
    spent = connection.execute(_SPENT, asked).fetchone()
    held = connection.execute(_HELD, asked).fetchone()
    keys = ((False, "month"), (False, "day"), (True, "month"), (True, "day"))
    return {key: (spent[index], held[index]) for index, key in enumerate(keys)}


def _refusal(wish: _Wish, scope: str, period: str, limit: int, taken: _Taken) -> Refused:
    whose = f"the budget of {scope}" if scope else "the budget"
    table = f"[budget.agents.{scope}]" if scope else "[budget]"
    free = max(0, limit - sum(taken))
    message = (
        f"{whose} has {dollars(free)} of {dollars(limit)} left for this {period} (UTC), "
        f"and the call may cost {dollars(wish.hold.microusd)}"
    )
    return Refused(message, f"raise {period}_usd under {table}, give the request a smaller max_tokens, or wait")


def dollars(microusd: int) -> str:
    """Return micro-dollars in words, exactly: `$0.000123`, `$12.50`."""
    whole, rest = divmod(microusd, MILLION)
    cents = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"${whole:,}.{cents}"


def _rules(settings: Settings) -> _Rules:
    budget = settings.budget
    agents = {name: _limits(limit) for name, limit in budget.agents.items()}
    return _Rules(_limits(budget), agents, {table.name: table for table in settings.providers})


def _limits(budget: Budget) -> _Limits:
    day = None if budget.day_usd is None else int(budget.day_usd * MILLION)
    month = None if budget.month_usd is None else int(budget.month_usd * MILLION)
    return _Limits(day, month)


def _day(now: datetime) -> str:
    return now.strftime("%Y-%m-%d")


def _month(now: datetime) -> tuple[str, str]:
    return now.strftime("%Y-%m-01"), now.strftime("%Y-%m-31")


def _event(kind: str, data: dict[str, Any], agent_id: str | None, trace_id: str) -> NewEvent:
    return NewEvent(kind, _SOURCE, data, agent_id=agent_id, trace_id=trace_id)
