"""Waiting for one provider, no longer than it may take, and telling an answer from what only looks like one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from typing import Final

from timmy_core.errors import ProviderError
from timmy_core.router.alarm import Alarm
from timmy_core.router.attempt import Try
from timmy_core.router.call import Desk
from timmy_core.router.chat import Chunk, Completion, ErrorClass, Usage
from timmy_core.router.limits import Pace, TooSlowError

CONTENT_FILTER: Final = "content_filter"
"""The finish reason into which each door translates its own word."""

_MAX_PARTS: Final = 1_000_000


async def whole_of(attempt: Try) -> Completion:
    """Return a provider's whole answer.

    Raises:
        ProviderError: it failed, took too long, or its answer is none.
    """
    alarm = Alarm()
    alarm.set(attempt.limit_s)
    try:
        completion = await attempt.provider.chat(attempt.request)
    except asyncio.CancelledError:
        if alarm.rang():
            message = f"it gave no whole answer within {attempt.limit_s:.3g} s"
            raise TooSlowError(attempt.provider.name, message, "deadline_s or body_s") from None
        raise
    finally:
        alarm.clear()
        alarm.close()
    attempt.usage = completion.usage
    attempt.pieces = [completion.text]
    attempt.tool_calls = list(completion.tool_calls)
    return checked(completion)


async def chunks_of(attempt: Try, desk: Desk) -> AsyncGenerator[Chunk, None]:
    """Yield a provider's chunks within the limits of time; none spans a yield, so none can hit the consumer.

    Raises:
        ProviderError: it failed or took too long.
    """
    limits, name, now = desk.limits, attempt.provider.name, desk.clock.monotonic
    limit_s, ends, begun, pace = attempt.request.first_token_s, attempt.call.ends, False, None
    with closing(Alarm()) as alarm:
        async with aclosing(attempt.provider.stream(attempt.request)) as chunks:
            for _ in range(_MAX_PARTS):
                asked = now()
                alarm.set(limit_s)
                try:
                    chunk = await anext(chunks, None)
                except asyncio.CancelledError:
                    if alarm.rang():
                        raise _silent(attempt, limit_s, begun=begun, whole=limit_s >= limits.between_tokens_s) from None
                    raise
                finally:
                    alarm.clear()
                if chunk is None:
                    return
                begun = True
                if chunk.usage is not None or chunk.finish_reason is not None:
                    attempt.heard(chunk)
                if chunk.text:
                    if pace is None:
                        attempt.first_token()
                        pace = Pace(limits.min_chars_per_s, limits.pace_window_s)
                    elif pace.drips(now() - asked, len(chunk.text)):
                        message = f"its answer dripped: less than {limits.min_chars_per_s:g} characters a second"
                        raise TooSlowError(name, message, "min_chars_per_s", fair=True)
                elif chunk.tool_calls:
                    attempt.first_token()
                yield chunk
                limit_s = min(limits.between_tokens_s, max(0.0, ends - now()))


def whole_stream(attempt: Try) -> Completion:
    """Put a finished stream together.

    Raises:
        ProviderError: it was cut, however politely it ended, or its answer is none.
    """
    last = attempt.finish
    if last is None or last.finish_reason is None:
        message = "its stream ended before the answer was finished"
        raise ProviderError(ErrorClass.TRUNCATED, message, advice="try again; if it lasts, look at the server's log")
    text, model = "".join(attempt.pieces), last.model or attempt.request.model
    return checked(Completion(text, last.finish_reason, attempt.usage or Usage(), model, tuple(attempt.tool_calls)))


def checked(completion: Completion) -> Completion:
    """Let only an answer through: words or a tool's call, that no filter took away."""
    if completion.finish_reason == CONTENT_FILTER:
        message = "it refused to answer because of what the question or the answer is about"
        raise ProviderError(ErrorClass.CONTENT_FILTER, message, advice="ask in other words")
    if not completion.tool_calls and not completion.text.strip():
        message = f"it finished ({completion.finish_reason}) without a word"
        raise ProviderError(ErrorClass.EMPTY, message, advice="try again, or choose another model")
    return completion


def _silent(attempt: Try, limit_s: float, *, begun: bool, whole: bool) -> TooSlowError:
    name = attempt.provider.name
    if not begun:
        return TooSlowError(name, f"its first token did not come within {limit_s:.3g} s", "first_token_s")
    if whole:
        return TooSlowError(name, f"its stream stalled for {limit_s:.3g} s", "between_tokens_s", fair=True)
    return TooSlowError(name, "its stream was not finished when the deadline came", "deadline_s")
