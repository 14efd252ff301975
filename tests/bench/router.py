"""The router's own cost: the same question through the bare official client and through the cascade.

    python tests/bench/router.py

The server is another process that answers at once. Callers take turns, in another order each round: first call by
call, then in blocks of calls without a pause.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
from figures import differences, load, machine, options, percentile, scratch, spread, table, verdict
from respond import TOKENS, responder

from timmy_core.events.log import EventLog
from timmy_core.loop import LoopThread
from timmy_core.router.cascade import Cascade
from timmy_core.router.chat import Delta
from timmy_core.router.metrics import Metrics
from timmy_core.router.providers import OfflineAnswer, build_provider
from timmy_core.router.router import Router
from timmy_core.settings import ProviderSettings, RouterSettings
from timmy_core.store.engine import Store

MESSAGES = [
    {"role": "system", "content": "You are Timmy, an agent that runs on its owner's own machine. Answer plainly."},
    {"role": "user", "content": "What is a circuit breaker, and why would a router of language models want one?"},
]
BARE, QUIET, CASCADE, ROUTER = "bare AsyncOpenAI", "cascade, not recording", "cascade", "router, from another loop"

WARM = 50

Call = Callable[[], Awaitable[object]]


class Parts:
    """Every caller, built on one server and one store."""

    def __init__(self, base_url: str, home: Path) -> None:
        self.store = Store.open(home / "log.db")
        self.metrics = Metrics(self.store, EventLog(self.store))
        self.loop = LoopThread("bench-loop")
        self.client = openai.AsyncOpenAI(api_key="none", base_url=base_url, max_retries=0)
        self.quiet = self._cascade(base_url, home, None)
        self.cascade = self._cascade(base_url, home, self.metrics)
        self.router = Router(self._cascade(base_url, home, self.metrics), self.loop, self.metrics)

    def _cascade(self, base_url: str, home: Path, recorder: Metrics | None) -> Cascade:
        table: dict[str, Any] = {"name": "local", "kind": "openai", "base_url": base_url, "api_key": "none"}
        settings = ProviderSettings.model_validate({**table, "models": {"default": "tiny"}})
        provider = build_provider(settings, RouterSettings())
        return Cascade([provider], offline=OfflineAnswer(home / "timmy.toml"), recorder=recorder)

    def whole(self) -> dict[str, Call]:
        return {
            BARE: lambda: self.client.chat.completions.create(model="tiny", messages=MESSAGES),  # type: ignore[arg-type]
            QUIET: lambda: self.quiet.chat(MESSAGES),
            CASCADE: lambda: self.cascade.chat(MESSAGES),
            ROUTER: lambda: self.router.chat(MESSAGES),
        }

    def streamed(self) -> dict[str, Call]:
        return {
            BARE: self._bare_stream,
            QUIET: lambda: _drain(self.quiet.stream(MESSAGES)),
            CASCADE: lambda: _drain(self.cascade.stream(MESSAGES)),
            ROUTER: lambda: _drain(self.router.stream(MESSAGES)),
        }

    async def _bare_stream(self) -> None:
        stream = await self.client.chat.completions.create(
            model="tiny", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )  # type: ignore[call-overload]
        pieces = [event.choices[0].delta.content async for event in stream if event.choices]
        assert sum(piece is not None for piece in pieces) == TOKENS

    async def settle(self) -> None:
        """Wait until every record is written, so that no block pays for the one before."""
        await self.store.awrite(lambda _: None)

    async def close(self) -> None:
        await self.client.close()
        await self.quiet.close()
        await self.cascade.close()
        self.router.close()
        self.loop.close()
        self.store.close()


async def _drain(parts: Any) -> None:
    async with aclosing(parts) as items:
        pieces = [part.text async for part in items if isinstance(part, Delta)]
    assert len(pieces) == TOKENS


async def block(call: Call, many: int) -> list[float]:
    """Call one after the other and return the milliseconds of each."""
    times = []
    for _ in range(many):
        began = time.perf_counter()
        await call()
        times.append((time.perf_counter() - began) * 1000)
    return times


@dataclass(frozen=True, slots=True)
class Block:
    """What one block of calls took: each call's time, and the whole process's work a call, its records included."""

    times_ms: list[float]
    cpu_ms: float

    @property
    def p50_ms(self) -> float:
        return percentile(self.times_ms, 50)


Result = dict[str, list[Block]]


async def apart(parts: Parts, calls: dict[str, Call], many: int) -> Result:
    """Alternate call by call and wait after each until its record is written, as questions of people come."""
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    work: dict[str, float] = dict.fromkeys(names, 0.0)
    for index in range(many + WARM):
        for name in names[index % len(names) :] + names[: index % len(names)]:
            worked = time.process_time()
            took = await block(calls[name], 1)
            await parts.settle()
            if index >= WARM:
                times[name] += took
                work[name] += time.process_time() - worked
    return {name: [Block(values, work[name] / many * 1000)] for name, values in times.items()}


async def together(parts: Parts, calls: dict[str, Call], rounds: int, many: int) -> Result:
    """Alternate in blocks of calls without a pause, so that writing one record is in the way of the next call."""
    names = list(calls)
    result: Result = {name: [] for name in names}
    for index in range(rounds + 1):
        for name in names[index % len(names) :] + names[: index % len(names)]:
            gc.collect()
            worked = time.process_time()
            times = await block(calls[name], many)
            await parts.settle()
            if index:  # the first round warms up
                result[name].append(Block(times, (time.process_time() - worked) / many * 1000))
    return result


def rows(what: str, result: Result, each: int = 1) -> list[list[str]]:
    """One row a caller; `each` tokens share the cost where the answer is streamed."""
    unit = 1000 / each if each > 1 else 1.0
    return [
        [
            f"{what}: {name}",
            spread([block.p50_ms for block in blocks]),
            spread([percentile(block.times_ms, 99) for block in blocks]),
            "-" if name == BARE else spread([value * unit for value in over_bare(result, name)]),
            spread([block.cpu_ms for block in blocks]),
        ]
        for name, blocks in result.items()
    ]


def over_bare(result: Result, name: str) -> list[float]:
    """Return each round's difference of medians, in milliseconds."""
    return differences([block.p50_ms for block in result[name]], [block.p50_ms for block in result[BARE]])


async def run(home: Path, rounds: int, many: int) -> tuple[Result, Result, Result]:
    with responder() as base_url:
        parts = Parts(base_url, home)
        try:
            alone = await apart(parts, parts.whole(), rounds * many)
            whole = await together(parts, parts.whole(), rounds, many)
            streamed = await together(parts, parts.streamed(), rounds, max(5, many // 10))
        finally:
            await parts.close()
    return alone, whole, streamed


def main() -> None:
    given = options(__doc__ or "", rounds=16, calls=100)
    before = load()
    with scratch(given.folder) as home:
        alone, whole, streamed = asyncio.run(run(home, given.rounds, given.calls))
    print(f"The router's own cost. {machine(given.folder)}; {before} before, {load()} after.\n")
    print(
        table(
            ("One call", "p50 ms", "p99 ms", "over the bare client, p50 ms", "work of all threads, ms"),
            [*rows("apart", alone), *rows("back to back", whole)],
        ),
        end="\n\n",
    )
    header = (f"One stream of {TOKENS} tokens", "p50 ms", "p99 ms", "over the bare client, µs a token", "work, ms")
    print(table(header, rows("stream", streamed, TOKENS)), end="\n\n")
    for what, result in (("calls apart", alone), ("calls back to back", whole)):
        value = statistics.median(over_bare(result, CASCADE))
        print(verdict(f"cascade over the bare client, {what}, p50", value, " ms", at_most=0.25))


if __name__ == "__main__":
    main()
