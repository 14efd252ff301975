"""Recorded requests, replayed against another policy: the real cascade and its real breakers, in a time that jumps.

Each request comes when it came. Who is asked, for how long and what follows is decided by the very code that serves,
under the policy that is tried. A provider that was asked then gives what it gave then. One that was not asked gives
what it gave to somebody else around that moment, drawn by chance from its own record (`near` in `recorded`).

What this cannot know is listed in `LIMITS`; how well it does shows when today's own policy is replayed and compared
with what really happened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Final

from timmy_core.errors import ReplayError
from timmy_core.router.cascade import Cascade
from timmy_core.router.chat import Answer, Attempt, Delta, Done, Message, Provider, Usage
from timmy_core.router.limits import Limits
from timmy_core.router.options import ChatOptions
from timmy_core.router.purse import NoPurse
from timmy_core.router.record import AttemptRecord, CircuitRecord, Origin, UnansweredRecord
from timmy_core.router.recorded import Asked, Recording
from timmy_core.router.replay_doors import PLAY, Play, ReplayedProvider
from timmy_core.router.report import percentile_ms
from timmy_core.router.status import ProviderInfo
from timmy_core.router.virtual import JumpingClock, run_jumping
from timmy_core.settings import RouterSettings

Cost = Callable[[Provider, str, Usage], int | None]

PATIENCE_S: Final = 60.0

LIMITS: Final = (
    (
        "A provider that was not asked then is given what it did to others around that moment. What it would have done "
        "with this very question nobody knows, nor whether more traffic would have slowed it down."
    ),
    "What broke off because of our own limit of time counts as never answered, also where the tried limit is longer.",
    (
        "What a person steered, budgets, windows of models and the own deadlines of single callers play no part. How "
        "long a rate limit was asked for is not recorded; 5 s are taken. Where no price is known now, tokens cost what "
        "they did on average then."
    ),
    "Requests whose callers went away are left out. All circuits are closed at the beginning.",
)
"""What a replay cannot know, to be shown beside its figures."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A policy to be tried: who is asked in which order, and every number of `[router]`.

    Args:
        order: names of providers; who is not among them is not asked.
        router: the numbers.
    """

    order: tuple[str, ...]
    router: RouterSettings = field(default_factory=RouterSettings)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one request; seconds count from the beginning of the recording."""

    at_s: float
    provider: str  # who answered; empty: nobody
    latency_s: float
    first_token_s: float | None
    cost_microusd: int | None
    attempts: int
    drawn: int = 0  # of the attempts: not recorded of this request, so drawn from the provider's record
    far: int = 0  # of these: from more than an hour away

    @property
    def answered(self) -> bool:
        """Whether a model answered."""
        return bool(self.provider)


@dataclass(frozen=True, slots=True)
class Figures:
    """What all fates come to. Times are those of the answers, as their callers waited for them."""

    requests: int
    answered: int
    availability: float | None
    p50_ms: float | None
    p95_ms: float | None
    first_token_p50_ms: float | None
    first_token_p95_ms: float | None
    cost_microusd: int
    unpriced: int  # requests whose cost nobody knows
    attempts: int
    drawn: int
    far: int
    by_provider: Mapping[str, int]  # answers

    @classmethod
    def of(cls, fates: Sequence[Fate]) -> Figures:
        """Count."""
        answered = [fate for fate in fates if fate.answered]
        whole = sorted(round(fate.latency_s * 1e6) for fate in answered)
        first = sorted(round(fate.first_token_s * 1e6) for fate in answered if fate.first_token_s is not None)
        by: dict[str, int] = {}
        for fate in answered:
            by[fate.provider] = by.get(fate.provider, 0) + 1
        return cls(
            requests=len(fates),
            answered=len(answered),
            availability=len(answered) / len(fates) if fates else None,
            p50_ms=percentile_ms(whole, 50),
            p95_ms=percentile_ms(whole, 95),
            first_token_p50_ms=percentile_ms(first, 50),
            first_token_p95_ms=percentile_ms(first, 95),
            cost_microusd=sum(fate.cost_microusd or 0 for fate in fates),
            unpriced=sum(fate.cost_microusd is None for fate in fates),
            attempts=sum(fate.attempts for fate in fates),
            drawn=sum(fate.drawn for fate in fates),
            far=sum(fate.far for fate in fates),
            by_provider=by,
        )


@dataclass(frozen=True, slots=True)
class CircuitMove:
    """One move of a circuit in the replay."""

    at_s: float
    provider: str
    model: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """One recording under one policy."""

    since: datetime
    until: datetime
    fates: Sequence[Fate]
    figures: Figures
    moves: Sequence[CircuitMove] = ()
    unknown: tuple[str, ...] = ()  # providers of the plan of whom nothing is recorded, so that nobody asked them

    @property
    def opened(self) -> int:
        """How often a closed circuit opened."""
        return sum(move.before == "closed" and move.after == "open" for move in self.moves)


def as_recorded(recording: Recording) -> Replayed:
    """Return what really happened, in the same form."""
    fates = tuple(
        Fate(
            asked.at_s,
            next((tried.provider for tried in asked.tries if tried.outcome == "completed"), ""),
            asked.latency_s,
            asked.first_token_s,
            asked.cost_microusd,
            len(asked.tries),
        )
        for asked in recording.requests
    )
    return Replayed(recording.since, recording.until, fates, Figures.of(fates))


def replay(
    recording: Recording,
    plan: Plan,
    providers: Sequence[ProviderInfo],
    *,
    cost: Cost | None = None,
    seed: int = 0,
    patience_s: float = PATIENCE_S,
) -> Replayed:
    """Replay a recording under another policy; blocks for about a second for each few thousand requests.

    The same seed draws the same for the same request and provider, so that two policies meet the same luck.

    Args:
        recording: what was recorded.
        plan: the policy.
        providers: what each provider of the plan is.
        cost: what tokens cost; without it, what is not free costs nobody knows what.
        seed: of all chance.
        patience_s: how long it may take.

    Raises:
        ReplayError: the plan names nobody or somebody unknown, or it took too long.
    """
    infos = {info.name: info for info in providers}
    _check(plan, infos)
    clock = JumpingClock(recording.since)
    limits = Limits.from_settings(plan.router)
    doors = [
        ReplayedProvider(infos[name], place, recording, limits, clock.monotonic)
        for place, name in enumerate(plan.order)
    ]
    witness = _Witness(clock)
    cascade = Cascade(
        doors,
        offline=_no_words,
        limits=limits,
        clock=clock,
        recorder=witness,
        purse=_Purse(cost, recording),
        random=Random(seed),  # noqa: S311 - for a simulation
    )
    aliases = {(info.name, model): alias for info in providers for alias, model in _default_last(info)}
    stage = _Stage(cascade, clock, recording, aliases, seed, time.monotonic() + patience_s)
    fates = run_jumping(clock, stage.play())
    unknown = tuple(door.name for door in doors if door.problem() is not None)
    return Replayed(recording.since, recording.until, fates, Figures.of(fates), tuple(witness.moves), unknown)


def _check(plan: Plan, infos: Mapping[str, ProviderInfo]) -> None:
    known = ", ".join(infos) or "none is configured"
    if not plan.order:
        message = f"the policy asks nobody; name at least one of: {known}"
        raise ReplayError(message)
    wrong = next((name for name in plan.order if name not in infos or plan.order.count(name) > 1), None)
    if wrong is not None:
        message = f"the policy's order has {wrong!r}, which is unknown or there twice; expected each once of: {known}"
        raise ReplayError(message)


def _default_last(info: ProviderInfo) -> Iterator[tuple[str, str]]:
    """Yield (what callers ask for, the provider's own name of it); `default` wins where two mean one model."""
    yield from sorted(info.models.items(), key=lambda pair: pair[0] == "default")


class _Stage:
    """Lets the requests come when they came."""

    def __init__(
        self,
        cascade: Cascade,
        clock: JumpingClock,
        recording: Recording,
        aliases: Mapping[tuple[str, str], str],
        seed: int,
        ends: float,
    ) -> None:
        self._cascade = cascade
        self._names = frozenset(provider.name for provider in cascade.providers)
        self._clock = clock
        self._recording = recording
        self._aliases = aliases
        self._seed = seed
        self._ends = ends

    async def play(self) -> tuple[Fate, ...]:
        """Return what became of each."""
        requests = self._recording.requests
        fates: list[Fate | None] = [None] * len(requests)

        async def one(number: int, asked: Asked) -> None:
            fates[number] = await self._one(number, asked)

        try:
            async with asyncio.TaskGroup() as group:
                for number, asked in enumerate(requests):
                    self._check_patience(number)
                    # A request may have begun a little before the recording; the time cannot.
                    await asyncio.sleep(max(0.0, asked.at_s - self._clock.monotonic()))
                    group.create_task(one(number, asked))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return tuple(fate for fate in fates if fate is not None)

    def _check_patience(self, number: int) -> None:
        if time.monotonic() > self._ends:
            of = f"request {number:,} of {len(self._recording.requests):,}"
            message = f"the replay took too long and was ended at {of}; choose a shorter time"
            raise ReplayError(message)

    async def _one(self, number: int, asked: Asked) -> Fate:
        play = Play(number, asked, self._seed)
        PLAY.set(play)
        began = self._clock.monotonic()
        alias = next((self._aliases.get((tried.provider, tried.model)) for tried in asked.tries), None) or "default"
        if asked.only and asked.only not in self._names:
            # Nobody else may answer what was meant for one who is not asked any more.
            return Fate(began, "", 0.0, None, 0, 0)
        options = ChatOptions(model=alias, provider=asked.only or None, local_only=asked.local_only)
        origin = Origin(asked.trace_id, asked.agent_id)
        messages = (Message("user", "."),)
        first_s = None
        if asked.streamed:
            answer: Answer | None = None
            async for part in self._cascade.stream(messages, origin=origin, **options):
                if isinstance(part, Delta) and first_s is None:
                    first_s = self._clock.monotonic() - began
                if isinstance(part, Done):
                    answer = part.answer
        else:
            answer = await self._cascade.chat(messages, origin=origin, **options)
        return _fate(answer, began, first_s, play)


def _fate(answer: Answer | None, began: float, first_s: float | None, play: Play) -> Fate:
    if answer is None:
        message = "a replayed stream ended without an answer; this is a fault of the replay, please report it"
        raise ReplayError(message)
    made = sum(attempt.outcome != "skipped" for attempt in answer.attempts)
    return Fate(
        at_s=began,
        provider="" if answer.offline else answer.provider,
        latency_s=answer.latency_ms / 1000,
        first_token_s=None if answer.offline else first_s,
        cost_microusd=answer.cost_microusd,
        attempts=made,
        drawn=play.draws,
        far=play.far,
    )


class _Purse(NoPurse):
    """Knows prices and no budgets."""

    def __init__(self, cost: Cost | None, recording: Recording) -> None:
        self._cost = cost or super().cost
        self._recording = recording

    def cost(self, provider: Provider, model: str, usage: Usage) -> int | None:
        """Return what these tokens cost now; where no price is known, what they cost on average then."""
        question, _ = PLAY.get().asked.tokens
        if usage.estimated and question is not None:
            usage = Usage(question, usage.output_tokens)
        known = self._cost(provider, model, usage)
        record = None if known is not None else self._recording.record(provider.name, model)
        return known if record is None else record.cost((usage.input_tokens or 0) + (usage.output_tokens or 0))


class _Witness:
    """Keeps the moves of circuits."""

    wants_content = False

    def __init__(self, clock: JumpingClock) -> None:
        self.moves: list[CircuitMove] = []
        self._clock = clock

    def attempted(self, record: AttemptRecord, circuit: CircuitRecord | None) -> None:
        """Keep what an attempt did to its circuit."""
        del record
        if circuit is not None:
            self.circuit_changed(circuit)

    def circuit_changed(self, circuit: CircuitRecord) -> None:
        """Keep a move."""
        move = circuit.transition
        if move is not None:
            now = self._clock.monotonic()
            self.moves.append(CircuitMove(now, circuit.provider, circuit.model, move.before, move.after, move.reason))

    def unanswered(self, record: UnansweredRecord) -> None:
        """The fate says so."""


def _no_words(attempts: Sequence[Attempt]) -> str:
    del attempts
    return ""
