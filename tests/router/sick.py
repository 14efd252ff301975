"""A cascade of a sick provider and a healthy one, each a real server behind its real door and official client."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from timmy_core.clock import Clock
from timmy_core.router.cascade import Cascade
from timmy_core.router.chat import Answer, Attempt, Delta, Done, Provider, Switch, Usage
from timmy_core.router.limits import Limits
from timmy_core.router.providers import build_provider
from timmy_core.router.record import AttemptRecord, CircuitRecord, UnansweredRecord
from timmy_core.settings import ProviderSettings, RouterSettings
from timmy_core.testing import Turn, WireServer
from timmy_core.testing.turn import APIS, Api

ASK = [{"role": "user", "content": "hi"}]
DEADLINE_S = 8.0
# Short, since every fault of time is waited for; not so short that a machine that stands still for a second is one.
LIMITS = RouterSettings(
    deadline_s=DEADLINE_S,
    first_token_s=1.8,
    between_tokens_s=2.2,
    body_s=2.5,
    min_chars_per_s=50,
    connect_s=2.5,
)
WELL = Turn(pieces=("I am ", "well."), usage=(5, 3))
SPARE = "spare-model"


def door(api: Api, server: WireServer, name: str, model: str, priority: int, **limits: float) -> Provider:
    """Return the real door to a server, with limits of its own where they are given."""
    table = {
        "name": name,
        "kind": api,
        "base_url": server.base_url(api),
        "api_key": "key-of-the-tests",
        "models": {"default": model},
        "priority": priority,
        **limits,
    }
    return build_provider(ProviderSettings.model_validate(table), LIMITS)


def offline(attempts: Sequence[Attempt]) -> str:
    """Write an offline answer."""
    return f"nobody of {len(attempts)} answered"


def limits() -> Limits:
    """Return limits that are short enough for a test; a drip is seen after a second of it."""
    return dataclasses.replace(Limits.from_settings(LIMITS), pace_window_s=0.5)


@dataclass
class Heard:
    """One request's answer, and how it came."""

    answer: Answer
    took_s: float
    switches: list[Switch] = field(default_factory=list)
    shown: str = ""  # what stands on the page in the end
    voided: str = ""  # what stood there and was taken away, or gone on with


async def ask(cascade: Cascade, *, streamed: bool) -> Heard:
    """Ask, and read the answer as a page would show it."""
    began = time.monotonic()
    if not streamed:
        answer = await cascade.chat(ASK)
        return Heard(answer, time.monotonic() - began, shown=answer.text)
    heard: list[Switch] = []
    shown, voided = "", ""
    answers: list[Answer] = []
    async for part in cascade.stream(ASK):
        if isinstance(part, Delta):
            shown += part.text
        elif isinstance(part, Switch):
            heard.append(part)
            voided = shown
            shown = shown if part.continues else ""
        elif isinstance(part, Done):
            answers.append(part.answer)
    assert len(answers) == 1, "a stream ends with one Done"
    return Heard(answers[0], time.monotonic() - began, heard, shown, voided)


class Chart:
    """Takes note of every attempt, as the metrics do."""

    wants_content = False

    def __init__(self) -> None:
        self.records: list[AttemptRecord] = []

    def attempted(self, record: AttemptRecord, circuit: CircuitRecord | None) -> None:
        """Note it."""
        del circuit
        self.records.append(record)

    def circuit_changed(self, circuit: CircuitRecord) -> None:
        """Let it be."""

    def unanswered(self, record: UnansweredRecord) -> None:
        """Let it be."""


@dataclass
class Ward:
    """A sick and a healthy server for one API each, and cascades over them."""

    api: Api
    sick: WireServer
    well: WireServer
    doors: tuple[Provider, Provider]

    def cascade(self, clock: Clock | None = None, chart: Chart | None = None) -> Cascade:
        """Return a new cascade over the two doors, with circuits of its own.

        With a clock it has all the time of the world, since nothing but that clock is to decide.
        """
        made = limits() if clock is None else Limits(policy=limits().policy)
        return Cascade(self.doors, offline=offline, limits=made, clock=clock, recorder=chart)

    async def close(self) -> None:
        """Close both doors."""
        for provider in self.doors:
            await provider.close()

    async def see_that_no_socket_is_left(self) -> None:
        """Both servers have lost all their clients."""
        ends = time.monotonic() + 3
        while self.sick.open_connections + self.well.open_connections:
            assert time.monotonic() < ends, "a socket is left after close"
            await asyncio.sleep(0.01)


@asynccontextmanager
async def ward(api: Api) -> AsyncIterator[Ward]:
    """Open both servers and doors, with a connection or two made; the healthy one speaks another API."""
    other = APIS[(APIS.index(api) + 1) % len(APIS)]
    async with WireServer(Turn()) as sick, WireServer(WELL) as well:
        doors = door(api, sick, "sick", "tiny", 1), door(other, well, "well", SPARE, 2, first_token_s=DEADLINE_S)
        opened = Ward(api, sick, well, doors)
        try:
            # The clients are built now, so that their building takes no time from the requests.
            await asyncio.gather(*(provider.check(timeout_s=20) for provider in (*doors, doors[0])))
            yield opened
        finally:
            await opened.close()
        await opened.see_that_no_socket_is_left()


def assert_from_the_well_one(heard: Heard) -> None:
    """The answer is the healthy provider's, with its own name, model and usage."""
    answer = heard.answer
    assert (answer.provider, answer.model, answer.offline) == ("well", SPARE, False)
    assert answer.text.endswith("I am well.")
    assert answer.finish_reason == "stop"
    assert answer.usage == Usage(5, 3)
    assert heard.shown == answer.text
