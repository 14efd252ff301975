"""What it costs to account for a call: setting money aside, the record of an attempt, and reading the figures back.

    python tests/bench/money.py --rounds 5 --attempts 300000

The disk's own floor stands beside the reservations: an empty write through the same store, durable too.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from figures import load, machine, options, percentile, scratch, spread, table

from timmy_core.clock import SystemClock, to_us
from timmy_core.events.log import EventLog
from timmy_core.router.budget import Budgets
from timmy_core.router.chat import Attempt, ChatRequest, Message, Usage
from timmy_core.router.metrics import Metrics
from timmy_core.router.record import AttemptRecord, Origin
from timmy_core.router.report import MAX_ROWS
from timmy_core.settings import Settings
from timmy_core.store.engine import Store
from timmy_core.testing import ScriptedProvider

ORIGIN = Origin("0" * 32, agent_id="timmy")
PAID = ScriptedProvider("paid", free=False)
REQUEST = ChatRequest((Message("user", "What is a circuit breaker? " * 20),), "m", 30.0, 5.0, max_tokens=300)
CALLS, AT_ONCE = 200, 64
ROW = """
INSERT INTO provider_metrics (event_seq, ts, trace_id, attempt, streamed, provider, model, outcome, error_class,
                              latency_us, first_token_us, input_tokens, output_tokens, cost_microusd)
VALUES (?, ?, 't', 0, 1, ?, ?, ?, ?, ?, ?, 100, 50, 5)"""


class Parts:
    """A store with its log, metrics and budgets."""

    def __init__(self, home: Path) -> None:
        self.clock = SystemClock()
        self.store = Store.open(home / "timmy.db")
        events = EventLog(self.store, self.clock)
        self.metrics = Metrics(self.store, events)
        paid = {"name": "paid", "kind": "openai", "api_key": "none", "price": {"input": "0.2", "output": "1.2"}}
        budget = {"day_usd": 1000, "month_usd": 10_000, "agents": {"timmy": {"day_usd": 900}}}
        settings = Settings.model_validate({"home": home, "budget": budget, "providers": (paid,)})
        self.budgets = Budgets(self.store, events, self.clock, settings)

    async def reserve(self) -> None:
        await self.budgets.reserve(ORIGIN, PAID, "m", REQUEST)

    async def nothing(self) -> None:
        await self.store.awrite(lambda _: None)

    def fill(self, attempts: int) -> None:
        """Write attempts of the last hours, 20 ms apart."""
        now = to_us(self.clock.now())
        rows = (
            (
                index,
                now - (attempts - index) * 20_000,
                f"p{index % 4}",
                f"m{index % 3}",
                *(("completed", None) if index % 10 else ("failed", "server_error")),
                random.randrange(1_000_000),  # noqa: S311 - a latency
                random.randrange(100_000),  # noqa: S311
            )
            for index in range(attempts)
        )
        self.store.write(lambda connection: connection.executemany(ROW, rows))


async def one_by_one(call: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return p50 and p99 of single calls, in ms."""
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await call()
        times.append((time.perf_counter() - began) * 1000)
    return percentile(times, 50), percentile(times, 99)


async def at_once(call: Callable[[], Awaitable[object]]) -> float:
    """Return how long so many calls at once take together, in ms."""
    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(AT_ONCE)))
    return (time.perf_counter() - began) * 1000


def took_ms(call: Callable[[], Any]) -> float:
    """Return how long one call takes, in ms."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def record_us(parts: Parts) -> float:
    """Return what handing an attempt's record over costs the caller, in µs."""
    attempt = Attempt("paid", "m", "completed", 100.0, 20.0, cost_microusd=5)
    record = AttemptRecord(ORIGIN, 0, "x", True, attempt, Usage(100, 50), "m", "stop", 5)
    times = []
    for _ in range(CALLS):
        times.append(took_ms(lambda: parts.metrics.attempted(record, None)) * 1000)
        parts.store.write(lambda _: None)
    return percentile(times, 50)


def main() -> None:
    given = options(__doc__ or "", rounds=5, attempts=300_000)
    before = load()
    found: dict[str, list[float]] = {}

    def note(what: str, value: float) -> None:
        found.setdefault(what, []).append(value)

    with scratch(given.folder) as home:
        parts = Parts(home)
        parts.fill(given.attempts)
        for _ in range(given.rounds):
            for name, call in (("an empty write", parts.nothing), ("a reservation", parts.reserve)):
                p50, p99 = asyncio.run(one_by_one(call))
                note(f"{name}, p50 ms", p50)
                note(f"{name}, p99 ms", p99)
                note(f"{AT_ONCE} at once: {name}, all together, ms", asyncio.run(at_once(call)))
            note("an attempt's record, what the caller waits, p50 µs", record_us(parts))
            note("`numbers` of a provider, ms", took_ms(lambda: parts.metrics.numbers("p1")))
            note("`budgets.left`, ms", took_ms(parts.budgets.left))
            note(f"`report` over {MAX_ROWS:,} attempts, ms", took_ms(parts.metrics.report))
        parts.store.close()
    print(f"Accounting, with {given.attempts:,} attempts in the store. {machine(given.folder)};", end=" ")
    print(f"{before} before, {load()} after.\n")
    print(table(("What", f"{given.rounds} rounds"), [(what, spread(values)) for what, values in found.items()]))


if __name__ == "__main__":
    main()
