"""A made-up past: the real cascade serves requests in a time that jumps, and everything is recorded."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final

from timmy_core.clock import from_us
from timmy_core.errors import ProviderError
from timmy_core.events.log import EventLog
from timmy_core.router.cascade import Cascade
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass, Message, Usage
from timmy_core.router.limits import Limits
from timmy_core.router.metrics import Metrics
from timmy_core.router.record import AttemptRecord, CircuitRecord, Origin, UnansweredRecord
from timmy_core.router.recorded import Asked, Record, Recording, Tried
from timmy_core.router.status import ProviderInfo
from timmy_core.router.virtual import JumpingClock, run_jumping
from timmy_core.settings import RouterSettings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock, ScriptedProvider

START: Final = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Weather:
    """How one provider does: typical seconds, and when it is down and how it fails then."""

    name: str
    typical_s: float = 0.5
    down: Sequence[tuple[float, float]] = ()
    kind: ErrorClass = ErrorClass.SERVER
    fails_after_s: float = 0.05
    local: bool = True


class Sky(ScriptedProvider):
    """A provider under such weather."""

    def __init__(self, weather: Weather, place: int, clock: JumpingClock, seed: int) -> None:
        super().__init__(weather.name, priority=place, local=weather.local, free=weather.local)
        self._weather, self._clock = weather, clock
        self._chance = Random(f"{weather.name}/{seed}")  # noqa: S311 - for a simulation

    async def chat(self, request: ChatRequest) -> Completion:
        await asyncio.sleep(self._took())
        return Completion("ok", "stop", Usage(100, 50), request.model)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        del request
        took_s = self._took()
        await asyncio.sleep(0.2 * took_s)
        yield Chunk("ok")
        await asyncio.sleep(0.8 * took_s)
        yield Chunk(finish_reason="stop", usage=Usage(100, 50))

    def _took(self) -> float:
        now_s, weather = self._clock.monotonic(), self._weather
        if any(begin <= now_s < end for begin, end in weather.down):
            if weather.kind == ErrorClass.TIMEOUT:
                return 1e6
            raise ProviderError(weather.kind, "it is down")
        return weather.typical_s * math.exp(self._chance.gauss(0, 0.4))


@dataclass
class Tape:
    """Keeps what the cascade records, with the moment."""

    clock: JumpingClock
    wants_content: bool = False
    attempts: list[tuple[float, AttemptRecord]] = field(default_factory=list)
    unasked: list[tuple[float, UnansweredRecord]] = field(default_factory=list)

    def attempted(self, record: AttemptRecord, circuit: CircuitRecord | None) -> None:
        del circuit
        self.attempts.append((self.clock.monotonic(), record))

    def circuit_changed(self, circuit: CircuitRecord) -> None:
        pass

    def unanswered(self, record: UnansweredRecord) -> None:
        self.unasked.append((self.clock.monotonic(), record))


def info(weather: Weather) -> ProviderInfo:
    """Return what such a provider is."""
    model = f"{weather.name}-model"
    return ProviderInfo(
        weather.name, "scripted", 1, model, {"default": model}, {model: None}, weather.local, weather.local,
        can_prefill=False, max_concurrency=None, first_token_s=None, enabled=True, isolated=False, problem="",
        advice="",
    )  # fmt: skip


def lived(
    weathers: Sequence[Weather],
    arrivals: Sequence[float],
    *,
    router: RouterSettings | None = None,
    streamed: bool = False,
    only: str | None = None,
    local_only: bool = False,
    seed: int = 0,
) -> Tape:
    """Let requests come at these seconds, and return what was recorded."""
    clock = JumpingClock(START)
    tape = Tape(clock)
    doors = [Sky(weather, place, clock, seed) for place, weather in enumerate(weathers)]
    chance = Random(seed)  # noqa: S311 - for a simulation
    limits = Limits.from_settings(router or RouterSettings())
    cascade = Cascade(doors, offline=lambda _: "", limits=limits, clock=clock, recorder=tape, purse=None, random=chance)

    async def one(number: int) -> None:
        origin, messages = Origin(f"{number:032x}"), (Message("user", "."),)
        if streamed:
            async for _ in cascade.stream(messages, origin=origin, provider=only, local_only=local_only):
                pass
        else:
            await cascade.chat(messages, origin=origin, provider=only, local_only=local_only)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number, at_s in enumerate(arrivals):
                await asyncio.sleep(max(0.0, at_s - clock.monotonic()))
                group.create_task(one(number))

    run_jumping(clock, main())
    return tape


def taped(tape: Tape) -> Recording:
    """Return the recording of a tape, without a store."""
    requests: dict[str, Asked] = {}
    records: dict[tuple[str, str], list[Tried]] = {}
    for ended_s, record in sorted(tape.attempts, key=lambda pair: pair[1].index):
        attempt, trace = record.attempt, record.origin.trace_id
        latency_s = attempt.latency_ms / 1000
        tried = Tried(
            ended_s - latency_s, attempt.provider, attempt.model, attempt.outcome, attempt.error_class, attempt.message,
            attempt.why, record.streamed, latency_s,
            None if attempt.first_token_ms is None else attempt.first_token_ms / 1000,
            record.usage.input_tokens, record.usage.output_tokens, None, record.cost_microusd,
        )  # fmt: skip
        asked = requests.setdefault(trace, Asked(tried.at_s, trace, None, record.streamed))
        asked.tries.append(tried)
        if tried.telling:
            records.setdefault((attempt.provider, attempt.model), []).append(tried)
    for ended_s, unanswered in tape.unasked:
        trace = unanswered.origin.trace_id
        requests.setdefault(trace, Asked(ended_s - unanswered.latency_ms / 1000, trace, None, streamed=False))
    ordered = sorted(requests.values(), key=lambda asked: asked.at_s)
    until = from_us(int(START.timestamp() * 1e6) + 10**12)
    return Recording(START, until, ordered, {key: Record(tries) for key, tries in records.items()})


def kept(tape: Tape, store: Store) -> None:
    """Write a tape to a store through the real recorder, each record at its moment."""
    clock = FakeClock(START)
    metrics = Metrics(store, EventLog(store, clock))
    moments = [(at_s, record) for at_s, record in tape.attempts] + [(at_s, record) for at_s, record in tape.unasked]
    for at_s, record in sorted(moments, key=lambda pair: pair[0]):
        clock.advance(max(0.0, at_s - (clock.now() - START).total_seconds()))
        if isinstance(record, AttemptRecord):
            metrics.attempted(record, None)
        else:
            metrics.unanswered(record)
        store.write(lambda _: None)  # it is written before the time goes on
