"""What a request does that has nobody left but a provider that another one is probing: it waits for the outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from timmy_core.router.call import Call
from timmy_core.router.candidates import Seat
from timmy_core.router.news import News

_SHARE: Final = 0.5  # of the time that is left may be waited; the other half is for asking
_MOMENT_S: Final = 0.001  # a timer may ring a little before the time that it was set to


class Watch:
    """Those whom one request could not ask because another was probing them; in the order of priority.

    Args:
        call: the request.
        news: where the outcomes of probes are told.
        find: who sits at the table by that name now.
        monotonic: the time.
    """

    __slots__ = ("_again_at", "_call", "_find", "_monotonic", "_names", "_news", "_waited_s")

    def __init__(
        self, call: Call, news: News, find: Callable[[str], Seat | None], monotonic: Callable[[], float]
    ) -> None:
        self._call = call
        self._news = news
        self._find = find
        self._monotonic = monotonic
        self._names: dict[str, None] = {}
        self._again_at: dict[str, float] = {}
        self._waited_s = 0.0

    def add(self, name: str) -> None:
        """Watch a provider from now on."""
        self._names[name] = None

    async def wait(self, limit_s: float) -> None:
        """Wait until something is known of any probe."""
        self._waited_s += await self._news.wait(limit_s)

    def turns(self) -> Iterator[Seat | float]:
        """Yield who may be asked now, or for how many seconds to `wait`; it ends when neither is of use."""
        most_s = (self._call.ends - self._monotonic()) * _SHARE
        while self._names:
            seat, wait_s = self._next()
            if seat is not None:
                yield seat
                continue
            left_s = min(most_s - self._waited_s, self._call.ends - self._monotonic())
            if not self._names or left_s <= 0:
                return
            yield min(wait_s + _MOMENT_S, left_s)

    def _next(self) -> tuple[Seat | None, float]:
        """Return who admits; else in how many seconds somebody may at the latest. Forgets who is not worth a wait."""
        soonest_s = self._call.ends - self._monotonic()
        for name in tuple(self._names):
            seat = self._find(name)
            wait_s = None if seat is None else self._wait_s(seat)
            if wait_s is None:
                del self._names[name]
            elif wait_s > 0:
                soonest_s = min(soonest_s, wait_s)
            else:
                del self._names[name]  # it comes back if somebody else is quicker
                return seat, 0.0
        return None, soonest_s

    def _wait_s(self, seat: Seat) -> float | None:
        """Return how long to wait for this one, 0 if it may be asked, None if waiting is of no use.

        After a probe that failed the next one has to pause. To wait for that is of use only where the failure is old
        news, because the probe took longer than the pause; and only once.
        """
        name, model = seat.provider.name, seat.resolve(self._call.options.model)
        if model is None:
            return None
        breaker = seat.breaker(model)
        refusal = breaker.refusal(early=True)
        if refusal is None:
            return 0.0
        why, wait_s = refusal
        # Half open and not probed: whoever had the permit gave it back without knowing more.
        if why == "probing" or (why == "open" and breaker.snapshot.circuit == "half_open"):
            return wait_s
        now = self._monotonic()
        if why != "open" or wait_s > min(self._news.took_s(name), self._call.ends - now):
            return None
        again_at = now + wait_s
        return wait_s if again_at <= self._again_at.setdefault(name, again_at) + _MOMENT_S else None
