"""How many calls one provider has at once, and who waits in which order."""

from __future__ import annotations

import asyncio
import collections
import math
from typing import Final

_SMOOTH: Final = 0.2  # how much the newest call says about how long a slot is held


class Slots:
    """A bounded number of slots and a bounded line before them; for use on one event loop.

    Args:
        capacity: how many may be under way.
        max_waiting: how many may wait for one of these.
    """

    __slots__ = ("_held_s", "_line", "_max_waiting", "capacity", "in_flight")

    def __init__(self, capacity: int, max_waiting: int) -> None:
        self.capacity = capacity
        self.in_flight = 0
        self._max_waiting = max_waiting
        self._line: collections.deque[asyncio.Future[None]] = collections.deque()
        self._held_s: float | None = None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    @property
    def free(self) -> bool:
        """Whether `take` would give a slot now."""
        return self.in_flight < self.capacity

    @property
    def full(self) -> bool:
        """Whether not even a place in the line is free."""
        return not self.free and len(self._line) >= self._max_waiting

    def expected_s(self) -> float:
        """Return how long somebody who comes now would have to wait; infinite where nothing is known yet."""
        if self.free:
            return 0.0
        return math.inf if self._held_s is None else self._held_s * (len(self._line) + 1) / self.capacity

    def resize(self, capacity: int, max_waiting: int) -> None:
        """Go by other numbers from now on; whoever is under way or waits already stays."""
        self.capacity, self._max_waiting = capacity, max_waiting
        self._wake()

    def take(self) -> bool:
        """Take a slot if one is free; one that comes back is given to those who wait, so nobody is overtaken."""
        if self.in_flight >= self.capacity:
            return False
        self.in_flight += 1
        return True

    async def wait(self, limit_s: float) -> bool:
        """Take a slot, waiting for it behind those who came before; False where the line is full or time ran out."""
        if self.take():
            return True
        if self.full or limit_s <= 0:
            return False
        ticket = asyncio.get_running_loop().create_future()
        self._line.append(ticket)
        try:
            async with asyncio.timeout(limit_s):
                await ticket
        except TimeoutError:
            # The slot may have been handed over in the very moment in which time ran out.
            return self._has_slot(ticket)
        except asyncio.CancelledError:
            if self._has_slot(ticket):
                self.give()
            raise
        return True

    def give(self, held_s: float | None = None) -> None:
        """Give a slot back, to the first who waits."""
        self.in_flight -= 1
        if held_s is not None:
            before = held_s if self._held_s is None else self._held_s
            self._held_s = before + _SMOOTH * (held_s - before)
        if self._line:
            self._wake()

    def _has_slot(self, ticket: asyncio.Future[None]) -> bool:
        if ticket.done() and not ticket.cancelled():
            return True
        if ticket in self._line:
            self._line.remove(ticket)
        return False

    def _wake(self) -> None:
        while self._line and self.in_flight < self.capacity:
            ticket = self._line.popleft()
            if not ticket.done():
                self.in_flight += 1
                ticket.set_result(None)
