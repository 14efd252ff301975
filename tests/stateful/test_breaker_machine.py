"""Whatever callers and operators do, and in whatever order, a circuit does what a plain model of it does."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from timmy_core.router.breaker import MOVES, Breaker, Permit, Policy, Snapshot, Transition
from timmy_core.testing import FakeClock

POLICY = Policy(failure_threshold=3, reset_timeout_s=60.0, max_reset_s=200.0, window=6, min_results=4)
LEASE_S = 10.0
CLASSES = st.sampled_from(["server_error", "connection_refused", "timeout", "stream_truncated"])
# Multiples of a power of two, so that sums of times are exact and the model's may be compared with "==".
WAITS = st.sampled_from([0.125, 0.5, 1.0, 5.0, LEASE_S, 60.0, 200.0, 3600.0])


class Model:
    """The rules in the plainest words: every result is kept in a list, and every live permit in a set."""

    def __init__(self) -> None:
        self.circuit = "closed"
        self.isolated = False
        self.live: set[int] = set()  # permits whose results count
        self.results: list[str] = []  # since the circuit closed: "good", "slow", or a class of errors
        self.row: list[str] = []  # the classes of the failures in a row, whatever the circuit did meanwhile
        self.good_probes = 0
        self.reset_s = 0.0
        self.due = 0.0
        self.early_due = 0.0
        self.lease_ends = 0.0
        self.limit_ends: float | None = None

    def refusal(self, now: float, *, early: bool) -> str | None:
        if self.isolated:
            return "isolated"
        if self.circuit == "half_open" and self.live and now < self.lease_ends:
            return "probing"
        if self.circuit != "closed" and not self.good_probes:
            only_early = now < self.due
            if only_early and not (early and now >= self.early_due):
                return "open"
        return "limited" if self.limit_ends is not None and now < self.limit_ends else None

    def admitted(self, name: int, now: float) -> None:
        if self.circuit == "closed":
            self.live.add(name)
            return
        if self.circuit == "open":
            self.circuit, self.good_probes = "half_open", 0
        self.live, self.lease_ends, self.early_due = {name}, now + LEASE_S, now + 1

    def succeeded(self, name: int, now: float, *, slow: bool) -> None:
        if name not in self.live:
            return
        if self.circuit == "half_open":
            self.live.clear()
            if slow:
                self.open(now)
                return
            self.good_probes += 1
            if self.good_probes == 2:
                self.forget_limit(now)
                self.close()
            return
        self.results.append("slow" if slow else "good")
        self.row = []
        self.forget_limit(now)
        if slow and self.too_many():
            self.open(now)

    def failed(self, name: int, now: float, error_class: str) -> None:
        if name not in self.live:
            return
        self.row.append(error_class)
        if self.circuit == "half_open":
            self.open(now)
            return
        self.results.append(error_class)
        certain = len(self.row) >= 2 and set(self.row[-2:]) <= {"connection_refused", "timeout"}
        if len(self.row) >= 3 or certain or self.too_many():
            self.open(now)

    def released(self, name: int) -> None:
        if self.circuit == "half_open":
            self.live.discard(name)

    def limited(self, name: int, now: float, seconds: float | None) -> None:
        ends = now + (5 if seconds is None else seconds)
        self.limit_ends = ends if self.limit_ends is None else max(ends, self.limit_ends)
        self.released(name)

    def too_many(self) -> bool:
        last = self.results[-6:]
        return len(last) >= 4 and sum(result != "good" for result in last) >= len(last) / 2

    def open(self, now: float) -> None:
        early = self.circuit == "half_open" and now < self.due
        if not early:
            self.reset_s = 60 if self.circuit == "closed" else min(self.reset_s * 2, 200)
            self.due = now + self.reset_s
        self.circuit, self.early_due, self.good_probes = "open", now + 1, 0
        self.live.clear()

    def close(self) -> None:
        self.circuit, self.isolated, self.reset_s, self.good_probes = "closed", False, 0, 0
        self.live.clear()
        self.results, self.row = [], []

    def forget_limit(self, now: float) -> None:
        if self.limit_ends is not None and now >= self.limit_ends:
            self.limit_ends = None

    def restarted(self, now: float) -> None:
        self.live.clear()
        self.results = []
        self.row = ["unknown"] * len(self.row)
        self.forget_limit(now)
        if self.circuit == "half_open":
            self.circuit, self.good_probes, self.due = "open", 0, now
        self.early_due, self.due = 0, max(self.due, now)


class BreakerMachine(RuleBasedStateMachine):
    permits = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.began = self.clock.now(), self.clock.monotonic()
        self.breaker = Breaker(POLICY, self.clock)
        self.model = Model()
        self.circuit = "closed"  # as the reported moves say
        self.names = 0

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def moved(self, move: Transition | None) -> None:
        """Every reported move begins where the last one ended, and is in the table."""
        if move is not None:
            assert move.before == self.circuit
            assert move.after in {after for (before, _), after in MOVES.items() if before == move.before}
            assert move.reason
            self.circuit = move.after

    @rule(target=permits, early=st.booleans())
    def admit(self, early: bool) -> object:
        expected = self.model.refusal(self.now, early=early)
        announced = self.breaker.refusal(early=early)
        admission = self.breaker.admit(lease_s=LEASE_S, early=early)
        self.moved(admission.transition)
        assert admission.refusal == expected
        assert (announced is None) == (expected is None)
        if admission.permit is None:
            assert announced == (admission.refusal, admission.retry_in_s)
            return multiple()
        self.names += 1
        self.model.admitted(self.names, self.now)
        assert admission.permit.probe == (self.circuit == "half_open")
        return self.breaker, admission.permit, self.names

    @rule(permit=consumes(permits), slow=st.booleans())
    def succeed(self, permit: tuple[Breaker, Permit, int], slow: bool) -> None:
        breaker, held, name = permit
        if breaker is self.breaker:  # a permit does not outlive its process
            self.model.succeeded(name, self.now, slow=slow)
            self.moved(breaker.succeed(held, slow=slow))

    @rule(permit=consumes(permits), error_class=CLASSES)
    def fail(self, permit: tuple[Breaker, Permit, int], error_class: str) -> None:
        breaker, held, name = permit
        if breaker is self.breaker:
            self.model.failed(name, self.now, error_class)
            self.moved(breaker.fail(held, "down", error_class=error_class))

    @rule(permit=consumes(permits))
    def release(self, permit: tuple[Breaker, Permit, int]) -> None:
        breaker, held, name = permit
        if breaker is self.breaker:
            self.model.released(name)
            breaker.release(held)

    @rule(permit=consumes(permits), seconds=st.none() | st.integers(0, 200).map(float))
    def limit(self, permit: tuple[Breaker, Permit, int], seconds: float | None) -> None:
        breaker, held, name = permit
        if breaker is self.breaker:
            self.model.limited(name, self.now, seconds)
            breaker.limit(held, seconds)

    @rule(result=st.sampled_from(["good", "good", "slow", "server_error", "timeout"]), times=st.integers(1, 5))
    def call(self, result: str, times: int) -> None:
        """Whole calls of somebody who has nobody else: few random single steps would ever get far."""
        for _ in range(times):
            given = self.admit(early=True)
            if not isinstance(given, tuple):
                return
            if result in {"good", "slow"}:
                self.succeed(given, slow=result == "slow")
            else:
                self.fail(given, result)

    @rule()
    def isolate(self) -> None:
        move = self.breaker.isolate("by hand")
        assert (move is None) == self.model.isolated
        self.moved(move)
        if move is not None:
            self.model.circuit, self.model.isolated, self.model.reset_s, self.model.good_probes = "open", True, 0, 0
            self.model.live.clear()

    @rule()
    def close_by_hand(self) -> None:
        move = self.breaker.close_by_hand()
        assert (move is None) == (self.model.circuit == "closed")
        self.moved(move)
        live = set(self.model.live) if move is None else set()
        self.model.close()
        self.model.live, self.model.limit_ends = live, None

    @rule(seconds=WAITS)
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.breaker = Breaker(POLICY, self.clock, self.breaker.snapshot)
        self.circuit = self.breaker.snapshot.circuit
        self.model.restarted(self.now)

    @invariant()
    def the_snapshot_is_the_models(self) -> None:
        model = self.model
        assert self.breaker.snapshot == Snapshot(
            circuit=self.circuit,  # type: ignore[arg-type]
            failures=len(model.row),
            open_until=self.wall(model.due) if model.circuit == "open" and not model.isolated else None,
            isolated=model.isolated,
            reset_s=model.reset_s,
            successes=model.good_probes,
            limited_until=None if model.limit_ends is None else self.wall(model.limit_ends),
        )
        assert model.circuit == self.circuit

    @invariant()
    def only_a_hand_keeps_callers_away_for_ever(self) -> None:
        for early in (False, True):
            refused = self.breaker.refusal(early=early)
            assert refused is None or 0 < refused[1] <= 3600 or refused == ("isolated", math.inf)
            assert (refused is not None and refused[1] == math.inf) == self.model.isolated

    def wall(self, moment: float) -> datetime:
        return self.began[0] + timedelta(seconds=moment - self.began[1])


BreakerMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestBreaker = BreakerMachine.TestCase


@given(seed=st.integers(0, 2**32), probes=st.lists(st.booleans(), max_size=12))
@settings(max_examples=50, deadline=None)
def test_with_jitter_every_opening_ends_within_its_bounds(seed: int, probes: list[bool]) -> None:
    clock, policy = FakeClock(), Policy()
    breaker = Breaker(policy, clock, random=Random(seed))  # noqa: S311 - chance for jitter
    for good in [False] * 5 + probes:
        refused = breaker.refusal()
        if refused is not None:
            assert refused[0] == "open"
            reset_s = breaker.snapshot.reset_s
            assert 0.9 * reset_s - 1e-6 <= refused[1] <= min(1.1 * reset_s, 600) + 1e-6
            clock.advance(refused[1])
        permit = breaker.admit(lease_s=1).permit
        assert permit is not None
        if good:
            breaker.succeed(permit)
        else:
            breaker.fail(permit, "down")
