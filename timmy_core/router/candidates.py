"""Who may be asked, and why somebody may not: everything that is known before a word is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from timmy_core.errors import ProviderError
from timmy_core.router.breaker import Breaker, Refusal
from timmy_core.router.call import Call
from timmy_core.router.chat import ErrorClass, Provider
from timmy_core.router.news import News
from timmy_core.router.slots import Slots
from timmy_core.router.tokens import at_least


class Skip(NamedTuple):
    """Why a provider is not asked, and what to do about it."""

    error_class: ErrorClass
    message: str
    advice: str = ""


class Bar(NamedTuple):
    """A fault of ours that lasts until the configuration changes; it looks like the failure that showed it."""

    error_class: str
    message: str
    advice: str


_REFUSALS: Final[dict[Refusal, tuple[ErrorClass, str, str]]] = {
    "open": (ErrorClass.CIRCUIT_OPEN, "it failed too often and is left alone for another {wait:.0f} s", ""),
    "probing": (ErrorClass.CIRCUIT_OPEN, "it failed too often, and another request is trying it just now", ""),
    "limited": (ErrorClass.RATE_LIMITED, "it asked to be left alone for another {wait:.0f} s", ""),
    "isolated": (
        ErrorClass.ISOLATED,
        "it was taken out by hand",
        "run `timmy router close {name}` when it may be asked again",
    ),
}

_BARRING: Final = {ErrorClass.AUTH: True, ErrorClass.MODEL_NOT_FOUND: False}  # True: whatever the model
_BAD_ADDRESS: Final = 404


class Seat:
    """One provider's door, with what is known of it: its circuits, its slots, its bars, and what a person set.

    A changed configuration puts another door on a new seat, which takes over all of that except the bars.

    Args:
        provider: the door.
        slots: how many calls it may have at once.
        new_breaker: makes the circuit of one of its models.
        news: where the end of a probe is told.
    """

    def __init__(
        self, provider: Provider, slots: Slots, new_breaker: Callable[[str, str], Breaker], news: News
    ) -> None:
        self.provider = provider
        self.slots = slots
        self.news = news
        self.breakers: dict[str, Breaker] = {}
        self.bars: dict[str | None, Bar] = {}  # by model; None is every model
        self.enabled: bool | None = None  # as a person set it; None: as it is configured
        self.priority: int | None = None
        self.isolated = False
        self.retired = False
        self._new_breaker = new_breaker
        self._users = 0
        self._left: asyncio.Event | None = None

    def breaker(self, model: str) -> Breaker:
        """Return the circuit of one model."""
        breaker = self.breakers.get(model)
        if breaker is None:
            breaker = self.breakers[model] = self._new_breaker(self.provider.name, model)
            if self.isolated:
                breaker.isolate("isolated by hand")
        return breaker

    def resolve(self, model: str) -> str | None:
        """Return the provider's own name of what the caller asked for; that name itself is understood too."""
        provider = self.provider
        if model in provider.models:
            return provider.models[model]
        if model == "default":
            return provider.default_model
        return model if model in provider.models.values() else None

    def bar(self, model: str, error: ProviderError) -> None:
        """Remember a fault that only another configuration can mend; others are not."""
        whole = _BARRING.get(ErrorClass(error.error_class))
        if whole is None:
            if error.error_class != ErrorClass.BAD_REQUEST or getattr(error, "status", None) != _BAD_ADDRESS:
                return
            whole = False
        self.bars[None if whole else model] = Bar(error.error_class, error.message, error.advice)

    def enter(self) -> None:
        """Take note that somebody is at this door, or waits for it."""
        self._users += 1

    def leave(self) -> None:
        """Take note that somebody has gone."""
        self._users -= 1
        if not self._users and self._left is not None:
            self._left.set()

    async def idle(self) -> None:
        """Wait until nobody is at this door."""
        while self._users:
            self._left = self._left or asyncio.Event()
            self._left.clear()
            await self._left.wait()

    # Why it may not be asked --------------------------------------------------------------------------------

    def why_not(self, call: Call, model: str | None) -> Skip | None:
        """Return why it may not be asked this, its slots, its circuit and its budget apart."""
        provider, options = self.provider, call.options
        problem = provider.problem()
        if problem is not None:
            return Skip(ErrorClass.NOT_CONFIGURED, *problem)
        if self.enabled is False:
            return Skip(ErrorClass.DISABLED, "it is switched off", f"run `timmy router enable {provider.name}`")
        if options.local_only and not provider.local:
            advice = "ask without local_only, or add a provider on this machine"
            return Skip(ErrorClass.NOT_LOCAL, "the question may not leave this machine, and it is elsewhere", advice)
        if model is None:
            advice = f'add {options.model} = "…" to the models of [[providers]] name = "{provider.name}"'
            return Skip(ErrorClass.NOT_CONFIGURED, f"it has no model for {options.model!r}", advice)
        if self.bars:
            bar = self.bars.get(None) or self.bars.get(model)
            if bar is not None:
                return Skip(ErrorClass(bar.error_class), bar.message, bar.advice)
        window = provider.window_tokens(model)
        return None if window is None else _too_long(call, window)

    def ready(self, call: Call) -> bool:
        """Return whether it could be asked now, if a slot were free."""
        model = self.resolve(call.options.model)
        return self.why_not(call, model) is None and model is not None and self.breaker(model).refusal() is None


def _too_long(call: Call, window: int) -> Skip | None:
    advice = "shorten the conversation or max_tokens, or choose a model with a larger window"
    if call.too_long_for is not None and window <= call.too_long_for:
        message = f"its window of {window:,} tokens is not larger than the one for which the question was too long"
        return Skip(ErrorClass.CONTEXT_LENGTH, message, advice)
    if call.least_tokens is None:
        options = call.options
        call.least_tokens = at_least(call.messages, options.tools) + (options.max_tokens or 0)
    if call.least_tokens > window:
        message = f"question and answer need at least {call.least_tokens:,} tokens; its window has {window:,}"
        return Skip(ErrorClass.CONTEXT_LENGTH, message, advice)
    return None


def refused(provider: str, refusal: Refusal, retry_in_s: float) -> Skip:
    """Return a breaker's refusal in words."""
    error_class, message, advice = _REFUSALS[refusal]
    return Skip(error_class, message.format(wait=retry_in_s), advice.format(name=provider))
