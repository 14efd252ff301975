"""What the tests of the cascade share: scripted providers in a row, and somebody who writes down what happens."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from timmy_core.errors import ProviderError
from timmy_core.router.cascade import Cascade
from timmy_core.router.chat import Answer, Delta, Done, ErrorClass, Provider, StreamPart, Switch
from timmy_core.router.record import AttemptRecord, CircuitRecord, UnansweredRecord

ASK = [{"role": "user", "content": "hi"}]


class Heard:
    """A recorder that keeps what it is told."""

    def __init__(self, *, wants_content: bool = False) -> None:
        self.wants_content = wants_content
        self.attempts: list[AttemptRecord] = []
        self.circuits: list[CircuitRecord] = []
        self.unanswereds: list[UnansweredRecord] = []

    def attempted(self, record: AttemptRecord, circuit: CircuitRecord | None) -> None:
        self.attempts.append(record)
        if circuit is not None:
            self.circuits.append(circuit)

    def circuit_changed(self, circuit: CircuitRecord) -> None:
        self.circuits.append(circuit)

    def unanswered(self, record: UnansweredRecord) -> None:
        self.unanswereds.append(record)

    @property
    def moves(self) -> list[tuple[str, str]]:
        return [(c.provider, c.transition.after) for c in self.circuits if c.transition is not None]

    @property
    def outcomes(self) -> list[tuple[str, str, str | None]]:
        return [(r.attempt.provider, r.attempt.outcome, r.attempt.error_class) for r in self.attempts]


def down(kind: ErrorClass = ErrorClass.SERVER, retry_after_s: float | None = None) -> ProviderError:
    return ProviderError(kind, f"it is {kind}", advice="mend it", retry_after_s=retry_after_s)


def cascade(*providers: Provider, **more: Any) -> Cascade:
    return Cascade(providers, offline=lambda attempts: f"offline: {len(attempts)} tried", **more)


async def parts_of(house: Cascade, **more: Any) -> list[StreamPart]:
    async with aclosing(house.stream(ASK, **more)) as stream:
        return [part async for part in stream]


def done(parts: Sequence[StreamPart]) -> Answer:
    assert isinstance(parts[-1], Done)
    return parts[-1].answer


async def ask(house: Cascade, *, streamed: bool, **more: Any) -> Answer:
    return done(await parts_of(house, **more)) if streamed else await house.chat(ASK, **more)


def text_shown(parts: Sequence[StreamPart]) -> str:
    """What a reader sees in the end: a switch voids what stood there, unless the next one goes on with it."""
    shown = ""
    for part in parts:
        if isinstance(part, Switch) and not part.continues:
            shown = ""
        elif isinstance(part, Delta):
            shown += part.text
    return shown


def classes(answer: Answer) -> list[tuple[str, str, str | None]]:
    return [(attempt.provider, attempt.outcome, attempt.error_class) for attempt in answer.attempts]


def assert_at_rest(house: Cascade) -> None:
    """Nobody holds a slot, a place or a probe's permit, or waits for news of one."""
    assert house._seats.news.waiting == 0
    for seat in house._seats:
        assert (seat.slots.in_flight, seat.slots.waiting, seat._users) == (0, 0, 0)
        for breaker in seat.breakers.values():
            assert breaker._state.leased_until is None
