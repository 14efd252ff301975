"""Whatever callers do, and in whatever order, a circuit keeps its promises."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from timmy_core.router.breaker import MOVES, Breaker, Permit, Policy, Transition
from timmy_core.testing import FakeClock

Given = tuple[Breaker, Permit]
THRESHOLD, RESET_S, LEASE_S = 3, 60.0, 10.0


class BreakerMachine(RuleBasedStateMachine):
    permits = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.breaker = Breaker(Policy(THRESHOLD, RESET_S), self.clock)
        self.circuit = "closed"
        self.probes: dict[Permit, float] = {}  # those that are out, and when their lease ends

    def moved(self, move: Transition | None) -> None:
        """Every reported move begins where the last one ended, and is in the table."""
        if move is not None:
            assert move.before == self.circuit
            assert move.after in {after for (before, _), after in MOVES.items() if before == move.before}
            self.circuit = move.after

    def still_ours(self, given: Given) -> Permit | None:
        """A permit does not outlive its process."""
        return given[1] if given[0] is self.breaker else None

    @rule(target=permits)
    def admit(self) -> object:
        admission = self.breaker.admit(lease_s=LEASE_S)
        self.moved(admission.transition)
        if admission.permit is None:
            assert admission.refusal is not None
            assert admission.retry_in_s > 0
            return multiple()
        assert admission.permit.probe == (self.circuit == "half_open")
        if admission.permit.probe:
            now = self.clock.monotonic()
            assert all(ends <= now for ends in self.probes.values()), "two probes were out at once"
            self.probes[admission.permit] = now + LEASE_S
        return self.breaker, admission.permit

    @rule(given=consumes(permits))
    def succeed(self, given: Given) -> None:
        permit = self.still_ours(given)
        if permit is None:
            return
        self.moved(self.breaker.succeed(permit))
        self.probes.pop(permit, None)

    @rule(given=consumes(permits))
    def fail(self, given: Given) -> None:
        permit = self.still_ours(given)
        if permit is None:
            return
        self.moved(self.breaker.fail(permit, "down"))
        self.probes.pop(permit, None)

    @rule(given=consumes(permits))
    def release(self, given: Given) -> None:
        permit = self.still_ours(given)
        if permit is None:
            return
        before = self.breaker.snapshot
        self.breaker.release(permit)
        assert self.breaker.snapshot == before
        self.probes.pop(permit, None)

    @rule(given=consumes(permits), seconds=st.none() | st.floats(0, 100))
    def limit(self, given: Given, seconds: float | None) -> None:
        permit = self.still_ours(given)
        if permit is None:
            return
        before = self.breaker.snapshot
        self.breaker.limit(permit, seconds)
        assert self.breaker.snapshot == before
        self.probes.pop(permit, None)

    @rule(seconds=st.sampled_from([0.1, 5.0, LEASE_S, RESET_S, 3600.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.breaker = Breaker(Policy(THRESHOLD, RESET_S), self.clock, self.breaker.snapshot)
        self.circuit = self.breaker.snapshot.circuit
        self.probes.clear()

    @invariant()
    def the_snapshot_is_the_last_reported_state(self) -> None:
        assert self.breaker.snapshot.circuit == self.circuit

    @invariant()
    def open_has_an_end_and_closed_has_few_failures(self) -> None:
        snapshot = self.breaker.snapshot
        assert (snapshot.open_until is not None) == (snapshot.circuit == "open")
        assert snapshot.circuit != "closed" or snapshot.failures < THRESHOLD

    @invariant()
    def nobody_is_kept_away_for_ever(self) -> None:
        refused = self.breaker.refusal()
        assert refused is None or 0 < refused[1] <= 3600


BreakerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestBreaker = BreakerMachine.TestCase
