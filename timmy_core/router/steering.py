"""Steering the cascade while it works: what a person sets, and what a changed configuration says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from timmy_core.router.cascade import Cascade, Limits
from timmy_core.router.chat import Provider
from timmy_core.router.controls import Control, Controls, Order
from timmy_core.router.record import Origin
from timmy_core.router.reload import Configuration, Reloaded, Reloader
from timmy_core.settings import Settings

T = TypeVar("T")


class Doors(Protocol):
    """Who makes providers of the tables in the configuration: `timmy_core.router.build.TableDoors`."""

    def of(self, settings: Settings) -> Sequence[Provider]:
        """Return a provider for each table; one whose table did not change is the one of before, with its sockets."""
        ...


class Steering:
    """Puts controls and configuration into force; for use on Timmy's own loop, `configuration` from any thread.

    Args:
        cascade: who is steered.
        controls: what persons set, kept with its events.
        reloader: knows the settings in force, and reads the file.
        doors: makes the providers.
        listeners: who else has to know of new settings, such as the budgets.
    """

    def __init__(
        self,
        cascade: Cascade,
        controls: Controls,
        reloader: Reloader,
        doors: Doors,
        listeners: Sequence[Callable[[Settings], None]] = (),
    ) -> None:
        self._cascade = cascade
        self._controls = controls
        self._doors = doors
        self._listeners = listeners
        self._reloader = reloader
        self._kept = controls.kept()
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Future[Any]] = set()
        self._put_controls()

    def configuration(self) -> Configuration:
        """Return what is in force and what is wrong with the file, without any secret."""
        return self._reloader.configuration()

    def control_of(self, provider: str) -> Control:
        """Return what was set for a provider by hand."""
        return self._kept.get(provider) or Control(provider)

    async def control(self, provider: str, action: str, *, by: str, value: int | None = None) -> Control:
        """Write a change with its event and obey it; a caller who gives up meanwhile does not leave it half done."""
        return await asyncio.shield(self._keep(self._control(provider, action, by, value)))

    async def _control(self, provider: str, action: str, by: str, value: int | None) -> Control:
        async with self._lock:
            order = await self._controls.change(provider, action, by=by, value=value)
            self._obey(order)
            return order.control

    async def follow(self) -> None:
        """Obey what other processes changed since the last time, and a changed file."""
        async with self._lock:
            for order in await asyncio.to_thread(self._controls.others):
                self._obey(order)
        await self._reloader.follow(self._put)

    async def reload(self) -> Reloaded:
        """Read the file now.

        Raises:
            SettingsError: it is wrong; what was in force stays.
        """
        return await asyncio.shield(self._keep(self._reloader.reload(self._put)))

    def _put(self, settings: Settings) -> None:
        """Put new settings into force: all of it between two steps of the loop, so that no call sees half of it."""
        for gone in self._cascade.replace(self._doors.of(settings), Limits.from_settings(settings.router)):
            self._keep(self._close_when_idle(gone))
        for listener in self._listeners:
            listener(settings)
        self._put_controls()

    async def close(self) -> None:
        """Close the doors that were replaced and still waited for their last call."""
        for waiting in tuple(self._running):
            waiting.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _close_when_idle(self, gone: Provider) -> None:
        try:
            await self._cascade.idle(gone)
        finally:
            await gone.close()

    def _put_controls(self) -> None:
        for provider in self._cascade.providers:
            self._obey(Order(self.control_of(provider.name)))

    def _obey(self, order: Order) -> None:
        control = order.control
        self._kept[control.provider] = control
        # What is set for a provider that this configuration does not have waits until it has.
        if all(provider.name != control.provider for provider in self._cascade.providers):
            return
        origin = None if order.trace_id is None else Origin(order.trace_id)
        if order.close:
            self._cascade.close_by_hand(control.provider, origin=origin)
        tables = self._reloader.settings.providers
        configured = all(table.enabled for table in tables if table.name == control.provider)
        self._cascade.set_control(
            control.provider,
            enabled=configured if control.enabled is None else control.enabled,
            priority=control.priority,
            isolated=control.isolated,
            origin=origin,
        )

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Start work that outlives its caller; the loop itself holds tasks only weakly."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task
