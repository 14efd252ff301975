"""One request and its attempts: the clockwork that the cascade winds, settles and reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal, Self

from timmy_core.clock import Clock
from timmy_core.errors import ProviderError
from timmy_core.router.breaker import Breaker, Permit, Snapshot, Transition
from timmy_core.router.chat import Attempt, ChatRequest, ErrorClass, Message, Provider, Usage
from timmy_core.router.record import AttemptRecord, CircuitRecord, Origin, Recorder

# What tells something about the provider's health; everything else is our fault, the caller's, or a limit.
FAULTS: Final = frozenset(
    {
        ErrorClass.REFUSED,
        ErrorClass.CONNECTION,
        ErrorClass.TIMEOUT,
        ErrorClass.SERVER,
        ErrorClass.OVERLOADED,
        ErrorClass.MALFORMED,
        ErrorClass.TRUNCATED,
        ErrorClass.EMPTY,
    }
)

Change = Callable[[], Transition | None]


@dataclass(slots=True)
class Call:
    """One request on its way through the cascade."""

    origin: Origin
    messages: tuple[Message, ...]
    model: str
    streamed: bool
    max_tokens: int | None
    temperature: float | None
    began: float
    ends: float
    attempts: list[Attempt] = field(default_factory=list)
    asked: int = 0
    stopped: bool = False  # no other provider may be asked: the refusal was about the content

    def skip(self, provider: Provider, model: str, error_class: ErrorClass, message: str, advice: str) -> None:
        """Note a provider that is not asked at all."""
        self.attempts.append(
            Attempt(provider.name, model, "skipped", error_class=error_class, message=message, advice=advice)
        )


class Try:
    """One permitted attempt; as a context it settles itself as cancelled, or as failed by a bug, when nobody else did.

    Args:
        limit_s: how long the whole attempt may take, except that a stream which has begun may use the whole deadline.
        fair: whether that is enough time for a timeout to say something about the provider.
    """

    def __init__(
        self,
        call: Call,
        provider: Provider,
        request: ChatRequest,
        breaker: Breaker,
        permit: Permit,
        clock: Clock,
        recorder: Recorder,
        *,
        limit_s: float,
        fair: bool,
    ) -> None:
        self.call = call
        self.provider = provider
        self.request = request
        self.limit_s = limit_s
        self._breaker = breaker
        self._permit = permit
        self._clock = clock
        self._recorder = recorder
        self._fair = fair
        self._began = clock.monotonic()
        self._first_token_ms: float | None = None
        self._index = call.asked
        self._settled = False
        call.asked += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del error, trace
        if self._settled:
            return
        if kind is not None and issubclass(kind, Exception):
            # A fault of ours; the permit goes back, since it says nothing about the provider. The error itself goes
            # on to the caller: its text is not known to be free of secrets, so it is not recorded.
            message = f"the attempt broke with {kind.__name__}"
            self._settle("failed", ErrorClass.MALFORMED, message, change=self._neutral)
            return
        self._settle("cancelled", ErrorClass.CANCELLED, "the caller gave up", change=self._neutral)

    def first_token(self) -> None:
        """Note when the first piece of text came."""
        if self._first_token_ms is None:
            self._first_token_ms = self._elapsed_ms()

    def succeed(self, usage: Usage, model: str | None, finish_reason: str) -> None:
        """The provider answered."""
        self._settle(
            "completed",
            change=lambda: self._breaker.succeed(self._permit),
            usage=usage,
            response_model=model,
            finish_reason=finish_reason,
        )

    def fail(self, error: ProviderError) -> None:
        """The provider failed; what that means for its circuit depends on the class of the error."""
        kind = error.error_class
        if kind == ErrorClass.CONTENT_FILTER:
            self.call.stopped = True

        def change() -> Transition | None:
            if kind == ErrorClass.RATE_LIMITED:
                self._breaker.limit(self._permit, error.retry_after_s)
                return None
            if kind not in FAULTS or (kind == ErrorClass.TIMEOUT and not self._fair):
                self._neutral()
                return None
            return self._breaker.fail(self._permit, error.message)

        self._settle("failed", kind, error.message, error.advice, change=change)

    def cost_microusd(self) -> int | None:
        """What this attempt costs: nothing on a machine of the owner's, unknown elsewhere."""
        return 0 if self.provider.free else None

    def _neutral(self) -> None:
        self._breaker.release(self._permit)

    def _elapsed_ms(self) -> float:
        return (self._clock.monotonic() - self._began) * 1000

    def _settle(
        self,
        outcome: Literal["completed", "failed", "cancelled"],
        error_class: str | None = None,
        message: str = "",
        advice: str = "",
        *,
        change: Change,
        usage: Usage | None = None,
        response_model: str | None = None,
        finish_reason: str | None = None,
    ) -> None:
        self._settled = True
        before = self._breaker.snapshot
        transition = change()
        name, model = self.provider.name, self.request.model
        attempt = Attempt(name, model, outcome, self._elapsed_ms(), self._first_token_ms, error_class, message, advice)
        self.call.attempts.append(attempt)
        record = AttemptRecord(
            origin=self.call.origin,
            index=self._index,
            kind=self.provider.kind,
            streamed=self.call.streamed,
            attempt=attempt,
            usage=usage or Usage(),
            response_model=response_model,
            finish_reason=finish_reason,
            cost_microusd=self.cost_microusd(),
        )
        after = self._breaker.snapshot
        self._recorder.attempted(record, self._circuit(before, after, transition))

    def _circuit(self, before: Snapshot, after: Snapshot, transition: Transition | None) -> CircuitRecord | None:
        if transition is None and before == after:
            return None
        return CircuitRecord(self.call.origin, self.provider.name, self.request.model, after, transition)
