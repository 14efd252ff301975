"""The router's face: the cascade on Timmy's own loop, for callers on any loop or thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, Unpack

from timmy_core.clock import new_id
from timmy_core.errors import RouterError, UnknownProviderError
from timmy_core.events.log import EventLog
from timmy_core.loop import BridgedStream, LoopThread, SyncStream
from timmy_core.router.budget import Budgets
from timmy_core.router.budget import Standing as BudgetStanding
from timmy_core.router.cascade import Cascade
from timmy_core.router.chat import Answer, Health, Message, Provider, ProviderStatus, StreamPart
from timmy_core.router.controls import Control, checked
from timmy_core.router.history import as_messages
from timmy_core.router.metrics import Numbers
from timmy_core.router.options import ChatOptions
from timmy_core.router.record import Origin
from timmy_core.router.reload import Configuration, Follower, Reloaded
from timmy_core.router.report import By, Move, Report
from timmy_core.router.seats import Standing
from timmy_core.router.status import ProviderInfo, info_of, last_failover, status_of
from timmy_core.router.steering import Steering

Messages = Sequence[Message | Mapping[str, Any]]

_CHECK_S: Final = 5.0


class Memory(Protocol):
    """Who knows what the providers did: `timmy_core.router.metrics.Metrics`."""

    def numbers(self, provider: str) -> Numbers:
        """Return what one provider did."""
        ...

    def report(self, *, since: datetime | None = None, until: datetime | None = None, by: By = "model") -> Report:
        """Return what all did in a time."""
        ...

    def timeline(self, provider: str, *, since: datetime | None = None, limit: int = 200) -> list[Move]:
        """Return the latest moves of a provider's circuits."""
        ...


class Router:
    """Asks the cascade from anywhere; cancelling the caller cancels the provider's call.

    Args:
        cascade: who is asked, in which order.
        loop: the loop that does all network I/O.
        memory: where `status()` reads its numbers; without it they are all zero.
        steering: puts controls and a changed configuration into force; without it neither can be had.
        events: tells why the last failover happened.
        budgets: knows what is left to be spent.
    """

    def __init__(
        self,
        cascade: Cascade,
        loop: LoopThread,
        memory: Memory | None = None,
        steering: Steering | None = None,
        events: EventLog | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self._cascade = cascade
        self._loop = loop
        self._memory = memory
        self._steering = steering
        self._events = events
        self._budgets = budgets
        self._follower = Follower(self.follow)

    async def chat(
        self,
        messages: Messages,
        *,
        trace_id: str | None = None,
        agent_id: str | None = None,
        task_id: str | None = None,
        session: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> Answer:
        """Return the answer of the first provider that gives one, or the offline answer; never raises for a provider.

        Args:
            messages: the conversation, as `Message`s or in the form of OpenAI's chat completions.
            trace_id: what every record of this request carries; a new one if None.
            agent_id: for whom it is; its budget counts.
            task_id: for which task.
            session: in which conversation.
            options: see `ChatOptions`.

        Raises:
            ValueError: the messages or an option are wrong.
            LoopClosedError: Timmy is closed.
        """
        canonical = as_messages(messages)
        origin = Origin(trace_id or new_id(), agent_id, task_id, session)
        return await self._loop.call(self._cascade.chat(canonical, origin=origin, **options))

    def chat_sync(
        self,
        messages: Messages,
        *,
        trace_id: str | None = None,
        agent_id: str | None = None,
        task_id: str | None = None,
        session: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> Answer:
        """Do as `chat`, blocking the calling thread."""
        canonical = as_messages(messages)
        origin = Origin(trace_id or new_id(), agent_id, task_id, session)
        return self._loop.run(self._cascade.chat(canonical, origin=origin, **options))

    def stream(
        self,
        messages: Messages,
        *,
        trace_id: str | None = None,
        agent_id: str | None = None,
        task_id: str | None = None,
        session: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> BridgedStream[StreamPart]:
        """Iterate over the answer as it comes, on any loop; a `break` or a cancellation ends the provider's call.

        Raises:
            ValueError: the messages or an option are wrong.
        """
        return self._loop.stream(
            self._parts(messages, Origin(trace_id or new_id(), agent_id, task_id, session), options)
        )

    def stream_sync(
        self,
        messages: Messages,
        *,
        trace_id: str | None = None,
        agent_id: str | None = None,
        task_id: str | None = None,
        session: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> SyncStream[StreamPart]:
        """Do as `stream`, for a plain thread."""
        origin = Origin(trace_id or new_id(), agent_id, task_id, session)
        return self._loop.stream_sync(self._parts(messages, origin, options))

    def _parts(
        self, messages: Messages, origin: Origin, options: ChatOptions
    ) -> Callable[[], AsyncGenerator[StreamPart, None]]:
        """Return what makes the stream; what is wrong is said now, not when the first part is asked for."""
        # Making it checks everything; nothing runs before the first part is asked for, on Timmy's loop.
        made = self._cascade.stream(messages, origin=origin, **options)
        return lambda: made

    # Looking -------------------------------------------------------------------------------------------------

    def status(self) -> list[ProviderStatus]:
        """Return how each provider stands, in the order in which they are asked; no network is touched."""
        standing = self._cascade.standing()
        return [self._status(provider, standing[provider.name]) for provider in self._in_order(standing)]

    def providers(self) -> list[ProviderInfo]:
        """Return what each provider is, in the order in which they are asked; nothing is read or asked."""
        standing = self._cascade.standing()
        return [
            info_of(provider, standing[provider.name], self._control_of(provider.name))
            for provider in self._in_order(standing)
        ]

    def report(self, *, since: datetime | None = None, until: datetime | None = None, by: By = "model") -> Report:
        """Return what the providers did in a time, the last 24 hours if none is given; see `Metrics.report`."""
        return self._remembering().report(since=since, until=until, by=by)

    def timeline(self, name: str, *, since: datetime | None = None, limit: int = 200) -> list[Move]:
        """Return the latest moves of a provider's circuits, oldest first.

        Raises:
            UnknownProviderError: no provider has that name.
        """
        self._named(name)
        return self._remembering().timeline(name, since=since, limit=limit)

    def budgets(self) -> list[BudgetStanding]:
        """Return how the budgets stand: of all together, and of every agent that has one or spent something."""
        return [] if self._budgets is None else self._budgets.left()

    def _in_order(self, standing: Mapping[str, Standing]) -> list[Provider]:
        # A reload may come between two readings; who is not in both is left out of this one look.
        by_name = {provider.name: provider for provider in self._cascade.providers}
        return [by_name[name] for name in standing if name in by_name]

    def _status(self, provider: Provider, standing: Standing) -> ProviderStatus:
        numbers = Numbers() if self._memory is None else self._memory.numbers(provider.name)
        control = self._control_of(provider.name)
        told = "" if self._events is None else last_failover(provider.name, numbers.recent_failures, self._events)
        return status_of(provider, self._cascade, standing, numbers, control, told)

    def _control_of(self, name: str) -> Control:
        return Control(name) if self._steering is None else self._steering.control_of(name)

    def _remembering(self) -> Memory:
        if self._memory is None:
            message = "this router was built without a home, so it remembers nothing; use open_timmy().router"
            raise RouterError(message)
        return self._memory

    async def test(self, name: str | None = None, *, timeout_s: float = _CHECK_S) -> list[tuple[str, Health]]:
        """Ask every provider, or the named one, whether it would answer; spends no tokens.

        One that would, and was set aside because of a fault of ours, is asked again from now on.

        Raises:
            UnknownProviderError: no provider has that name.
        """
        return await self._loop.call(self._test(self._named(name), timeout_s))

    def test_sync(self, name: str | None = None, *, timeout_s: float = _CHECK_S) -> list[tuple[str, Health]]:
        """Do as `test`, blocking the calling thread."""
        return self._loop.run(self._test(self._named(name), timeout_s))

    # Steering ------------------------------------------------------------------------------------------------

    async def control(self, name: str, action: str, *, by: str, value: int | None = None) -> ProviderStatus:
        """Steer one provider by hand; the change, its event and who made it are durable when this returns.

        Every process on this home that follows (see `watch`) obeys within a second, and so does the next start.

        Args:
            name: which provider.
            action: `enable`, `disable`, `isolate` (until it is closed), `close` (all that keeps callers away is
                forgotten) or `priority`.
            by: who asks.
            value: of `priority`: the new one; None goes back to that of the configuration.

        Raises:
            UnknownProviderError: no provider has that name.
            ControlError: the action, the value or `by` is wrong.
        """
        self._named(name)
        checked(action, by, value)
        await self._loop.call(self._steered().control(name, action, by=by, value=value))
        return await asyncio.to_thread(self._status_of, name)

    def control_sync(self, name: str, action: str, *, by: str, value: int | None = None) -> ProviderStatus:
        """Do as `control`, blocking the calling thread."""
        self._named(name)
        checked(action, by, value)
        self._loop.run(self._steered().control(name, action, by=by, value=value))
        return self._status_of(name)

    def _status_of(self, name: str) -> ProviderStatus:
        (provider,) = self._named(name)
        return self._status(provider, self._cascade.standing()[name])

    async def reload(self) -> Reloaded:
        """Read `timmy.toml` again and put `[router]`, `[budget]` and `[[providers]]` into force, as a whole.

        Calls under way end as they began. Circuits keep their state.

        Raises:
            SettingsError: the file is wrong; what was in force stays.
        """
        return await self._loop.call(self._steered().reload())

    def reload_sync(self) -> Reloaded:
        """Do as `reload`, blocking the calling thread."""
        return self._loop.run(self._steered().reload())

    def config(self) -> Configuration:
        """Return the configuration in force and what is wrong with the file, without any secret."""
        return self._steered().configuration()

    def watch(self) -> None:
        """Follow from now on what other processes steer, and `timmy.toml`; `timmy up` does. Harmless when repeated."""
        self._steered()
        self._follower.start()

    def follow(self) -> None:
        """Look once for what `watch` follows; a changed file counts when it was at rest between two looks."""
        self._loop.run(self._steered().follow())

    def close(self) -> None:
        """Close every provider's connections; the loop itself is its owner's to close."""
        self._follower.stop()
        self._loop.run(self._close())

    async def _close(self) -> None:
        if self._steering is not None:
            await self._steering.close()
        await self._cascade.close()

    def _steered(self) -> Steering:
        if self._steering is None:
            message = "this router was built without a home, so nothing steers it; use open_timmy().router"
            raise RouterError(message)
        return self._steering

    def _named(self, name: str | None) -> list[Provider]:
        found = [provider for provider in self._cascade.providers if name in (None, provider.name)]
        if name is not None and not found:
            known = ", ".join(provider.name for provider in self._cascade.providers) or "none is configured"
            message = f"no provider is named {name!r}; expected one of: {known}"
            raise UnknownProviderError(message)
        return found

    async def _test(self, providers: Sequence[Provider], timeout_s: float) -> list[tuple[str, Health]]:
        results = await asyncio.gather(*(_check(provider, timeout_s) for provider in providers))
        for provider, health in zip(providers, results, strict=True):
            # A wrong key or model that was mended on the other side shows itself like this.
            if health.ok and provider in self._cascade.providers:
                self._cascade.clear_bar(provider.name)
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
