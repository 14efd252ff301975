"""Providers that do again what was recorded of them, in a time that jumps."""

from __future__ import annotations

import asyncio
import collections
import math
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import Final

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass, Health, Usage
from timmy_core.router.limits import Limits
from timmy_core.router.recorded import Asked, Recording, Tried
from timmy_core.router.status import ProviderInfo

FAR_S: Final = 3600.0
"""What was drawn from so far away says little about the moment; it is counted apart."""

# In the words of the cascade's own limits of time: with another limit nobody knows when an answer would have come.
_OUR_LIMITS: Final = (
    "its first token did not come",
    "it gave no whole answer",
    "its stream was not finished",
    "its stream stalled",
)
_FOR_EVER_S: Final = 1e6
_PIECES: Final = 3  # of the longest silence that is allowed, so that a stream flows


@dataclass(slots=True)
class Play:
    """One request while it is replayed: what was recorded of it, and how much of its fate had to be drawn."""

    number: int
    asked: Asked
    seed: int
    left: dict[str, collections.deque[Tried]] = field(default_factory=dict)  # by provider, not yet replayed
    draws: int = 0
    far: int = 0

    def __post_init__(self) -> None:
        for tried in self.asked.tries:
            # How a race that was lost would have ended, nobody knows.
            if tried.error_class not in (ErrorClass.HEDGE_LOST, ErrorClass.CANCELLED):
                self.left.setdefault(tried.provider, collections.deque()).append(tried)

    def chance(self, provider: str) -> Random:
        """Return the chance of the next draw; the same in every policy that asks this provider as often."""
        return Random(f"{self.seed}/{self.number}/{provider}/{self.draws}")  # noqa: S311 - for a simulation


PLAY: ContextVar[Play] = ContextVar("PLAY")
"""Which request the present task belongs to."""


class ReplayedProvider:
    """One provider as it was recorded.

    A request that asked it gets what it got. Another one gets what one of those got that asked it around that moment.

    Args:
        info: what the provider is.
        place: its place in the order.
        recording: what was recorded.
        limits: of the policy that is tried.
        now_s: the seconds since the recording began.
    """

    def __init__(
        self, info: ProviderInfo, place: int, recording: Recording, limits: Limits, now_s: Callable[[], float]
    ) -> None:
        self.name = info.name
        self.kind = info.kind
        self.default_model = info.default_model
        self.models = info.models
        self.priority = place
        self.first_token_s = info.first_token_s
        self.free = info.free
        self.local = info.local
        self.can_prefill = info.can_prefill
        self.max_concurrency = info.max_concurrency
        self._windows: dict[str, int] = {}
        self._recording = recording
        self._limits = limits
        self._now_s = now_s
        self._known = recording.record(info.name, info.default_model) is not None

    def problem(self) -> tuple[str, str] | None:
        """Return that nothing is known of it, where that is so."""
        return None if self._known else ("nothing is recorded of it in this time", "choose a longer time")

    def window_tokens(self, model: str) -> int | None:
        """Return that it is not known: how long a question is shows only once it was asked, so windows play no part."""
        return self._windows.get(model)

    async def chat(self, request: ChatRequest) -> Completion:
        """Take as long as it took, and end as it ended."""
        tried = self._fate(request.model)
        await asyncio.sleep(_FOR_EVER_S if _hung(tried) else tried.latency_s)
        self._raise(tried)
        return Completion(".", "stop", _usage(tried), request.model)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Begin when it began, flow evenly, and end as it ended."""
        tried = self._fate(request.model)
        first_s = tried.first_token_s
        if first_s is None and tried.outcome == "completed":
            first_s = tried.latency_s  # of a whole answer that is all that is known
        if first_s is not None:
            await asyncio.sleep(first_s)
            yield Chunk(".", usage=_usage(tried))
            async for chunk in self._flow(tried.latency_s - first_s):
                yield chunk
        elif not _hung(tried):
            await asyncio.sleep(tried.latency_s)
        if _hung(tried):
            await asyncio.sleep(_FOR_EVER_S)
        self._raise(tried)
        yield Chunk(finish_reason="stop", usage=_usage(tried), model=request.model)

    async def check(self, *, timeout_s: float) -> Health:
        """Nobody is there to be asked."""
        del timeout_s
        return Health(ok=False, message="this is a record")

    async def close(self) -> None:
        """It has no connection."""

    async def _flow(self, seconds: float) -> AsyncGenerator[Chunk, None]:
        limits = self._limits
        step_s = min(limits.between_tokens_s, limits.pace_window_s) / _PIECES
        text = "." * (math.ceil(limits.min_chars_per_s * step_s) + 1)
        for _ in range(int(seconds / step_s)):
            await asyncio.sleep(step_s)
            yield Chunk(text)
        await asyncio.sleep(math.fmod(max(0.0, seconds), step_s))

    def _fate(self, model: str) -> Tried:
        play = PLAY.get()
        own = play.left.get(self.name)
        if own:
            return own.popleft()
        now_s = self._now_s()
        record = self._recording.record(self.name, model)
        tried = None if record is None else record.near(now_s, play.chance(self.name))
        play.draws += 1
        if tried is None:
            raise ProviderError(ErrorClass.NOT_CONFIGURED, f"nothing is recorded of {model} in this time")
        play.far += abs(tried.at_s - now_s) > FAR_S
        return tried

    def _raise(self, tried: Tried) -> None:
        if tried.outcome != "completed":
            raise ProviderError(tried.error_class or ErrorClass.SERVER, tried.message or "it failed")


def _hung(tried: Tried) -> bool:
    return tried.error_class == ErrorClass.TIMEOUT and tried.message.startswith(_OUR_LIMITS)


def _usage(tried: Tried) -> Usage:
    """Return the tokens that are counted for the request that is replayed: its own, where they are known."""
    question, answer = PLAY.get().asked.tokens
    if tried.outcome != "completed":
        answer = tried.output_tokens or 0  # what had come before it broke off
    return Usage(
        tried.input_tokens if question is None else question,
        tried.output_tokens if answer is None else answer,
        tried.cached_tokens if question in (None, tried.input_tokens) else None,
    )
