"""Where callers wait to hear what became of a probe."""

from __future__ import annotations

import asyncio


class News:
    """Wakes all who wait whenever a probe has ended, those who came first first; for use on one event loop.

    Each looks for himself whether that is of use to him: the first takes the permit, and the others wait again.
    """

    __slots__ = ("_line", "_took_s")

    def __init__(self) -> None:
        self._line: dict[asyncio.Future[None], None] = {}
        self._took_s: dict[str, float] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    def took_s(self, provider: str) -> float:
        """Return how long the last probe of a provider took; 0 if there was none."""
        return self._took_s.get(provider, 0.0)

    def probed(self, provider: str, took_s: float) -> None:
        """Tell that a probe has ended, however it did."""
        self._took_s[provider] = took_s
        self.tell()

    def tell(self) -> None:
        """Wake all who wait, because something may have changed for them."""
        line, self._line = self._line, {}
        for ticket in line:
            if not ticket.done():
                ticket.set_result(None)

    async def wait(self, limit_s: float) -> float:
        """Wait for the next news, but no longer than this; returns how many seconds that took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        ticket = loop.create_future()
        self._line[ticket] = None
        timer = loop.call_later(limit_s, _ring, ticket)
        try:
            await ticket
        finally:
            timer.cancel()
            self._line.pop(ticket, None)
        return loop.time() - began


def _ring(ticket: asyncio.Future[None]) -> None:
    if not ticket.done():
        ticket.set_result(None)
