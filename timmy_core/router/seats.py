"""All providers in the order in which they are asked, how each stands, and the change of one for another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from random import Random
from typing import Final

from timmy_core.clock import Clock
from timmy_core.errors import RouterError, UnknownProviderError
from timmy_core.router.breaker import Breaker, Snapshot, Transition
from timmy_core.router.candidates import Bar, Seat
from timmy_core.router.chat import Circuit, Provider
from timmy_core.router.limits import Limits
from timmy_core.router.news import News
from timmy_core.router.slots import Slots


class Keep(Enum):
    """Says that something stays as it is, where None has a meaning of its own."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP

Moves = list[tuple[str, str, Snapshot, Transition]]
"""Circuits that were moved by hand: provider, model, how it stands now, and the move."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What one provider is doing now."""

    in_flight: int
    waiting: int
    circuit: Circuit
    open_until: datetime | None
    limited_until: datetime | None
    bar: tuple[str, str] | None  # (error class, message) of a fault that only another configuration can mend
    enabled: bool
    isolated: bool
    priority: int


class Seats:
    """The table at which the providers sit; changed on the cascade's loop, read from any thread.

    Args:
        providers: who may be asked.
        limits: the breakers' policy, and how many calls there may be at once.
        clock: where the time is read.
        circuits: what the breakers were before a restart, by (provider, model).
        random: where the jitter of the breakers comes from; without it every time is exact.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        limits: Limits,
        clock: Clock,
        circuits: Mapping[tuple[str, str], Snapshot],
        random: Random | None,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._random = random
        self._remembered = dict(circuits)
        self._by_name: dict[str, Seat] = {}
        self._leaving: dict[int, Seat] = {}
        self.order: tuple[Seat, ...] = ()
        self.news = News()
        self.replace(providers, limits)

    def __iter__(self) -> Iterator[Seat]:
        return iter(self.order)

    def find(self, name: str) -> Seat:
        """Return a provider's seat.

        Raises:
            UnknownProviderError: there is none.
        """
        seat = self._by_name.get(name)
        if seat is None:
            raise UnknownProviderError(self.unknown(name))
        return seat

    def get(self, name: str) -> Seat | None:
        """Return a provider's seat, if there is one."""
        return self._by_name.get(name)

    def unknown(self, name: str) -> str:
        """Return what to say of a name that no provider has."""
        known = ", ".join(self._by_name) or "none is configured"
        return f"no provider is named {name!r}; expected one of: {known}"

    def replace(self, providers: Sequence[Provider], limits: Limits) -> list[Provider]:
        """Seat other providers, at once; circuits, slots and what a person set stay with a name.

        Returns:
            the doors that no new call goes through; each is still used until `Seat.idle` returns.
        """
        names = [provider.name for provider in providers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            message = f"two providers are named {twice!r}; every name has to differ"
            raise RouterError(message)
        self._limits = limits
        before = self._by_name
        self._by_name = {provider.name: self._seat(provider, before.get(provider.name)) for provider in providers}
        gone: list[Provider] = []
        for seat in before.values():
            if self._by_name.get(seat.provider.name) is not seat:
                seat.retired = True
                self._leaving[id(seat.provider)] = seat
                gone.append(seat.provider)
        self._sort()
        self.news.tell()
        return gone

    async def idle(self, provider: Provider) -> None:
        """Wait until the last call at a door that was replaced has ended."""
        seat = self._leaving.get(id(provider))
        if seat is not None:
            await seat.idle()
            self._leaving.pop(id(provider), None)

    def set_control(
        self, name: str, *, enabled: bool | Keep | None, priority: int | Keep | None, isolated: bool | Keep
    ) -> Moves:
        """Set what a person decided; None is what the configuration says."""
        seat = self.find(name)
        if enabled is not KEEP:
            seat.enabled = enabled
        if priority is not KEEP:
            seat.priority = priority
        self._sort()
        if isolated is KEEP:
            return []
        seat.isolated = isolated
        moves: Moves = []
        for model, breaker in seat.breakers.items():
            transition = None
            if isolated:
                transition = breaker.isolate("isolated by hand")
            elif breaker.snapshot.isolated:
                transition = breaker.close_by_hand()
            if transition is not None:
                moves.append((name, model, breaker.snapshot, transition))
        self.news.tell()
        return moves

    def close_by_hand(self, name: str) -> Moves:
        """Forget everything that keeps callers away from a provider: open circuits, isolation, limits and bars."""
        seat = self.find(name)
        seat.isolated = False
        seat.bars.clear()
        moves: Moves = []
        for model, breaker in seat.breakers.items():
            transition = breaker.close_by_hand()
            if transition is not None:
                moves.append((name, model, breaker.snapshot, transition))
        self.news.tell()
        return moves

    def standing(self) -> dict[str, Standing]:
        """Return how each provider stands, in the order in which they are asked."""
        return {seat.provider.name: _standing(seat) for seat in self.order}

    def snapshot(self, provider: str, model: str) -> Snapshot:
        """Return how one circuit stands."""
        seat = self._by_name.get(provider)
        breaker = None if seat is None else seat.breakers.get(model)
        return Snapshot() if breaker is None else breaker.snapshot

    def _seat(self, provider: Provider, before: Seat | None) -> Seat:
        capacity = provider.max_concurrency or self._limits.max_concurrency
        if before is None:
            seat = Seat(provider, Slots(capacity, self._limits.max_waiting), self._breaker, self.news)
        else:
            before.slots.resize(capacity, self._limits.max_waiting)
            for breaker in before.breakers.values():
                breaker.follow(self._limits.policy)
            seat = before
            if before.provider is not provider:
                seat = Seat(provider, before.slots, self._breaker, self.news)
            seat.breakers = before.breakers
            seat.enabled, seat.priority, seat.isolated = before.enabled, before.priority, before.isolated
        for model in provider.models.values():
            seat.breaker(model)
        return seat

    def _breaker(self, provider: str, model: str) -> Breaker:
        return Breaker(self._limits.policy, self._clock, self._remembered.get((provider, model)), self._random)

    def _sort(self) -> None:
        self.order = tuple(sorted(self._by_name.values(), key=_priority))


def _priority(seat: Seat) -> int:
    return seat.provider.priority if seat.priority is None else seat.priority


def _standing(seat: Seat) -> Standing:
    model = seat.provider.default_model
    breaker = seat.breakers.get(model)
    snapshot = Snapshot() if breaker is None else breaker.snapshot
    bar: Bar | None = seat.bars.get(None) or seat.bars.get(model)
    return Standing(
        in_flight=seat.slots.in_flight,
        waiting=seat.slots.waiting,
        circuit=snapshot.circuit,
        open_until=snapshot.open_until,
        limited_until=snapshot.limited_until,
        bar=None if bar is None else (bar.error_class, bar.message),
        enabled=seat.enabled is not False and seat.provider.problem() is None,
        isolated=seat.isolated or snapshot.isolated,
        priority=_priority(seat),
    )
