"""The router's face: the cascade on Timmy's own loop, for callers on any loop or thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from typing import Final, Protocol

from timmy_core.clock import new_id
from timmy_core.errors import RouterError
from timmy_core.loop import LoopThread
from timmy_core.router.cascade import Cascade
from timmy_core.router.chat import Answer, Health, Message, Provider, ProviderStatus, StreamPart
from timmy_core.router.history import as_messages
from timmy_core.router.metrics import Numbers
from timmy_core.router.record import Origin

Messages = Sequence[Message | Mapping[str, str]]

_CHECK_S: Final = 5.0


class Memory(Protocol):
    """Who knows what the providers did: `timmy_core.router.metrics.Metrics`."""

    def numbers(self, provider: str) -> Numbers:
        """Return what one provider did."""
        ...


class Router:
    """Asks the cascade from anywhere; cancelling the caller cancels the provider's call.

    Args:
        cascade: who is asked, in which order.
        loop: the loop that does all network I/O.
        memory: where `status()` reads its numbers; without it they are all zero.
    """

    def __init__(self, cascade: Cascade, loop: LoopThread, memory: Memory | None = None) -> None:
        self._cascade = cascade
        self._loop = loop
        self._memory = memory

    async def chat(
        self,
        messages: Messages,
        *,
        deadline_s: float | None = None,
        trace_id: str | None = None,
        agent_id: str | None = None,
        task_id: str | None = None,
        session: str | None = None,
        model: str = "default",
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> Answer:
        """Return the answer of the first provider that gives one, or the offline answer; never raises for a provider.

        Raises:
            ValueError: the messages are wrong.
            LoopClosedError: Timmy is closed.
        """
        origin = Origin(trace_id or new_id(), agent_id, task_id, session)
        work = self._cascade.chat(
            as_messages(messages),
            deadline_s=deadline_s,
            model=model,
            origin=origin,
            max_tokens=max_tokens,
            temperature=temperature,
        )
        return await self._loop.call(work)

    def chat_sync(
        self,
        messages: Messages,
        *,
        deadline_s: float | None = None,
        trace_id: str | None = None,
        agent_id: str | None = None,
        task_id: str | None = None,
        session: str | None = None,
        model: str = "default",
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> Answer:
        """Do as `chat`, blocking the calling thread."""
        origin = Origin(trace_id or new_id(), agent_id, task_id, session)
        work = self._cascade.chat(
            as_messages(messages),
            deadline_s=deadline_s,
            model=model,
            origin=origin,
            max_tokens=max_tokens,
            temperature=temperature,
        )
        return self._loop.run(work)

    def stream(
        self,
        messages: Messages,
        *,
        deadline_s: float | None = None,
        trace_id: str | None = None,
        agent_id: str | None = None,
        task_id: str | None = None,
        session: str | None = None,
        model: str = "default",
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> AsyncIterator[StreamPart]:
        """Iterate over the answer as it comes, on any loop; a `break` or a cancellation ends the provider's call.

        Raises:
            ValueError: the messages are wrong.
        """
        canonical = as_messages(messages)
        origin = Origin(trace_id or new_id(), agent_id, task_id, session)

        def parts() -> AsyncGenerator[StreamPart, None]:
            return self._cascade.stream(
                canonical,
                deadline_s=deadline_s,
                model=model,
                origin=origin,
                max_tokens=max_tokens,
                temperature=temperature,
            )

        return self._loop.stream(parts)

    def stream_sync(
        self,
        messages: Messages,
        *,
        deadline_s: float | None = None,
        trace_id: str | None = None,
        agent_id: str | None = None,
        task_id: str | None = None,
        session: str | None = None,
        model: str = "default",
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> Iterator[StreamPart]:
        """Do as `stream`, for a plain thread."""
        canonical = as_messages(messages)
        origin = Origin(trace_id or new_id(), agent_id, task_id, session)

        def parts() -> AsyncGenerator[StreamPart, None]:
            return self._cascade.stream(
                canonical,
                deadline_s=deadline_s,
                model=model,
                origin=origin,
                max_tokens=max_tokens,
                temperature=temperature,
            )

        return self._loop.stream_sync(parts)

    def status(self) -> list[ProviderStatus]:
        """Return how each provider stands, in the order in which they are asked; no network is touched."""
        return [self._status(provider) for provider in self._cascade.providers]

    def _status(self, provider: Provider) -> ProviderStatus:
        problem = provider.problem()
        circuit = self._cascade.snapshot(provider.name, provider.default_model)
        numbers = Numbers() if self._memory is None else self._memory.numbers(provider.name)
        return ProviderStatus(
            name=provider.name,
            kind=provider.kind,
            model=provider.default_model,
            priority=provider.priority,
            configured=problem is None,
            problem="" if problem is None else problem[0],
            advice="" if problem is None else problem[1],
            circuit=circuit.circuit,
            open_until=circuit.open_until,
            consecutive_failures=circuit.failures,
            requests=numbers.requests,
            errors=numbers.errors,
            p50_ms=numbers.p50_ms,
            p95_ms=numbers.p95_ms,
            last_success_at=numbers.last_success_at,
            recent_failures=numbers.recent_failures,
        )

    async def test(self, name: str | None = None, *, timeout_s: float = _CHECK_S) -> list[tuple[str, Health]]:
        """Ask every provider, or the named one, whether it would answer; spends no tokens.

        Raises:
            RouterError: no provider has that name.
        """
        return await self._loop.call(self._test(self._named(name), timeout_s))

    def test_sync(self, name: str | None = None, *, timeout_s: float = _CHECK_S) -> list[tuple[str, Health]]:
        """Do as `test`, blocking the calling thread."""
        return self._loop.run(self._test(self._named(name), timeout_s))

    def close(self) -> None:
        """Close every provider's connections; the loop itself is its owner's to close."""
        self._loop.run(self._cascade.close())

    def _named(self, name: str | None) -> list[Provider]:
        found = [provider for provider in self._cascade.providers if name in (None, provider.name)]
        if name is not None and not found:
            known = ", ".join(provider.name for provider in self._cascade.providers) or "none is configured"
            message = f"no provider is named {name!r}; expected one of: {known}"
            raise RouterError(message)
        return found

    async def _test(self, providers: Sequence[Provider], timeout_s: float) -> list[tuple[str, Health]]:
        results = await asyncio.gather(*(_check(provider, timeout_s) for provider in providers))
        return [(provider.name, health) for provider, health in zip(providers, results, strict=True)]


async def _check(provider: Provider, timeout_s: float) -> Health:
    problem = provider.problem()
    if problem is not None:
        return Health(ok=False, message=problem[0], advice=problem[1])
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            return await provider.check(timeout_s=timeout_s)
    except TimeoutError:
        message = f"it did not say within {timeout_s:.3g} s whether it can answer"
        return Health(ok=False, message=message, latency_ms=(time.monotonic() - began) * 1000)
