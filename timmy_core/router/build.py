"""Builds the router of a home: its providers from their tables, the cascade, and what steers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from timmy_core.clock import Clock
from timmy_core.events.log import EventLog
from timmy_core.loop import LoopThread
from timmy_core.router.budget import Budgets
from timmy_core.router.cascade import Cascade
from timmy_core.router.chat import Provider
from timmy_core.router.controls import Controls
from timmy_core.router.limits import Limits
from timmy_core.router.metrics import Metrics
from timmy_core.router.providers import build_provider
from timmy_core.router.providers.offline import OfflineAnswer
from timmy_core.router.reload import Reloader
from timmy_core.router.router import Router
from timmy_core.router.steering import Steering
from timmy_core.settings import ProviderSettings, RouterSettings, Settings
from timmy_core.store.engine import Store

Build = Callable[[ProviderSettings, RouterSettings], Provider]

_OF_DOORS: Final = ("connect_s", "load_s", "body_s", "first_token_s", "between_tokens_s")
"""The limits that a door is built with; a change of any other leaves it as it is."""


class TableDoors:
    """Providers made of their tables; where neither table nor limits changed, the same provider as before."""

    def __init__(self, build: Build = build_provider) -> None:
        self._build = build
        self._made: dict[str, tuple[tuple[object, ...], Provider]] = {}

    def of(self, settings: Settings) -> list[Provider]:
        """Return a provider for each table, in the order of the file."""
        limits = tuple(getattr(settings.router, name) for name in _OF_DOORS)
        made: dict[str, tuple[tuple[object, ...], Provider]] = {}
        for configured in settings.providers:
            # Whether it is asked is decided while it runs, so the door itself is always on.
            table = configured.model_copy(update={"enabled": True})
            before = self._made.get(table.name)
            same = before is not None and before[0] == (table, *limits)
            made[table.name] = before if before and same else ((table, *limits), self._build(table, settings.router))
        self._made = made
        return [provider for _, provider in made.values()]


class FixedDoors:
    """Providers that somebody handed in; the configuration's tables play no part."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = providers

    def of(self, settings: Settings) -> Sequence[Provider]:
        """Return the providers."""
        del settings
        return self._providers


def build_router(
    settings: Settings,
    *,
    store: Store,
    events: EventLog,
    clock: Clock,
    loop: LoopThread,
    metrics: Metrics,
    budgets: Budgets,
    providers: Sequence[Provider] | None = None,
    listeners: Sequence[Callable[[Settings], None]] = (),
) -> Router:
    """Return the router of a home; reads the store, and does no network I/O.

    Args:
        settings: what `timmy.toml` and the environment say.
        store: where circuits and controls are kept.
        events: where every change is told.
        clock: where the time is read.
        loop: the loop that does all network I/O.
        metrics: takes note of every attempt.
        budgets: sets money aside before a paid call, and knows the prices.
        providers: who is asked, instead of the tables' providers.
        listeners: who has to know of new settings; called on the loop.
    """
    doors = TableDoors() if providers is None else FixedDoors(providers)
    cascade = Cascade(
        doors.of(settings),
        offline=OfflineAnswer(settings.toml_path),
        limits=Limits.from_settings(settings.router),
        clock=clock,
        recorder=metrics,
        circuits=metrics.circuits(),
        purse=budgets,
        first_tokens=metrics.first_tokens,
        random=Random(),  # noqa: S311 - it spreads the probes of circuits in time
    )
    reloader = Reloader(settings, events, clock)
    steering = Steering(cascade, Controls(store, events, clock), reloader, doors, listeners)
    return Router(cascade, loop, metrics, steering, events, budgets)
