"""The cascade: providers in the order of their priority, the first that its breaker admits and that answers wins.

One deadline is shared by all who may still be asked. Before the first token a failure is invisible; after it a
`Switch` says that the answer starts again. When nobody answers, the offline answer says why and what to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Self

from timmy_core.clock import Clock, SystemClock, new_id
from timmy_core.errors import ProviderError
from timmy_core.router.attempt import Call, Try
from timmy_core.router.breaker import Breaker, Policy, Refusal, Snapshot
from timmy_core.router.chat import (
    Answer,
    Attempt,
    ChatRequest,
    Chunk,
    Completion,
    Delta,
    Done,
    ErrorClass,
    Message,
    Provider,
    StreamPart,
    Switch,
    Usage,
)
from timmy_core.router.history import as_messages
from timmy_core.router.record import CircuitRecord, NoRecorder, Origin, Recorder, UnansweredRecord
from timmy_core.settings import RouterSettings

Offline = Callable[[Sequence[Attempt]], str]

OFFLINE: Final = "offline"
CONTENT_FILTER: Final = "content_filter"  # the finish reason into which each door translates its own word
_MAX_PARTS: Final = 1_000_000
_FAIR: Final = 0.9

_REFUSALS: Final[dict[Refusal, tuple[ErrorClass, str]]] = {
    "open": (ErrorClass.CIRCUIT_OPEN, "it failed too often and is left alone for another {wait:.0f} s"),
    "probing": (ErrorClass.CIRCUIT_OPEN, "it failed too often, and another request is trying it just now"),
    "limited": (ErrorClass.RATE_LIMITED, "it asked to be left alone for another {wait:.0f} s"),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The time limits of one request, and when a circuit opens."""

    deadline_s: float = 60.0
    first_token_s: float = 20.0
    policy: Policy = field(default_factory=Policy)

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Take the limits that were configured."""
        policy = Policy(failure_threshold=settings.failure_threshold, reset_timeout_s=settings.reset_timeout_s)
        return cls(settings.deadline_s, settings.first_token_s, policy)


class Cascade:
    """Asks one provider after the other; for use on one event loop.

    Args:
        providers: who may be asked; the lowest priority number comes first, and equals stay in this order.
        offline: writes the answer for when nobody answered, from the attempts.
        limits: the time limits and the breakers' policy.
        clock: where the time is read.
        recorder: who is told of every attempt.
        circuits: what the breakers were before a restart, by (provider, model).
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        offline: Offline,
        limits: Limits | None = None,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
        circuits: Mapping[tuple[str, str], Snapshot] | None = None,
    ) -> None:
        self.providers = tuple(sorted(providers, key=lambda provider: provider.priority))
        self._offline = offline
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._recorder = recorder or NoRecorder()
        self._remembered = dict(circuits or {})
        self._breakers: dict[tuple[str, str], Breaker] = {}
        for provider in self.providers:
            for model in provider.models.values():
                self._breaker(provider.name, model)

    def snapshot(self, provider: str, model: str) -> Snapshot:
        """Return how one circuit stands; safe from any thread."""
        breaker = self._breakers.get((provider, model))
        return Snapshot() if breaker is None else breaker.snapshot

    async def chat(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        *,
        deadline_s: float | None = None,
        model: str = "default",
        origin: Origin | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> Answer:
        """Return the answer of the first provider that gives one, or the offline answer.

        Raises:
            ValueError: the messages are wrong.
        """
        call = self._begin(messages, deadline_s, model, origin, max_tokens, temperature, streamed=False)
        for attempt in self._tries(call):
            with attempt:
                completion = await self._complete(attempt)
                if completion is not None:
                    return self._answer(attempt, completion)
        return self._unanswered(call)

    async def stream(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        *,
        deadline_s: float | None = None,
        model: str = "default",
        origin: Origin | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> AsyncGenerator[StreamPart, None]:
        """Yield the answer as it comes: `Delta`s, a `Switch` where it starts again, and `Done` at the end.

        Raises:
            ValueError: the messages are wrong.
        """
        call = self._begin(messages, deadline_s, model, origin, max_tokens, temperature, streamed=True)
        shown: tuple[str, str] | None = None  # whose text stands there, and why it is void
        for attempt in self._tries(call):
            pieces: list[str] = []
            last = Chunk()
            with attempt:
                try:
                    async with aclosing(self._chunks(attempt)) as chunks:
                        async for chunk in chunks:
                            last = chunk if chunk.finish_reason is not None else last
                            if not chunk.text:
                                continue
                            if shown is not None:
                                yield Switch(shown[0], attempt.provider.name, shown[1])
                                shown = None
                            pieces.append(chunk.text)
                            yield Delta(chunk.text)
                    answer = self._answer(attempt, _checked(_whole(last, pieces, attempt)))
                except ProviderError as error:
                    attempt.fail(error)
                    if pieces:
                        shown = attempt.provider.name, error.message
                    continue
            yield Done(answer)
            return
        answer = self._unanswered(call)
        if shown is not None:
            yield Switch(shown[0], OFFLINE, shown[1])
        yield Delta(answer.text)
        yield Done(answer)

    async def close(self) -> None:
        """Close every provider's connections."""
        await asyncio.gather(*(provider.close() for provider in self.providers))

    def _breaker(self, provider: str, model: str) -> Breaker:
        key = (provider, model)
        breaker = self._breakers.get(key)
        if breaker is None:
            breaker = Breaker(self._limits.policy, self._clock, self._remembered.get(key))
            self._breakers[key] = breaker
        return breaker

    def _begin(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        deadline_s: float | None,
        model: str,
        origin: Origin | None,
        max_tokens: int | None,
        temperature: float | None,
        *,
        streamed: bool,
    ) -> Call:
        limit_s = self._limits.deadline_s if deadline_s is None else deadline_s
        if not 0 < limit_s < float("inf"):
            message = f"deadline_s is {limit_s}; expected a positive number of seconds"
            raise ValueError(message)
        now = self._clock.monotonic()
        return Call(
            origin=origin or Origin(new_id()),
            messages=as_messages(messages),
            model=model,
            streamed=streamed,
            max_tokens=max_tokens,
            temperature=temperature,
            began=now,
            ends=now + limit_s,
        )

    def _tries(self, call: Call) -> Iterator[Try]:
        """Yield a permitted attempt for each provider that may be asked, noting why the others are not."""
        candidates = [(provider, _resolve(provider, call.model)) for provider in self.providers]
        may_ask = [self._may_ask(provider, model) for provider, model in candidates]
        fair_s = min(self._limits.first_token_s, self._limits.deadline_s / max(1, sum(may_ask)))
        for index, (provider, model) in enumerate(candidates):
            if call.stopped:
                return
            remaining_s = call.ends - self._clock.monotonic()
            share_s = remaining_s / (1 + sum(may_ask[index + 1 :]))
            attempt = self._admit(call, provider, model, remaining_s, share_s, fair=share_s >= fair_s * _FAIR)
            if attempt is not None:
                yield attempt

    def _may_ask(self, provider: Provider, model: str | None) -> bool:
        if model is None or provider.problem() is not None:
            return False
        return self._breaker(provider.name, model).refusal() is None

    def _admit(
        self, call: Call, provider: Provider, model: str | None, remaining_s: float, share_s: float, *, fair: bool
    ) -> Try | None:
        problem = provider.problem()
        if problem is not None:
            call.skip(provider, model or provider.default_model, ErrorClass.NOT_CONFIGURED, *problem)
            return None
        if model is None:
            advice = f'add {call.model} = "…" to the models of [[providers]] name = "{provider.name}"'
            message = f"it has no model for {call.model!r}"
            call.skip(provider, call.model, ErrorClass.NOT_CONFIGURED, message, advice)
            return None
        if remaining_s <= 0:
            advice = "raise deadline_s under [router], or move a faster provider to the front"
            call.skip(provider, model, ErrorClass.DEADLINE, "no time was left to ask it", advice)
            return None
        breaker = self._breaker(provider.name, model)
        admission = breaker.admit(lease_s=remaining_s)
        if admission.permit is None:
            error_class, text = _REFUSALS[admission.refusal or "open"]
            call.skip(provider, model, error_class, text.format(wait=admission.retry_in_s), "")
            return None
        if admission.transition is not None:
            self._recorder.circuit_changed(
                CircuitRecord(call.origin, provider.name, model, breaker.snapshot, admission.transition)
            )
        first_token_s = provider.first_token_s or self._limits.first_token_s
        request = ChatRequest(call.messages, model, remaining_s, first_token_s, call.max_tokens, call.temperature)
        return Try(
            call, provider, request, breaker, admission.permit, self._clock, self._recorder, limit_s=share_s, fair=fair
        )

    async def _complete(self, attempt: Try) -> Completion | None:
        try:
            async with asyncio.timeout(attempt.limit_s):
                return _checked(await attempt.provider.chat(attempt.request))
        except TimeoutError:
            attempt.fail(_too_slow(attempt, f"it gave no whole answer within {attempt.limit_s:.3g} s"))
        except ProviderError as error:
            attempt.fail(error)
        return None

    async def _chunks(self, attempt: Try) -> AsyncGenerator[Chunk, None]:
        """Yield a provider's chunks within the time limits; no limit spans a yield, so none can hit the consumer."""
        waits = True
        limit_s = min(attempt.limit_s, attempt.request.first_token_s)
        text = f"its first token did not come within {limit_s:.3g} s"
        async with aclosing(attempt.provider.stream(attempt.request)) as chunks:
            for _ in range(_MAX_PARTS):
                try:
                    async with asyncio.timeout(limit_s):
                        chunk = await anext(chunks, None)
                except TimeoutError:
                    raise _too_slow(attempt, text) from None
                if chunk is None:
                    return
                if chunk.text:
                    attempt.first_token()
                yield chunk
                if waits:
                    waits, text = False, "its stream was not finished when the deadline came"
                limit_s = max(0.0, attempt.call.ends - self._clock.monotonic())

    def _answer(self, attempt: Try, completion: Completion) -> Answer:
        attempt.succeed(completion.usage, completion.model, completion.finish_reason)
        call = attempt.call
        return Answer(
            text=completion.text,
            provider=attempt.provider.name,
            model=completion.model,
            usage=completion.usage,
            cost_microusd=attempt.cost_microusd(),
            attempts=tuple(call.attempts),
            trace_id=call.origin.trace_id,
            offline=False,
            latency_ms=(self._clock.monotonic() - call.began) * 1000,
            finish_reason=completion.finish_reason,
        )

    def _unanswered(self, call: Call) -> Answer:
        latency_ms = (self._clock.monotonic() - call.began) * 1000
        self._recorder.unanswered(UnansweredRecord(call.origin, tuple(call.attempts), latency_ms))
        return Answer(
            text=self._offline(call.attempts),
            provider=OFFLINE,
            model=OFFLINE,
            usage=Usage(),
            cost_microusd=0,
            attempts=tuple(call.attempts),
            trace_id=call.origin.trace_id,
            offline=True,
            latency_ms=latency_ms,
            finish_reason=CONTENT_FILTER if call.stopped else "stop",
        )


def _resolve(provider: Provider, model: str) -> str | None:
    """The provider's own name of what the caller asked for; the name itself is understood too."""
    if model in provider.models:
        return provider.models[model]
    if model == "default" or model in provider.models.values():
        return provider.default_model if model == "default" else model
    return None


def _whole(last: Chunk, pieces: Sequence[str], attempt: Try) -> Completion:
    """Put a finished stream together; a stream without a finish reason was cut, however politely it ended."""
    if last.finish_reason is None:
        message = "its stream ended before the answer was finished"
        raise ProviderError(ErrorClass.TRUNCATED, message, advice="try again; if it lasts, look at the server's log")
    return Completion("".join(pieces), last.finish_reason, last.usage or Usage(), last.model or attempt.request.model)


def _checked(completion: Completion) -> Completion:
    """Let only an answer through: words, that no filter took away."""
    if completion.finish_reason == CONTENT_FILTER:
        message = "it refused to answer because of what the question or the answer is about"
        raise ProviderError(ErrorClass.CONTENT_FILTER, message, advice="ask in other words")
    if not completion.text.strip():
        message = f"it finished ({completion.finish_reason}) without a word"
        raise ProviderError(ErrorClass.EMPTY, message, advice="try again, or choose another model")
    return completion


def _too_slow(attempt: Try, message: str) -> ProviderError:
    advice = f'raise first_token_s of [[providers]] name = "{attempt.provider.name}", or deadline_s under [router]'
    return ProviderError(ErrorClass.TIMEOUT, message, advice=advice)
