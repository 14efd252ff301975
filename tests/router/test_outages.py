"""Whole days of outages on a clock that jumps: what breakers cost callers, beside somebody who knows who is up.

The best schedule, against which the days are measured, is this. It knows at every moment which providers are up, and
hands each request at once to the first of them in the order of priority. So it answers every request that comes while
at least one provider is up, and no other. It does not know the future: of a provider that breaks while it answers,
nobody can be saved. A request is answerable if the best schedule answers it, and only those count here, so that luck
(a provider that recovers while others are still being asked) makes nothing look better.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

import pytest

from timmy_core.errors import ProviderError
from timmy_core.router.breaker import Breaker, Permit, Policy
from timmy_core.router.cascade import Cascade
from timmy_core.router.chat import ChatRequest, Completion, ErrorClass, Usage
from timmy_core.router.limits import Limits
from timmy_core.router.retry import RetryBudget, pause_s
from timmy_core.testing import FakeClock, ScriptedProvider

DAY_S: Final = 86_400.0
ANSWER_S: Final = 0.4
DEADLINE_S: Final = 60.0
MOMENT_S: Final = 0.001  # a wait ends a little after what it waits for

FAULTS: Final = {
    ErrorClass.REFUSED: 0.001,
    ErrorClass.SERVER: 0.05,
    ErrorClass.OVERLOADED: 0.3,
    ErrorClass.TRUNCATED: 1.5,
    ErrorClass.TIMEOUT: 20.0,
}
"""How a sick provider may fail, and how many seconds that takes the caller."""

PATTERNS: Final = {
    "seldom and long": (7200.0, 900.0),
    "often and short": (300.0, 20.0),
    "flapping": (30.0, 10.0),
    "more down than up": (120.0, 240.0),
}
"""How long a provider is up and down in the mean, in seconds."""


Request = Generator[float, None, tuple[bool, bool]]
"""One request on its way; it yields seconds, and ends with whether it was answerable and whether it was answered."""


def seeded(seed: object) -> Random:
    return Random(str(seed))  # noqa: S311 - chance for a simulation, and the same in every run


@dataclass
class Outages:
    """When one provider is down, and how it fails then."""

    edges: list[float]  # up until the first, then down until the second, and so on
    kinds: list[ErrorClass]

    @classmethod
    def random(cls, chance: Random, faults: Sequence[ErrorClass], up_s: float, down_s: float) -> Outages:
        edges: list[float] = []
        kinds: list[ErrorClass] = []
        now = chance.uniform(0, up_s)
        while now < DAY_S:
            edges.append(now)
            edges.append(now + chance.expovariate(1 / down_s))
            kinds.append(chance.choice(faults))
            now = edges[-1] + chance.expovariate(1 / up_s)
        return cls(edges, kinds)

    def fault(self, seconds: float) -> ErrorClass | None:
        """Return how it fails at this moment; None while it is up."""
        passed = bisect.bisect_right(self.edges, seconds)
        return self.kinds[passed // 2] if passed % 2 else None


NEVER: Final = Outages([], [])


@dataclass
class House:
    """Providers with real breakers, and the cascade's rule of whom a request asks; callers overlap as they will."""

    outages: Sequence[Outages]
    seed: object = 0
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.began = self.clock.monotonic()
        self.breakers = [Breaker(Policy(), self.clock, random=seeded((self.seed, n))) for n in range(len(self.outages))]
        self.retries = RetryBudget(Limits().retry_percent)
        self.chance = seeded((self.seed, "pauses"))
        self.reached: list[list[float]] = [[] for _ in self.outages]  # when calls came to a provider that was down
        self.probes = [0] * len(self.outages)
        self.probed_until = [0.0] * len(self.outages)  # when the present probe ends
        self.probe_took_s = [0.0] * len(self.outages)  # how long the last took that has ended
        self.served: list[list[float]] = [[] for _ in self.outages]  # and when to one that was up

    @property
    def now(self) -> float:
        return self.clock.monotonic() - self.began

    def run(self, arrivals: Iterable[float]) -> tuple[int, int]:
        """Let one request come at each of these moments; return how many were answerable, and answered of these."""
        answerable = answered = 0
        events = [(moment, n, self.request()) for n, moment in enumerate(arrivals)]
        heapq.heapify(events)
        while events:
            moment, n, request = events[0]
            self.clock.advance(max(0.0, self.began + moment - self.clock.monotonic()))
            try:
                heapq.heapreplace(events, (self.now + next(request), n, request))
            except StopIteration as end:
                heapq.heappop(events)
                possible, got = end.value
                answerable += possible
                answered += possible and got
        return answerable, answered

    def request(self) -> Request:
        possible = any(outages.fault(self.now) is None for outages in self.outages)
        got = yield from self.ask()
        return possible, got

    def ask(self) -> Generator[float, None, bool]:
        """By priority, whoever admits; open circuits early, the one due next first; those under a probe; once more."""
        began, ends = self.now, self.now + DEADLINE_S
        failed: dict[int, ErrorClass] = {}
        self.retries.earn()
        return (
            (yield from self.cascade(ends, failed))
            or (yield from self.retry(0, began, ends, failed))
            or (yield from self.retry(1, began, ends, failed))
        )

    def cascade(self, ends: float, failed: dict[int, ErrorClass]) -> Generator[float, None, bool]:
        due: list[tuple[float, int]] = []
        probing: set[int] = set()
        for n, breaker in enumerate(self.breakers):
            refused = breaker.refusal()
            if refused is None:
                if (yield from self.call(n, ends, failed)):
                    return True
            elif refused[0] == "probing":
                probing.add(n)
            else:
                due.append((refused[1], n))
        for _, n in sorted(due):
            refused = self.breakers[n].refusal(early=True)
            if refused is None:
                if (yield from self.call(n, ends, failed, early=True)):
                    return True
            elif refused[0] == "probing":
                probing.add(n)
        return (yield from self.wait(probing, ends, failed))

    def retry(
        self, retries: int, began: float, ends: float, failed: dict[int, ErrorClass]
    ) -> Generator[float, None, bool]:
        """Ask the first once more whose fault may pass, if all requests together may."""
        for n, kind in sorted(failed.items()):
            error = ProviderError(kind, "down")
            pause = pause_s(error, retries, self.now - began, ends - self.now, Limits().backoff_s, self.chance)
            if pause is not None and self.breakers[n].refusal() is None:
                if not self.retries.spend():
                    return False
                yield pause
                return (yield from self.call(n, ends, failed))
        return False

    def wait(self, probing: set[int], ends: float, failed: dict[int, ErrorClass]) -> Generator[float, None, bool]:
        """Wait for what becomes of probes, for at most half of the time that is left, and go by that."""
        until = (self.now + ends) / 2
        again_at: dict[int, float] = {}
        while probing and self.now < until:
            wait_s = until - self.now
            for n in sorted(probing):
                refused = self.breakers[n].refusal(early=True)
                if refused is None:
                    probing.remove(n)
                    if (yield from self.call(n, ends, failed, early=True)):
                        return True
                    wait_s = 0.0
                elif refused[0] == "probing":
                    wait_s = min(wait_s, self.probed_until[n] - self.now)
                elif refused[1] > self.probe_took_s[n] or (
                    self.now + refused[1] > again_at.setdefault(n, self.now + refused[1]) + MOMENT_S
                ):
                    probing.remove(n)
                else:
                    wait_s = min(wait_s, refused[1])
            if probing:
                yield wait_s + MOMENT_S
        return False

    def call(
        self, n: int, ends: float, failed: dict[int, ErrorClass], *, early: bool = False
    ) -> Generator[float, None, bool]:
        """Ask one provider; the yielded seconds are what that takes."""
        began = self.now
        permit = self.breakers[n].admit(lease_s=max(0.0, ends - began), early=early).permit if began < ends else None
        if permit is None:
            return False
        self.probes[n] += permit.probe
        kind = self.outages[n].fault(began)
        takes_s = ANSWER_S if kind is None else min(FAULTS[kind], ends - began)
        if permit.probe:
            self.probed_until[n] = began + takes_s
        yield takes_s
        if permit.probe:
            self.probe_took_s[n] = takes_s
        if kind is None:
            self.breakers[n].succeed(permit)
            self.served[n].append(began)
            return True
        self.breakers[n].fail(permit, "down", error_class=kind)
        failed[n] = kind
        self.reached[n].append(began)
        return False


def arrivals(chance: Random, mean_s: float, until_s: float = DAY_S) -> list[float]:
    moments, now = [], 0.0
    while now < until_s:
        moments.append(now)
        now += chance.expovariate(1 / mean_s)
    return moments


def day(pattern: str, count: int, kinds: Sequence[ErrorClass]) -> tuple[House, float]:
    chance = seeded((pattern, count, kinds))
    house = House([Outages.random(chance, kinds, *PATTERNS[pattern]) for _ in range(count)])
    answerable, answered = house.run(arrivals(chance, 5.0))
    assert answerable > 5000
    return house, answered / answerable


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("pattern", ["seldom and long", "often and short"])
def test_a_day_of_any_outages_costs_less_than_one_percent_of_the_best_schedules_answers(
    pattern: str, count: int
) -> None:
    _, share = day(pattern, count, list(FAULTS))
    assert share >= 0.99, f"{share:.2%}"


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("pattern", ["flapping", "more down than up"])
def test_a_terrible_day_costs_less_than_one_percent_if_nobody_is_silent(pattern: str, count: int) -> None:
    _, share = day(pattern, count, [kind for kind in FAULTS if kind != ErrorClass.TIMEOUT])
    assert share >= 0.99, f"{share:.2%}"


def terrible_days(pattern: str, count: int) -> float:
    """Return the share of three days together, with every fault: one day alone may be lucky."""
    answerable = answered = 0
    for seed in range(3):
        chance = seeded((pattern, count, seed))
        house = House([Outages.random(chance, list(FAULTS), *PATTERNS[pattern]) for _ in range(count)])
        possible, got = house.run(arrivals(chance, 5.0))
        answerable += possible
        answered += got
    return answered / answerable


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("pattern", ["flapping", "more down than up"])
def test_a_terrible_day_with_silence_costs_less_than_one_percent_too(pattern: str, count: int) -> None:
    """Who has sat before a silent one for 20 s may find the next gone too; a pause and a retry mend most of that."""
    share = terrible_days(pattern, count)
    assert share >= 0.99, f"{share:.2%}"


def test_a_first_provider_that_is_down_all_day_is_hardly_ever_asked_and_nobody_goes_without_an_answer() -> None:
    house = House([Outages([0.0, DAY_S], [ErrorClass.SERVER]), NEVER])
    answerable, answered = house.run(arrivals(seeded("down"), 5.0))
    assert answered == answerable
    # Five calls until it opens; 60, 120, 240, 480 s; then one probe in 600 s, or a little sooner.
    assert 5 + 4 + 135 <= len(house.reached[0]) <= 5 + 4 + 165


def test_a_first_provider_that_is_well_again_is_used_again_when_its_reset_time_is_over() -> None:
    house = House([Outages([1000.0, 1030.0], [ErrorClass.SERVER]), NEVER])
    house.run(arrivals(seeded("back"), 0.5, until_s=1200))
    opened = house.reached[0][-1]
    assert len(house.reached[0]) == 5
    back = next(moment for moment in house.served[0] if moment > 1030)
    assert opened + 54 <= back <= opened + 66 + 5


@pytest.mark.parametrize("kind", [ErrorClass.REFUSED, ErrorClass.SERVER])
@pytest.mark.parametrize("seed", range(20))
def test_six_seconds_without_the_only_provider_cost_few_probes_and_it_is_back_within_a_second(
    seed: int, kind: ErrorClass
) -> None:
    house = House([Outages([10.0, 16.0], [kind])], seed)
    callers = [n / 50 for n in range(1500)]
    answerable, answered = house.run(callers)
    assert house.probes[0] <= 8 + 2  # the last two are those that were answered and closed it
    assert next(moment for moment in house.served[0] if moment >= 16) <= 17
    # Those of one second, and those who came while the two probes that closed it were being answered.
    assert answerable - answered <= 50 * (1 + 2 * ANSWER_S)
    assert house.breakers[0].snapshot.circuit == "closed"


class Sickly(ScriptedProvider):
    """A provider with outages, behind the cascade's own door; its calls move the clock."""

    def __init__(self, name: str, priority: int, outages: Outages, clock: FakeClock) -> None:
        super().__init__(name, priority=priority)
        self.outages = outages
        self.clock = clock
        self.began = clock.monotonic()

    @property
    def fault(self) -> ErrorClass | None:
        return self.outages.fault(self.clock.monotonic() - self.began)

    async def chat(self, request: ChatRequest) -> Completion:
        kind = self.fault
        self.clock.advance(ANSWER_S if kind is None else FAULTS[kind])
        if kind is not None:
            raise ProviderError(kind, "it is down")
        return Completion("well", "stop", Usage(1, 1), request.model)


async def test_the_cascade_itself_goes_by_this_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """One caller after the other, so a silent provider would only make the next callers late; there is none here."""
    chance, clock = seeded("cascade"), FakeClock()

    async def sleep(pause_s: float) -> None:
        clock.advance(pause_s)

    # The pause before a retry passes on this clock too.
    monkeypatch.setattr("timmy_core.router.search.asyncio.sleep", sleep)
    kinds = [kind for kind in FAULTS if kind != ErrorClass.TIMEOUT]
    providers = [Sickly(f"p{n}", n, Outages.random(chance, kinds, 300.0, 100.0), clock) for n in range(2)]
    house = Cascade(providers, offline=lambda _: "", limits=Limits(backoff_s=0), clock=clock, random=chance)
    answerable = answered = 0
    began = clock.monotonic()
    for moment in arrivals(chance, 15.0):
        clock.advance(max(0.0, began + moment - clock.monotonic()))
        possible = any(provider.fault is None for provider in providers)
        answer = await house.chat([{"role": "user", "content": "hi"}])
        answerable += possible
        answered += possible and not answer.offline
    assert answerable > 4000
    assert answered >= 0.99 * answerable, f"{answered} of {answerable}"


@pytest.mark.parametrize("early", [False, True])
def test_of_forty_callers_at_the_moment_of_recovery_exactly_one_is_admitted(early: bool) -> None:
    clock = FakeClock()
    breaker = Breaker(Policy(), clock, random=seeded("forty"))
    for _ in range(2):
        permit = breaker.admit(lease_s=60).permit
        assert permit is not None
        breaker.fail(permit, "down", error_class=ErrorClass.REFUSED)
    clock.advance(1 if early else 66)

    def forty() -> list[Permit]:
        admissions = [breaker.admit(lease_s=60, early=early) for _ in range(40)]
        return [admission.permit for admission in admissions if admission.permit is not None]

    for _ in range(2):  # a second probe has to be answered before the door is open again
        (probe,) = forty()
        clock.advance(5)
        assert forty() == []
        breaker.succeed(probe)
    assert len(forty()) == 40
