"""Hedging: a second provider is asked beside one that is slower than it usually is, and the first token wins."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol, Self, TypeVar

from timmy_core.errors import ProviderError
from timmy_core.router.attempt import Try
from timmy_core.router.call import Desk
from timmy_core.router.chat import Chunk
from timmy_core.router.waiting import chunks_of, whole_stream

T = TypeVar("T")

LEAST: Final = 20
"""So many first tokens have to be known before one can be called late."""

MOST: Final = 100

_REFRESH: Final = 10


class _Times:
    """The last times of one kind, and their p95, which is worked out anew only now and then."""

    __slots__ = ("_ms", "_p95", "_stale")

    def __init__(self, ms: Sequence[float]) -> None:
        self._ms = collections.deque(ms, maxlen=MOST)
        self._p95: float | None = None
        self._stale = _REFRESH

    def add(self, ms: float) -> None:
        self._ms.append(ms)
        self._stale += 1

    def p95_ms(self) -> float | None:
        if len(self._ms) < LEAST:
            return None
        if self._p95 is None or self._stale >= _REFRESH:
            self._p95 = sorted(self._ms)[int(0.95 * (len(self._ms) - 1) + 0.5)]
            self._stale = 0
        return self._p95


class FirstTokens:
    """How long first tokens usually take, by provider and model; whole answers are kept apart from streams.

    Args:
        before: what is known from before this process began, in ms, the newest last.
    """

    def __init__(self, before: Callable[[str, str], Sequence[float]] | None = None) -> None:
        self._before = before
        self._times: dict[tuple[str, str, bool], _Times] = {}

    def note(self, provider: str, model: str, streamed: bool, ms: float) -> None:  # noqa: FBT001 - a part of the key
        """Take note of one."""
        self._of(provider, model, streamed).add(ms)

    def late_s(self, attempt: Try) -> float | None:
        """Return after how long an attempt is later than 95 % of those before it; None where too few are known."""
        p95_ms = self._of(attempt.provider.name, attempt.request.model, attempt.call.streamed).p95_ms()
        return None if p95_ms is None else p95_ms / 1000

    def _of(self, provider: str, model: str, streamed: bool) -> _Times:  # noqa: FBT001 - a part of the key
        key = (provider, model, streamed)
        times = self._times.get(key)
        if times is None:
            known = self._before(provider, model) if streamed and self._before is not None else ()
            times = self._times[key] = _Times(known)
        return times


class Opened:
    """A stream whose first token has come."""

    def __init__(self, first: collections.deque[Chunk], source: AsyncGenerator[Chunk, None]) -> None:
        self._first = first
        self._source = source

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if self._first:
            return self._first.popleft()
        return await anext(self._source)

    async def aclose(self) -> None:
        """Close the provider's stream."""
        await self._source.aclose()


async def opened(attempt: Try, desk: Desk) -> Opened:
    """Return a provider's stream once its first token has come.

    Raises:
        ProviderError: it failed before.
    """
    source = chunks_of(attempt, desk)
    first: collections.deque[Chunk] = collections.deque()
    # Whatever ends this early goes through the source itself, which closes it.
    async for chunk in source:
        first.append(chunk)
        if chunk.text or chunk.tool_calls:
            break
    else:
        whole_stream(attempt)
    return Opened(first, source)


class Beside(Protocol):
    """Finds somebody to ask beside the one who is late."""

    def __call__(self, running: Try) -> Awaitable[Try | None]:
        """Return an attempt that may be made at once; None where there is nobody."""
        ...


class Race(Generic[T]):
    """One attempt, and a second beside it once the first is late; whoever delivers first wins.

    The loser is cancelled, has ended when `run` returns, and is recorded. The first attempt stays its owner's to
    end; so does the winner.

    Args:
        first: the attempt that was due.
        late_s: when it is late.
        beside: finds the second.
        begin: what an attempt has to deliver.
        drop: ends what was delivered by one that did not win.
    """

    def __init__(
        self,
        first: Try,
        late_s: float,
        beside: Beside,
        begin: Callable[[Try], Awaitable[T]],
        drop: Callable[[T], Awaitable[None]],
    ) -> None:
        self._first = first
        self._late_s = late_s
        self._beside = beside
        self._begin = begin
        self._drop = drop
        self._running: dict[asyncio.Task[T], Try] = {}
        self._second: Try | None = None

    async def run(self) -> tuple[Try, T] | None:
        """Return who won and what it delivered; None when both failed, which is settled then."""
        try:
            won = await self._run()
            await self._end(won)
        except BaseException as error:
            await self._cancel()
            if self._second is not None:
                self._second.__exit__(type(error), error, error.__traceback__)
            raise
        return won

    async def _run(self) -> tuple[Try, T] | None:
        self._start(self._first)
        done, _ = await asyncio.wait(self._running, timeout=self._late_s)
        if not done:
            self._second = await self._beside(self._first)
            if self._second is not None:
                self._start(self._second)
        while self._running:
            done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in self._running if task in done]:
                attempt = self._running[task]
                try:
                    result = task.result()
                except ProviderError as error:
                    del self._running[task]
                    attempt.fail(error)
                    if attempt.call.stopped:
                        return None
                else:
                    del self._running[task]
                    return attempt, result
        return None

    def _start(self, attempt: Try) -> None:
        self._running[asyncio.ensure_future(self._begin(attempt))] = attempt

    async def _end(self, won: tuple[Try, T] | None) -> None:
        """End who did not win, and give back what it held at once."""
        losers = list(self._running.values())
        await self._cancel()
        winner = None if won is None else won[0]
        for loser in losers:
            loser.lose("nobody" if winner is None else winner.provider.name)
        for attempt in (self._first, self._second):
            if attempt is not None and attempt is not winner:
                attempt.__exit__(None, None, None)

    async def _cancel(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        tasks = list(self._running)
        self._running.clear()
        for task in tasks:
            task.cancel()
        for delivered in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(delivered, BaseException):
                await self._drop(delivered)
