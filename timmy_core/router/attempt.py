"""One permitted attempt: the clockwork that the cascade winds, settles and reports."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Final, Literal, Self

from timmy_core.errors import ProviderError
from timmy_core.router.breaker import Breaker, Permit, Snapshot, Transition
from timmy_core.router.call import Call, Desk
from timmy_core.router.candidates import Seat
from timmy_core.router.chat import Attempt, ChatRequest, Chunk, Completion, ErrorClass, ToolCall, Usage
from timmy_core.router.limits import TooSlowError
from timmy_core.router.purse import Hold
from timmy_core.router.record import AttemptRecord, CircuitRecord, Content
from timmy_core.router.tokens import estimated_usage

Why = Literal["cascade", "retry", "hedge"]

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
"""What tells something about the provider's health; everything else is our fault, the caller's, or a limit."""

# The provider may have worked on the question, and may charge for it, though not a byte of an answer came.
_MAY_CHARGE: Final = frozenset(
    {
        ErrorClass.TIMEOUT,
        ErrorClass.CANCELLED,
        ErrorClass.HEDGE_LOST,
        ErrorClass.MALFORMED,
        ErrorClass.TRUNCATED,
        ErrorClass.EMPTY,
        ErrorClass.CONTENT_FILTER,
    }
)


class Try:
    """One permitted attempt; as a context it settles itself as cancelled, or as failed by a bug, when nobody else did.

    Its slot and its place at the door are given back when the context ends, and only then.

    Args:
        call: the request that it is part of.
        seat: who is asked.
        request: what is asked.
        permit: of the breaker.
        desk: clock, recorder and purse.
        limit_s: how long the whole attempt may take, except that a stream which has begun may use the whole deadline.
        fair: whether that is enough time for a timeout to say something about the provider.
        hold: the money that was set aside.
        why: why it is made.
    """

    def __init__(
        self,
        call: Call,
        seat: Seat,
        request: ChatRequest,
        permit: Permit,
        desk: Desk,
        *,
        limit_s: float,
        fair: bool,
        hold: Hold,
        why: Why,
    ) -> None:
        self.call = call
        self.seat = seat
        self.provider = seat.provider
        self.request = request
        self.limit_s = limit_s
        self.fair = fair
        self.pieces: list[str] = []
        self.tool_calls: list[ToolCall] = []
        self.usage: Usage | None = None  # as reported so far
        self.finish: Chunk | None = None  # the piece that said how the stream ended
        self._breaker: Breaker = seat.breaker(request.model)
        self._permit = permit
        self._desk = desk
        self._hold = hold
        self._why: Why = why
        self._began = desk.clock.monotonic()
        self._first_token_ms: float | None = None
        self._index = call.asked
        self._settled = False
        self._left = False
        call.asked += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del error, trace
        if self._left:
            return
        self._left = True
        try:
            if not self._settled:
                self._abandon(kind)
        finally:
            took_s = self._desk.clock.monotonic() - self._began
            self.seat.leave()
            self.seat.slots.give(took_s)
            if self._permit.probe:
                self.seat.news.probed(self.provider.name, took_s)

    @property
    def began_to_answer(self) -> bool:
        """Whether a first piece came."""
        return self._first_token_ms is not None

    def first_token(self) -> None:
        """Note that the first piece of the answer came."""
        if self._first_token_ms is None:
            self._first_token_ms = self._elapsed_ms()
            if self.call.streamed:
                self._note(self._first_token_ms)

    def heard(self, chunk: Chunk) -> None:
        """Keep what a piece of the stream says about the whole."""
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.finish_reason is not None:
            self.finish = chunk

    def succeed(self, completion: Completion) -> Usage:
        """The provider answered; returns what it used, estimated where it did not say."""
        if not self.call.streamed:
            self._note(self._elapsed_ms())
        slow_s = self._desk.limits.slow_call_s
        slow = slow_s is not None and self._elapsed_ms() > slow_s * 1000
        before = self._breaker.snapshot
        transition = self._breaker.succeed(self._permit, slow=slow)
        usage = self._complete_usage(completion.usage, completion.text)
        self._settle(
            "completed",
            before,
            transition,
            usage=usage,
            response_model=completion.model,
            finish_reason=completion.finish_reason,
        )
        return usage

    def fail(self, error: ProviderError) -> None:
        """The provider failed; what that means for its circuit depends on the class of the error."""
        kind = ErrorClass(error.error_class)
        call, model = self.call, self.request.model
        call.failures[self.provider.name] = error
        if kind == ErrorClass.CONTENT_FILTER:
            call.stopped = True
        elif kind == ErrorClass.CONTEXT_LENGTH:
            window = self.provider.window_tokens(model)
            call.too_long_for = max(window or 0, call.too_long_for or 0) or None
        self.seat.bar(model, error)
        before = self._breaker.snapshot
        transition = None
        if kind == ErrorClass.RATE_LIMITED:
            self._breaker.limit(self._permit, error.retry_after_s)
        elif kind not in FAULTS or (kind == ErrorClass.TIMEOUT and not self._to_blame(error)):
            self._breaker.release(self._permit)
        else:
            transition = self._breaker.fail(self._permit, error.message, error_class=kind)
        self._settle("failed", before, transition, kind, error.message, error.advice, usage=self._used(kind))

    def lose(self, winner: str) -> None:
        """Another provider's first token came first; that says nothing about this one."""
        if self._settled:
            return
        if self._first_token_ms is None:
            # It took at least this long; without that the slow ones would vanish from what is remembered.
            self._note(self._elapsed_ms())
        self._drop(ErrorClass.HEDGE_LOST, f"{winner} answered first")

    def _note(self, ms: float) -> None:
        if self._desk.note is not None:
            self._desk.note(self.provider.name, self.request.model, self.call.streamed, ms)

    def _abandon(self, kind: type[BaseException] | None) -> None:
        if kind is None or not issubclass(kind, Exception):
            self._drop(ErrorClass.CANCELLED, "the caller gave up")
            return
        # A fault of ours; the permit goes back, since it says nothing about the provider. The error itself goes on to
        # the caller: its text is not known to be free of secrets, so it is not recorded.
        before = self._breaker.snapshot
        self._breaker.release(self._permit)
        message = f"the attempt broke with {kind.__name__}"
        malformed = ErrorClass.MALFORMED
        self._settle("failed", before, None, malformed, message, usage=self._used(malformed))

    def _drop(self, kind: ErrorClass, message: str) -> None:
        before = self._breaker.snapshot
        self._breaker.release(self._permit)
        self._settle("cancelled", before, None, kind, message, usage=self._used(kind))

    def _to_blame(self, error: ProviderError) -> bool:
        """Whether a timeout is the provider's fault, and not that of a caller who has no time."""
        fair = error.fair if isinstance(error, TooSlowError) else None
        return self.fair if fair is None else fair

    def _elapsed_ms(self) -> float:
        return (self._desk.clock.monotonic() - self._began) * 1000

    def _complete_usage(self, usage: Usage, text: str) -> Usage:
        """Fill in what the provider did not say."""
        if usage.input_tokens is not None and usage.output_tokens is not None:
            return usage
        ours = estimated_usage(self.request, text, self.tool_calls)
        return replace(
            usage,
            input_tokens=ours.input_tokens if usage.input_tokens is None else usage.input_tokens,
            output_tokens=ours.output_tokens if usage.output_tokens is None else usage.output_tokens,
            estimated=True,
        )

    def _used(self, kind: ErrorClass) -> Usage:
        """What an attempt without an answer used: nothing, unless the provider had begun to work."""
        if self.usage is None and not self.began_to_answer and kind not in _MAY_CHARGE:
            return Usage()
        return self._complete_usage(self.usage or Usage(), "".join(self.pieces))

    def _settle(
        self,
        outcome: Literal["completed", "failed", "cancelled"],
        before: Snapshot,
        transition: Transition | None,
        error_class: str | None = None,
        message: str = "",
        advice: str = "",
        *,
        usage: Usage,
        response_model: str | None = None,
        finish_reason: str | None = None,
    ) -> None:
        self._settled = True
        call, desk, model = self.call, self._desk, self.request.model
        name = self.provider.name
        charged = usage.input_tokens is not None or usage.output_tokens is not None
        cost = desk.purse.cost(self.provider, model, usage) if charged else 0
        attempt = Attempt(
            name,
            model,
            outcome,
            self._elapsed_ms(),
            self._first_token_ms,
            error_class,
            message,
            advice,
            cost,
            self._why,
        )
        call.attempts.append(attempt)
        recorder = desk.recorder
        record = AttemptRecord(
            origin=call.origin,
            index=self._index,
            kind=self.provider.kind,
            streamed=call.streamed,
            attempt=attempt,
            usage=usage,
            response_model=response_model,
            finish_reason=finish_reason,
            cost_microusd=cost,
            hold_id=self._hold.id,
            content=self._content() if recorder.wants_content else None,
            only=call.options.provider is not None,
            local_only=call.options.local_only,
        )
        after = self._breaker.snapshot
        moved = transition is not None or (before is not after and before != after)
        recorder.attempted(record, CircuitRecord(call.origin, name, model, after, transition) if moved else None)

    def _content(self) -> Content:
        return Content(self.request.messages, "".join(self.pieces), tuple(self.tool_calls))
