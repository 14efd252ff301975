"""What providers are like in the sample: how fast, at which hour, and what goes wrong on which day."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, ErrorClass, ToolCall, Usage
from timmy_core.testing.clock import FakeClock
from timmy_core.testing.provider import ScriptedProvider

_PIECES: Final = 4  # of an answer that is streamed


@dataclass(frozen=True, slots=True)
class Spell:
    """A time in which something is different.

    Args:
        day: the first day, counted from 0.
        hour: and its hour.
        lasts_h: for how many hours.
        error: what a request gets; None for none.
        share: of the requests that get it.
        slower: how much longer the others take.
    """

    day: int
    hour: float
    lasts_h: float
    error: ProviderError | None = None
    share: float = 1.0
    slower: float = 1.0


@dataclass(frozen=True, slots=True)
class Nature:
    """What a provider is like.

    Args:
        kind: the kind of provider that it plays.
        models: what can be asked for.
        priority: the lowest is asked first.
        first_s: the usual time to the first token.
        tokens_s: how many tokens it makes in a second.
        prompt_s: how many tokens of a prompt it reads in a second.
        local: whether it is on the owner's machines.
        evenings: how much longer it takes between 17 and 22 o'clock.
        wrong: the share of requests that fail for no reason that anybody knows.
        spells: the times in which it is different.
    """

    kind: str
    models: Mapping[str, str]
    priority: int
    first_s: float
    tokens_s: float
    prompt_s: float
    local: bool = True
    evenings: float = 1.0
    wrong: float = 0.005
    spells: tuple[Spell, ...] = field(default=())


def _error(kind: ErrorClass, message: str, advice: str = "", retry_after_s: float | None = None) -> ProviderError:
    return ProviderError(kind, message, advice=advice, retry_after_s=retry_after_s)


_REFUSED: Final = _error(ErrorClass.REFUSED, "nothing listens at 127.0.0.1:11434", "start it with `ollama serve`")
_LIMITED: Final = _error(ErrorClass.RATE_LIMITED, "too many requests this minute", retry_after_s=40.0)
_SLOW: Final = _error(ErrorClass.TIMEOUT, "no first token within the limit")
_SICK: Final = _error(ErrorClass.SERVER, "the server answered 500: internal error")
_FULL: Final = _error(ErrorClass.OVERLOADED, "the server is overloaded")

NATURES: Final[Mapping[str, Nature]] = {
    "ollama": Nature(
        "ollama", {"default": "llama3.2", "large": "qwen3:14b"}, 1, 0.42, 31.0, 900.0, evenings=1.7, wrong=0.012,
        spells=(
            Spell(6, 13.5, 3.2, _REFUSED),
            Spell(12, 0, 24 * 40, slower=0.62),  # a graphics card was built in
            Spell(19, 9, 9, _SLOW, share=0.55, slower=1.9),
            Spell(27, 10, 1.5, _REFUSED),
        ),
    ),
    "garage": Nature(
        "openai", {"default": "gemma-3-12b"}, 2, 0.85, 19.0, 420.0, wrong=0.03,
        spells=(Spell(6, 15, 1.0, _SICK, share=0.5), Spell(22, 11, 5, _SICK, share=0.7)),
    ),
    "claude": Nature(
        "anthropic", {"default": "claude-haiku-4-5"}, 10, 0.61, 96.0, 9000.0, local=False, wrong=0.01,
        spells=(Spell(14, 15, 2, _LIMITED, share=0.6), Spell(22, 12, 1, _FULL, share=0.4)),
    ),
    "openai": Nature(
        "openai", {"default": "gpt-5.6-luna"}, 11, 0.74, 78.0, 8000.0, local=False, evenings=1.25, wrong=0.012,
        spells=(Spell(25, 19, 2, slower=2.4),),
    ),
}  # fmt: skip


class Lived(ScriptedProvider):
    """A provider of the sample: it takes its time on the clock that is moved, and fails when its nature says so.

    Args:
        name: its name.
        nature: what it is like.
        clock: the clock; moved by what an answer takes.
        began: when the sample begins.
        random: what chance is.
        answer: what it says to a request.
    """

    def __init__(
        self, name: str, nature: Nature, clock: FakeClock, began: datetime, random: Random,
        answer: Callable[[ChatRequest], str | ToolCall],
    ) -> None:  # fmt: skip
        super().__init__(
            name, priority=nature.priority, models=nature.models, free=nature.local, local=nature.local, window=32_768
        )
        self.kind = nature.kind
        self._nature, self._clock, self._began, self._random, self._answer = nature, clock, began, random, answer

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Answer in pieces, or fail."""
        asked = sum(len(message.content) for message in request.messages) // 4 + 8
        slower = self._slower(request.model)
        error = self._fails()
        if error is not None:
            self._clock.advance(self._until_error(error, request))
            raise error
        text = self._answer(request)
        self._clock.advance(slower * (self._spread(self._nature.first_s) + asked / self._nature.prompt_s))
        if isinstance(text, ToolCall):
            yield Chunk(finish_reason="tool_calls", usage=Usage(asked, 20), model=request.model, tool_calls=(text,))
            return
        tokens = max(1, len(text) // 4)
        said = max(1, len(text) // _PIECES)
        for at in range(0, len(text), said):
            self._clock.advance(slower * self._spread(tokens / self._nature.tokens_s / _PIECES))
            yield Chunk(text[at : at + said])
        yield Chunk(finish_reason="stop", usage=Usage(asked, tokens), model=request.model)

    def _fails(self) -> ProviderError | None:
        for spell in self._spells():
            if spell.error is not None and self._random.random() < spell.share:
                return spell.error
        return _SICK if self._random.random() < self._nature.wrong else None

    def _until_error(self, error: ProviderError, request: ChatRequest) -> float:
        if error.error_class == ErrorClass.TIMEOUT:
            return request.first_token_s
        return self._random.uniform(0.002, 0.02) if error.error_class == ErrorClass.REFUSED else self._spread(0.2)

    def _slower(self, model: str) -> float:
        hour = self._clock.now().hour
        slower = math.prod(spell.slower for spell in self._spells())
        slower *= self._nature.evenings if 17 <= hour < 22 else 1.0  # noqa: PLR2004 - the evening's hours
        return slower * (1.0 if model == self.default_model else 3.4)

    def _spells(self) -> list[Spell]:
        passed = self._clock.now() - self._began
        return [
            spell
            for spell in self._nature.spells
            if timedelta(0) <= passed - timedelta(days=spell.day, hours=spell.hour) < timedelta(hours=spell.lasts_h)
        ]

    def _spread(self, usual_s: float) -> float:
        """Return a time about as long as usual; a few are much longer."""
        return usual_s * math.exp(self._random.gauss(0.0, 0.32)) * (4.0 if self._random.random() < 0.01 else 1.0)  # noqa: PLR2004
