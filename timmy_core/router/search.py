"""Who is asked next in one request, for how long, and why the others are not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from timmy_core.errors import StoreError
from timmy_core.router.attempt import Try, Why
from timmy_core.router.breaker import Refusal
from timmy_core.router.call import Call, Desk
from timmy_core.router.candidates import Seat, Skip, refused
from timmy_core.router.chat import ChatRequest, ErrorClass
from timmy_core.router.probing import Watch
from timmy_core.router.purse import Hold, Refused
from timmy_core.router.record import CircuitRecord
from timmy_core.router.retry import MAX_RETRIES, RetryBudget, pause_s
from timmy_core.router.seats import Seats

_FAIR: Final = 0.9
_NO_HOLD: Final = Hold()


class Turn(NamedTuple):
    """Whose turn it is, and on which terms."""

    seat: Seat
    rest: Sequence[Seat] = ()  # who may still be asked after it, so that time has to be left for them
    why: Why = "cascade"
    early: bool = False  # an open circuit may be tried before its time
    again: bool = False  # it was passed over before
    pause_s: float = 0.0


class Search:
    """The order of one request: by priority; those that were busy; open circuits; those under a probe; then once more.

    Args:
        call: the request.
        seats: the providers.
        desk: clock, recorder, purse and limits.
        retries: lets a request ask the same provider again, if all requests together may.
    """

    def __init__(self, call: Call, seats: Seats, desk: Desk, retries: RetryBudget) -> None:
        self._call = call
        self._seats = seats
        self._desk = desk
        self._retries = retries
        only = call.options.provider
        self._order = seats.order if only is None else tuple(seat for seat in seats.order if seat.provider.name == only)
        self._busy: list[Seat] = []
        self._open: list[tuple[float, Seat]] = []
        self._watch: Watch | None = None
        self._hedged: set[str] = set()
        self._fair_s: float | None = None
        self._turns = self._all_turns()

    async def next(self) -> Try | None:
        """Return the next permitted attempt; None when nobody is left."""
        for turn in self._turns:
            if self._call.stopped:
                return None
            if isinstance(turn, float):
                await self._watch_them().wait(turn)
                continue
            attempt = await self._admit(turn)
            if attempt is not None:
                return attempt
        return None

    def _all_turns(self) -> Iterator[Turn | float]:
        """Yield who is asked, or how long to wait for news of a probe.

        What is known changes while this runs, so each is decided when it is due.
        """
        order = self._order
        for index, seat in enumerate(order):
            if seat.provider.name not in self._hedged:
                yield Turn(seat, order[index + 1 :])
        for seat in self._busy:
            yield Turn(seat, again=True)
        # The one that is due next need not be the one that is well again, so each gets a chance.
        due = [seat for _, seat in sorted(self._open, key=lambda item: item[0])]
        for index, seat in enumerate(due):
            yield Turn(seat, due[index + 1 :], early=True, again=True)
        if self._watch is not None:
            for found in self._watch.turns():
                yield found if isinstance(found, float) else Turn(found, early=True, again=True)
        for retry in range(MAX_RETRIES):
            turn = self._retry(retry)
            if turn is None:
                return
            yield turn

    def _retry(self, retries: int) -> Turn | None:
        """Return who is asked once more: the first whose last failure may pass, if its circuit still admits."""
        call, desk = self._call, self._desk
        for seat in self._order:
            error = call.failures.get(seat.provider.name)
            model = seat.resolve(call.options.model)
            if error is None or model is None:
                continue
            now = desk.clock.monotonic()
            wait_s = pause_s(error, retries, now - call.began, call.ends - now, desk.limits.backoff_s, desk.random)
            limited = error.error_class == ErrorClass.RATE_LIMITED
            if wait_s is None or not (limited or seat.ready(call)):
                continue
            return Turn(seat, why="retry", again=True, pause_s=wait_s) if self._retries.spend() else None
        return None

    async def beside(self, running: Try) -> Try | None:
        """Return an attempt at somebody else while one is running: at once, and only where it cannot cost unseen money.

        That is the next in order that is well, has a free slot, and is free or under a budget.
        """
        call, purse = self._call, self._desk.purse
        after = next((n for n, seat in enumerate(self._order, 1) if seat is running.seat), len(self._order))
        for seat in self._order[after:]:
            provider, model = seat.provider, seat.resolve(call.options.model)
            if model is None or provider.name in self._hedged or not (seat.slots.free and seat.ready(call)):
                continue
            well = seat.breaker(model).snapshot.circuit == "closed"
            if not well or not (provider.free or purse.applies(call.origin, provider)):
                continue
            attempt = await self._admit(Turn(seat, why="hedge", again=True))
            if attempt is not None:
                self._hedged.add(provider.name)
                return attempt
        return None

    # One turn -----------------------------------------------------------------------------------------------

    async def _admit(self, turn: Turn) -> Try | None:
        call, seat = self._call, turn.seat
        if turn.pause_s:
            await asyncio.sleep(turn.pause_s)
        if seat.retired:
            # The configuration changed since this request began: it goes through the new door, if there is one.
            replaced = self._seats.get(seat.provider.name)
            if replaced is None:
                return None
            seat = replaced
        model = seat.resolve(call.options.model)
        skip = seat.why_not(call, model)
        if skip is not None or model is None:
            self._pass_over(turn, seat, model, skip)
            return None
        refusal = seat.breaker(model).refusal(early=turn.early)
        if refusal is not None:
            self._refuse(turn, seat, model, *refusal)
            return None
        seat.enter()
        attempt = None
        try:
            attempt = await self._at_door(turn, seat, model)
        finally:
            if attempt is None:
                seat.leave()
        return attempt

    async def _at_door(self, turn: Turn, seat: Seat, model: str) -> Try | None:
        """Get a slot, and then all else, because only then it is known that the call is made at once."""
        ready = sum(other.ready(self._call) for other in turn.rest)
        if not seat.slots.take() and not await self._wait(turn, seat, model, ready):
            return None
        attempt = None
        try:
            attempt = await self._begin(turn, seat, model, ready)
        finally:
            if attempt is None:
                seat.slots.give()
        return attempt

    async def _wait(self, turn: Turn, seat: Seat, model: str, ready: int) -> bool:
        """Wait for a slot, unless that is hopeless or somebody else can answer sooner."""
        slots = seat.slots
        share_s = (self._call.ends - self._desk.clock.monotonic()) / (1 + ready)
        other = any(seat.slots.free and seat.ready(self._call) for seat in turn.rest)
        hopeless = slots.full or slots.expected_s() > share_s
        if not (other and hopeless) and await slots.wait(share_s):
            return True
        if not turn.again:
            self._busy.append(seat)
        message = f"it has {slots.in_flight} calls under way, as many as it may, and {slots.waiting} more wait"
        advice = f'raise max_concurrency of [[providers]] name = "{seat.provider.name}" if it can do more at once'
        self._pass_over(turn, seat, model, Skip(ErrorClass.BUSY, message, advice))
        return False

    async def _begin(self, turn: Turn, seat: Seat, model: str, ready: int) -> Try | None:
        """Set money aside and ask the breaker."""
        call, desk, provider = self._call, self._desk, seat.provider
        remaining_s = call.ends - desk.clock.monotonic()
        if remaining_s <= 0:
            advice = "raise deadline_s under [router], or move a faster provider to the front"
            self._pass_over(turn, seat, model, Skip(ErrorClass.DEADLINE, "no time was left to ask it", advice))
            return None
        request, limit_s, fair = self._request(seat, model, remaining_s, ready)
        hold = await self._reserve(turn, seat, request) if desk.purse.applies(call.origin, provider) else _NO_HOLD
        if hold is None:
            return None
        breaker = seat.breaker(model)
        admission = breaker.admit(lease_s=remaining_s, early=turn.early)
        if admission.permit is None:
            desk.purse.release(hold)
            self._refuse(turn, seat, model, admission.refusal or "open", admission.retry_in_s)
            return None
        if admission.transition is not None:
            move = CircuitRecord(call.origin, provider.name, model, breaker.snapshot, admission.transition)
            desk.recorder.circuit_changed(move)
        if turn.again:
            call.unskip(provider)
        return Try(call, seat, request, admission.permit, desk, limit_s=limit_s, fair=fair, hold=hold, why=turn.why)

    def _request(self, seat: Seat, model: str, remaining_s: float, ready: int) -> tuple[ChatRequest, float, bool]:
        """Return what is asked, how long it may take, and whether that is enough to blame a provider for silence."""
        call, limits, options = self._call, self._desk.limits, self._call.options
        share_s = remaining_s / (1 + ready)
        first_token_s = seat.provider.first_token_s or limits.first_token_s
        if self._fair_s is None:
            self._fair_s = min(limits.first_token_s, limits.deadline_s / (1 + ready)) * _FAIR
        if call.streamed:
            limit_s, own_s, timeout_s = share_s, first_token_s, remaining_s
        else:
            limit_s = timeout_s = min(share_s, limits.body_s)
            own_s = limits.body_s
        request = ChatRequest(
            call.messages_for(seat.provider),
            model,
            timeout_s,
            min(first_token_s, share_s),
            options.max_tokens,
            options.temperature,
            options.tools,
            options.tool_choice,
            options.json_mode,
            options.json_schema,
            call.prefill(seat.provider) if call.shown else "",
        )
        return request, limit_s, share_s >= min(self._fair_s, own_s)

    async def _reserve(self, turn: Turn, seat: Seat, request: ChatRequest) -> Hold | None:
        try:
            hold = await self._desk.purse.reserve(self._call.origin, seat.provider, request.model, request)
        except StoreError as error:
            hold = Refused(f"the budget could not be asked: {error}", "run `timmy doctor`")
        if isinstance(hold, Refused):
            self._pass_over(turn, seat, request.model, Skip(ErrorClass.BUDGET, hold.message, hold.advice))
            return None
        return hold

    def _refuse(self, turn: Turn, seat: Seat, model: str, refusal: Refusal, retry_in_s: float) -> None:
        if refusal == "open" and not turn.again:
            self._open.append((retry_in_s, seat))
        if refusal == "probing":
            self._watch_them().add(seat.provider.name)
        self._pass_over(turn, seat, model, refused(seat.provider.name, refusal, retry_in_s))

    def _watch_them(self) -> Watch:
        if self._watch is None:
            self._watch = Watch(self._call, self._seats.news, self._seats.get, self._desk.clock.monotonic)
        return self._watch

    def _pass_over(self, turn: Turn, seat: Seat, model: str | None, skip: Skip | None) -> None:
        """Note why a provider is not asked; one that was passed over before has its note already."""
        if skip is not None and not turn.again:
            name = model or seat.provider.default_model or self._call.options.model
            self._call.skip(seat.provider, name, *skip)
