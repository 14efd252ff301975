"""The cascade: providers in the order of their priority, the first that its breaker admits and that answers wins.

One deadline is shared by all who may still be asked. Before the first token a failure is invisible; after it a
`Switch` says that the answer starts again, or that the next provider goes on with it. When nobody answers, the
offline answer says why and what to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from random import Random
from typing import Any, Final, Unpack

from timmy_core.clock import Clock, SystemClock, new_id
from timmy_core.errors import ProviderError, StreamBrokenError
from timmy_core.router.attempt import Try
from timmy_core.router.breaker import Snapshot
from timmy_core.router.call import Call, Desk, Seam
from timmy_core.router.chat import (
    Answer,
    Attempt,
    Chunk,
    Completion,
    Delta,
    Done,
    Message,
    Provider,
    StreamPart,
    Usage,
)
from timmy_core.router.hedge import FirstTokens, Opened, Race, opened
from timmy_core.router.history import as_messages
from timmy_core.router.limits import Limits
from timmy_core.router.options import ChatOptions, Options, check_options
from timmy_core.router.purse import NoPurse, Purse
from timmy_core.router.record import CircuitRecord, NoRecorder, Origin, Recorder, UnansweredRecord
from timmy_core.router.retry import RetryBudget
from timmy_core.router.search import Search
from timmy_core.router.seats import KEEP, Keep, Moves, Seats, Standing
from timmy_core.router.waiting import CONTENT_FILTER, chunks_of, whole_of, whole_stream

__all__ = ["CONTENT_FILTER", "OFFLINE", "Cascade", "Limits", "Offline"]

Offline = Callable[[Sequence[Attempt]], str]

OFFLINE: Final = "offline"


class Cascade:
    """Asks one provider after the other; for use on one event loop.

    Args:
        providers: who may be asked; the lowest priority number comes first, and equals stay in this order.
        offline: writes the answer for when nobody answered, from the attempts.
        limits: the limits of time, of traffic, and the breakers' policy.
        clock: where the time is read.
        recorder: who is told of every attempt.
        circuits: what the breakers were before a restart, by (provider, model).
        purse: who keeps budgets and prices.
        first_tokens: what is known of (provider, model) from before: the ms that its last first tokens took.
        random: where the breakers' jitter comes from; without it every opening is exact.
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
        purse: Purse | None = None,
        first_tokens: Callable[[str, str], Sequence[float]] | None = None,
        random: Random | None = None,
    ) -> None:
        limits, clock = limits or Limits(), clock or SystemClock()
        self._offline = offline
        self._clock = clock
        self._desk = Desk(clock, recorder or NoRecorder(), purse or NoPurse(), limits, random or Random())  # noqa: S311
        self._seats = Seats(providers, limits, clock, circuits or {}, random)
        self._retries = RetryBudget(limits.retry_percent)
        self._history = FirstTokens(first_tokens)
        self._desk.note = self._history.note if limits.hedge else None

    # Asking --------------------------------------------------------------------------------------------------

    async def chat(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        *,
        origin: Origin | None = None,
        **options: Unpack[ChatOptions],
    ) -> Answer:
        """Return the answer of the first provider that gives one, or the offline answer.

        Raises:
            ValueError: the messages or an option are wrong.
        """
        call = self._begin(messages, origin, self._checked(options), streamed=False)
        search = Search(call, self._seats, self._desk, self._retries)
        while (attempt := await search.next()) is not None:
            with attempt:
                try:
                    late_s = None if self._desk.note is None else self._history.late_s(attempt)
                    if late_s is None:
                        return self._answer(attempt, await whole_of(attempt))
                    won = await Race(attempt, late_s, search.beside, whole_of, _forget).run()
                    if won is not None:
                        with won[0]:
                            return self._answer(*won)
                except ProviderError as error:
                    attempt.fail(error)
        return self._unanswered(call)

    def stream(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        *,
        origin: Origin | None = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncGenerator[StreamPart, None]:
        """Yield the answer as it comes: `Delta`s, a `Switch` where another provider speaks, and `Done` at the end.

        A `ToolCall` comes whole. After one no other provider may answer instead.

        Raises:
            ValueError: the messages or an option are wrong.
            StreamBrokenError: while it is read: the provider failed after a tool call.
        """
        return self._stream(as_messages(messages), origin or Origin(new_id()), self._checked(options))

    async def _stream(
        self, messages: tuple[Message, ...], origin: Origin, options: Options
    ) -> AsyncGenerator[StreamPart, None]:
        call = self._begin(messages, origin, options, streamed=True)
        search = Search(call, self._seats, self._desk, self._retries)
        while (due := await search.next()) is not None:
            with due:
                begun = await self._opened(search, due)
                if begun is None:
                    continue
                attempt, source = begun
                with attempt:
                    pieces = attempt.pieces
                    seam = Seam(call.shown, attempt.request.prefill) if attempt.request.prefill else None
                    try:
                        async with aclosing(source) as chunks:
                            async for chunk in chunks:
                                text = chunk.text if seam is None else seam.join(chunk.text)
                                if call.broken is not None and (text or chunk.tool_calls):
                                    yield call.switch(attempt.provider.name, continues=seam is not None)
                                if text:
                                    pieces.append(text)
                                    yield Delta(text)
                                if chunk.tool_calls:
                                    attempt.tool_calls.extend(chunk.tool_calls)
                                    for wish in chunk.tool_calls:
                                        yield wish
                        answer = self._answer(attempt, whole_stream(attempt))
                    except ProviderError as error:
                        _broke_off(attempt, error)
                        continue
                yield Done(answer)
                return
        answer = self._unanswered(call)
        if call.broken is not None:
            yield call.switch(OFFLINE, continues=False)
        yield Delta(answer.text)
        yield Done(answer)

    async def _opened(self, search: Search, attempt: Try) -> tuple[Try, Opened | AsyncGenerator[Chunk, None]] | None:
        """Return whose stream is read; None where all who were asked side by side have failed."""
        desk = self._desk
        late_s = None if desk.note is None else self._history.late_s(attempt)
        if late_s is None:
            return attempt, chunks_of(attempt, desk)
        return await Race(attempt, late_s, search.beside, lambda asked: opened(asked, desk), Opened.aclose).run()

    def _checked(self, options: ChatOptions) -> Options:
        checked = check_options(options)
        if checked.provider is not None and self._seats.get(checked.provider) is None:
            raise ValueError(self._seats.unknown(checked.provider))
        return checked

    def _begin(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        origin: Origin | None,
        options: Options,
        *,
        streamed: bool,
    ) -> Call:
        self._retries.earn()
        now = self._clock.monotonic()
        limit_s = self._desk.limits.deadline_s if options.deadline_s is None else options.deadline_s
        return Call(origin or Origin(new_id()), as_messages(messages), options, streamed, now, now + limit_s)

    def _answer(self, attempt: Try, completion: Completion) -> Answer:
        usage = attempt.succeed(completion)
        call = attempt.call
        return Answer(
            text=call.shown + completion.text if call.shown and attempt.request.prefill else completion.text,
            provider=attempt.provider.name,
            model=completion.model,
            usage=usage,
            cost_microusd=call.cost_microusd(),
            attempts=tuple(call.attempts),
            trace_id=call.origin.trace_id,
            offline=False,
            latency_ms=(self._clock.monotonic() - call.began) * 1000,
            finish_reason=completion.finish_reason,
            tool_calls=completion.tool_calls,
            local=attempt.provider.local,
        )

    def _unanswered(self, call: Call) -> Answer:
        latency_ms = (self._clock.monotonic() - call.began) * 1000
        self._desk.recorder.unanswered(UnansweredRecord(call.origin, tuple(call.attempts), latency_ms))
        return Answer(
            text=self._offline(call.attempts),
            provider=OFFLINE,
            model=OFFLINE,
            usage=Usage(),
            cost_microusd=call.cost_microusd(),
            attempts=tuple(call.attempts),
            trace_id=call.origin.trace_id,
            offline=True,
            latency_ms=latency_ms,
            finish_reason=CONTENT_FILTER if call.stopped else "stop",
        )

    # Standing and steering -----------------------------------------------------------------------------------

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Who may be asked, in the order in which they are; safe from any thread."""
        return tuple(seat.provider for seat in self._seats.order)

    def snapshot(self, provider: str, model: str) -> Snapshot:
        """Return how one circuit stands; safe from any thread."""
        return self._seats.snapshot(provider, model)

    def standing(self) -> dict[str, Standing]:
        """Return what each provider is doing now, in the order in which they are asked; safe from any thread."""
        return self._seats.standing()

    def replace(self, providers: Sequence[Provider], limits: Limits) -> list[Provider]:
        """Go by another configuration from now on; calls under way end as they began.

        Circuits, slots and what a person set stay with a provider's name; its bars go unless it is the same object.

        Returns:
            the doors that no new call goes through; close each once `idle` has returned.
        """
        gone = self._seats.replace(providers, limits)
        self._desk.limits = limits
        self._desk.note = self._history.note if limits.hedge else None
        self._retries.follow(limits.retry_percent)
        return gone

    async def idle(self, provider: Provider) -> None:
        """Wait until the last call at a door that was replaced has ended."""
        await self._seats.idle(provider)

    def set_control(
        self,
        name: str,
        *,
        enabled: bool | Keep | None = KEEP,
        priority: int | Keep | None = KEEP,
        isolated: bool | Keep = KEEP,
        origin: Origin | None = None,
    ) -> None:
        """Obey a person: what is not given stays, None is what the configuration says.

        Args:
            name: which provider.
            enabled: whether it is asked at all.
            priority: when its turn comes.
            isolated: whether its circuits are held open.
            origin: what the records of moved circuits carry; several processes that obey the same order carry the same.

        Raises:
            UnknownProviderError: no provider has that name.
        """
        moves = self._seats.set_control(name, enabled=enabled, priority=priority, isolated=isolated)
        self._tell(moves, origin)

    def close_by_hand(self, name: str, *, origin: Origin | None = None) -> None:
        """Forget all that keeps callers away from a provider: open circuits, isolation, limits and bars.

        `origin` is as in `set_control`.

        Raises:
            UnknownProviderError: no provider has that name.
        """
        moves = self._seats.close_by_hand(name)
        self._tell(moves, origin)

    def clear_bar(self, name: str) -> None:
        """Ask a provider again that was set aside for a fault of ours: it was mended without a change here.

        Raises:
            UnknownProviderError: no provider has that name.
        """
        self._seats.find(name).bars.clear()

    async def close(self) -> None:
        """Close every provider's connections."""
        await asyncio.gather(*(provider.close() for provider in self.providers))

    def _tell(self, moves: Moves, origin: Origin | None) -> None:
        for name, model, snapshot, transition in moves:
            record = CircuitRecord(origin or Origin(new_id()), name, model, snapshot, transition, ordered=True)
            self._desk.recorder.circuit_changed(record)


async def _forget(completion: Completion) -> None:
    """A whole answer that came too late needs no end."""
    del completion


def _broke_off(attempt: Try, error: ProviderError) -> None:
    """Settle a stream that failed, and remember what its reader has seen.

    Raises:
        StreamBrokenError: a tool call was passed on; nobody can answer as if it had not been.
    """
    attempt.fail(error)
    call, name = attempt.call, attempt.provider.name
    if attempt.tool_calls:
        tool = attempt.tool_calls[-1].name
        message = (
            f"{name} broke off after it had asked for the tool {tool!r} ({error.message}), so no other provider may "
            "answer instead; drop what the tool did, if that can be, and ask again"
        )
        raise StreamBrokenError(message) from error
    if attempt.pieces:
        call.shown += "".join(attempt.pieces)
        call.broken = name, error.message
