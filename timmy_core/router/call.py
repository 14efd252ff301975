"""One request on its way through the cascade: what was asked, who was tried, and what its reader has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from timmy_core.clock import Clock
from timmy_core.errors import ProviderError
from timmy_core.router.chat import Attempt, ErrorClass, Message, Provider, Switch
from timmy_core.router.limits import Limits
from timmy_core.router.options import Options
from timmy_core.router.purse import Purse
from timmy_core.router.record import Origin, Recorder

Note = Callable[[str, str, bool, float], None]
"""(provider, model, streamed, ms) of a first token, or of a whole answer where it is not streamed."""


@dataclass(slots=True)
class Desk:
    """What every request of one cascade uses; `limits` are replaced when the configuration changes."""

    clock: Clock
    recorder: Recorder
    purse: Purse
    limits: Limits
    random: Random
    note: Note | None = None  # who remembers how long first tokens take, if anybody does


@dataclass(slots=True)
class Call:
    """One request; times are those of the monotonic clock."""

    origin: Origin
    messages: tuple[Message, ...]
    options: Options
    streamed: bool
    began: float
    ends: float
    attempts: list[Attempt] = field(default_factory=list)
    asked: int = 0
    stopped: bool = False  # no other provider may be asked: the refusal was about the content
    too_long_for: int | None = None  # the largest known window for which the question was too long
    least_tokens: int | None = None  # of question and answer; counted when somebody has a window
    failures: dict[str, ProviderError] = field(default_factory=dict)  # the last one of each provider
    shown: str = ""  # the text that a broken stream left before its reader
    broken: tuple[str, str] | None = None  # whose text that is, and why it broke off

    def skip(self, provider: Provider, model: str, error_class: ErrorClass, message: str, advice: str) -> None:
        """Note a provider that is not asked."""
        self.attempts.append(
            Attempt(
                provider.name,
                model,
                "skipped",
                error_class=error_class,
                message=message,
                advice=advice,
                cost_microusd=0,
            )
        )

    def unskip(self, provider: Provider) -> None:
        """Take the note back, because the provider is asked after all."""
        self.attempts[:] = [
            attempt for attempt in self.attempts if attempt.outcome != "skipped" or attempt.provider != provider.name
        ]

    def cost_microusd(self) -> int | None:
        """Return what all attempts cost together; None where one of them cost nobody knows what."""
        total = 0
        for attempt in self.attempts:
            if attempt.cost_microusd is None:
                return None
            total += attempt.cost_microusd
        return total

    def messages_for(self, provider: Provider) -> tuple[Message, ...]:
        """Return what this provider is told: what may not leave the owner's machines only where it does not.

        What the system says in several parts becomes one, because the templates of many local models take one alone.
        """
        if not any(message.local_only for message in self.messages):
            return self.messages
        told = [message for message in self.messages if provider.local or not message.local_only]
        words = [message.content for message in told if message.role == "system"]
        system = (Message("system", "\n\n".join(words)),) if words else ()
        return (*system, *(message for message in told if message.role != "system"))

    def prefill(self, provider: Provider) -> str:
        """Return how this provider's answer begins already: with what the reader has seen, if it can go on from there.

        Text that somebody is to parse, or that a tool's call may be part of, is not continued; nor, elsewhere, text
        that may say again what only local providers were told.
        """
        if not provider.local and any(message.local_only for message in self.messages):
            return ""
        if not self.shown or not provider.can_prefill or not self.options.plain:
            return ""
        return self.shown.rstrip()  # a provider may refuse a beginning that ends in white space

    def switch(self, to_provider: str, *, continues: bool) -> Switch:
        """Return what tells the reader that another one speaks now; what was void is forgotten."""
        name, reason = self.broken or ("", "")
        self.broken = None
        if not continues:
            self.shown = ""
        return Switch(name, to_provider, reason, continues)


class Seam:
    """Joins a continuation to a text whose trailing white space its provider was not told of.

    The provider goes on from the last word, so it may say that white space again; what stands there already is not
    said twice.
    """

    __slots__ = ("_said",)

    def __init__(self, shown: str, prefill: str) -> None:
        self._said = shown[len(prefill) :]

    def join(self, text: str) -> str:
        """Return what is new of the next piece; nothing, as long as it only repeats."""
        said = self._said
        if not said:
            return text
        same = 0
        while same < min(len(said), len(text)) and said[same] == text[same]:
            same += 1
        self._said = said[same:] if same == len(text) else ""
        return text[same:]
