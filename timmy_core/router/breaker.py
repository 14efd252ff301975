"""The circuit breaker: a table of allowed moves and an immutable state, with time and chance as arguments and no I/O.

A caller asks `admit()` for a permit and hands it back with what became of the call: `succeed`, `fail`, `release`
(nothing is known: the caller cancelled, or the fault was ours) or `limit` (the provider asked to be left alone).
Every permit carries the generation it was given in. A result from an earlier generation is late and does not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Final, Literal

from timmy_core.clock import Clock
from timmy_core.router.chat import Circuit
from timmy_core.router.policy import CERTAIN, Policy

__all__ = [
    "MAX_LIMIT_S",
    "MOVES",
    "Admission",
    "Breaker",
    "Permit",
    "Policy",
    "Refusal",
    "Snapshot",
    "Transition",
]

Cause = Literal["trip", "probe", "recover", "isolate", "close"]
Refusal = Literal["open", "probing", "limited", "isolated"]

MOVES: Final[dict[tuple[Circuit, Cause], Circuit]] = {
    ("closed", "trip"): "open",
    ("open", "probe"): "half_open",
    ("half_open", "recover"): "closed",
    ("half_open", "trip"): "open",
    # By hand:
    ("closed", "isolate"): "open",
    ("half_open", "isolate"): "open",
    ("open", "isolate"): "open",
    ("half_open", "close"): "closed",
    ("open", "close"): "closed",
}

MAX_LIMIT_S: Final = 3600.0
"""A provider may ask to be left alone for longer; it is asked again after an hour all the same."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is shown, and what survives a restart; moments are wall time."""

    circuit: Circuit = "closed"
    failures: int = 0  # in a row
    open_until: datetime | None = None  # None where it is not open, and where it is isolated
    isolated: bool = False  # opened by hand: only a hand closes it
    reset_s: float = 0.0  # how long the present opening lasts, before jitter; 0 while closed
    successes: int = 0  # of probes, in half open
    limited_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """One move of the circuit, as the log tells it."""

    before: Circuit
    after: Circuit
    reason: str
    open_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to make one call; `probe` says that the whole circuit hangs on it."""

    generation: int
    probe: bool


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to `admit`: a permit, or why there is none and in how many seconds to ask again."""

    permit: Permit | None
    transition: Transition | None = None
    refusal: Refusal | None = None
    retry_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Window:
    """The last results, the newest in the lowest bit; a set bit is a failure or a slow call."""

    bits: int = 0
    count: int = 0

    def add(self, size: int, *, bad: bool) -> _Window:
        bits = (self.bits << 1 | bad) & ((1 << size) - 1)
        return _Window(bits, min(self.count + 1, size))


@dataclass(frozen=True, slots=True)
class _State:
    circuit: Circuit = "closed"
    failures: int = 0
    certain: int = 0  # of these the last ones that were certain
    generation: int = 0
    open_until: datetime | None = None  # wall time, to be shown and kept
    reopens_at: float = 0.0  # the same moment on the monotonic clock, which alone decides
    reset_s: float = 0.0
    early_at: float = 0.0  # when a probe may go before the time of the others
    leased_until: float | None = None  # half open: when the one permit comes back by itself
    successes: int = 0
    limited_until: datetime | None = None
    limit_ends: float | None = None  # the same moment on the monotonic clock
    isolated: bool = False


class Breaker:
    """One circuit; for use on one event loop, its `snapshot` may be read from any thread.

    Args:
        policy: when it opens and what closes it.
        clock: where the time is read.
        remembered: what it was before a restart.
        random: where the jitter comes from; without it every time is exact.
    """

    def __init__(
        self, policy: Policy, clock: Clock, remembered: Snapshot | None = None, random: Random | None = None
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._random = random
        self._state = _State() if remembered is None else self._restore(remembered)
        # Apart from the state, because it alone changes with every call of a healthy provider.
        self._window = _Window()
        # All permits of one closed generation are equal, so one serves them all.
        self._granted = Admission(Permit(self._state.generation, probe=False))
        self._shown = self._state, self._show(self._state)

    @property
    def snapshot(self) -> Snapshot:
        """What is worth keeping and showing now."""
        state, shown = self._shown
        if state is not self._state:
            state = self._state
            shown = self._show(state)
            self._shown = state, shown
        return shown

    def follow(self, policy: Policy) -> None:
        """Go by another policy from now on; a circuit that is open for longer than it allows is due sooner."""
        self._policy = policy
        state, now = self._state, self._clock.monotonic()
        if state.circuit == "open" and not state.isolated and state.reopens_at > now + policy.longest_s:
            until = self._clock.now() + timedelta(seconds=policy.longest_s)
            self._state = replace(state, open_until=until, reopens_at=now + policy.longest_s)

    def refusal(self, *, early: bool = False) -> tuple[Refusal, float] | None:
        """Return why `admit` would say no now and for how many seconds yet; None if it would say yes."""
        state = self._state
        if state.circuit == "closed" and state.limit_ends is None:
            return None
        if state.isolated:
            return "isolated", math.inf
        now = self._clock.monotonic()
        if state.leased_until is not None and now < state.leased_until:
            return "probing", state.leased_until - now
        # Half open before its time, and no probe was answered yet: it is still only for those who have nobody else.
        if state.circuit == "open" or (state.circuit == "half_open" and not state.successes):
            due = min(state.reopens_at, state.early_at) if early else state.reopens_at
            if now < due:
                return "open", due - now
        if state.limit_ends is not None and now < state.limit_ends:
            return "limited", state.limit_ends - now
        return None

    def admit(self, *, lease_s: float, early: bool = False) -> Admission:
        """Ask for a permit; one for a probe is given to one caller at a time and comes back after `lease_s`.

        Args:
            lease_s: how long the caller may need.
            early: nobody else can be asked. Then an open circuit may be probed before its time, but only once in
                `early_probe_s`. Callers should ask every open circuit like this, the one that is due next first,
                until one answers: the one that is due next need not be the one that is well again.
        """
        state = self._state
        if state.circuit == "closed" and state.limit_ends is None:
            return self._granted
        refused = self.refusal(early=early)
        if refused is not None:
            return Admission(None, refusal=refused[0], retry_in_s=refused[1])
        if state.circuit == "closed":
            return self._granted
        now, transition = self._clock.monotonic(), None
        if state.circuit == "open":
            due = now >= state.reopens_at
            reason = "the reset time is over" if due else "nobody else can be asked"
            # The end of the opening is kept: a probe before its time that fails does not lengthen it.
            kept = replace(state, open_until=None)
            transition = self._move("probe", f"{reason}; one call may try", kept)
        # Here the permit is free or was never given back; a new generation keeps the lost one's result out.
        self._state = replace(
            self._state,
            generation=self._state.generation + 1,
            leased_until=now + lease_s,
            early_at=now + self._early_s(),
        )
        return Admission(Permit(self._state.generation, probe=True), transition)

    def succeed(self, permit: Permit, *, slow: bool = False) -> Transition | None:
        """The call was answered: failures in a row are forgotten, and enough good probes close the circuit.

        An answer that was slower than allowed counts as a failure among the last results, and as one of a probe.
        """
        state = self._state
        if permit.generation != state.generation:
            return None
        if state.circuit == "half_open":
            return self._trip("the probe was answered too slowly") if slow else self._probed()
        window = self._window
        if slow or window.bits or window.count < self._policy.window:
            self._window = window.add(self._policy.window, bad=slow)
        if state.failures or state.limit_ends is not None:
            self._state = self._without_failures()
        return self._trip_by_rate("the last was too slow") if slow else None

    def fail(self, permit: Permit, reason: str, *, error_class: str = "") -> Transition | None:
        """The call failed by the provider's fault: it is counted, and one of a probe opens the circuit again."""
        state = self._state
        if permit.generation != state.generation:
            return None
        certain = state.certain + 1 if error_class in CERTAIN else 0
        self._state = state = replace(state, failures=state.failures + 1, certain=certain)
        if state.circuit == "half_open":
            return self._trip(f"the probe failed: {reason}")
        self._window = self._window.add(self._policy.window, bad=True)
        if state.failures >= self._policy.failure_threshold or certain >= self._policy.certain_threshold:
            count = "1 failure" if state.failures == 1 else f"{state.failures} failures in a row"
            return self._trip(f"{count}, the last: {reason}")
        return self._trip_by_rate(f"the last: {reason}")

    def release(self, permit: Permit) -> None:
        """The call says nothing about the provider; a probe's permit is free for the next caller."""
        if permit.generation == self._state.generation and self._state.circuit == "half_open":
            self._state = replace(self._state, generation=self._state.generation + 1, leased_until=None)

    def limit(self, permit: Permit, retry_after_s: float | None) -> None:
        """The provider asked to be left alone: no failure, but nobody asks it until then."""
        wait_s = self._policy.limit_s if retry_after_s is None else min(max(retry_after_s, 0.0), MAX_LIMIT_S)
        ends = self._clock.monotonic() + wait_s
        if self._state.limit_ends is None or ends > self._state.limit_ends:
            until = self._clock.now() + timedelta(seconds=wait_s)
            self._state = replace(self._state, limited_until=until, limit_ends=ends)
        self.release(permit)

    def isolate(self, reason: str) -> Transition | None:
        """Open the circuit by hand, until a hand closes it; None if it was isolated already."""
        state = self._state
        if state.isolated:
            return None
        after = _State(
            failures=state.failures, limited_until=state.limited_until, limit_ends=state.limit_ends, isolated=True
        )
        return self._move("isolate", reason, after)

    def close_by_hand(self, reason: str = "closed by hand") -> Transition | None:
        """Close the circuit and forget everything that kept callers away; None if it was closed already."""
        if self._state.circuit == "closed":
            self._window = _Window()
            self._state = _State(generation=self._state.generation)
            return None
        return self._move("close", reason, _State())

    def _probed(self) -> Transition | None:
        state = self._state
        successes = state.successes + 1
        if successes >= self._policy.successes_to_close:
            times = "the probe was" if successes == 1 else f"{successes} probes were"
            return self._move("recover", f"{times} answered", self._without_failures())
        # A new generation: one permit can report one success.
        self._state = replace(state, successes=successes, generation=state.generation + 1, leased_until=None)
        return None

    def _without_failures(self) -> _State:
        state = self._state
        # A pause that has begun since this call went out goes on.
        if state.limit_ends is not None and self._clock.monotonic() >= state.limit_ends:
            return replace(state, failures=0, certain=0, limited_until=None, limit_ends=None)
        return replace(state, failures=0, certain=0)

    def _trip_by_rate(self, last: str) -> Transition | None:
        window, policy = self._window, self._policy
        bad = window.bits.bit_count()
        if window.count < policy.enough or bad < policy.failure_rate * window.count:
            return None
        return self._trip(f"{bad} of the last {window.count} calls failed or were slow, {last}")

    def _trip(self, reason: str) -> Transition:
        state, policy, now = self._state, self._policy, self._clock.monotonic()
        if state.circuit == "half_open" and now < state.reopens_at:
            reset_s, reopens_at = state.reset_s, state.reopens_at  # a probe before its time
        else:
            reset_s = policy.reset_timeout_s
            if state.circuit == "half_open":
                reset_s = min(max(state.reset_s * 2, reset_s), policy.longest_s)
            reopens_at = now + min(reset_s * self._factor(), policy.longest_s)
        after = _State(
            failures=state.failures,
            open_until=self._clock.now() + timedelta(seconds=reopens_at - now),
            reopens_at=reopens_at,
            reset_s=reset_s,
            early_at=now + self._early_s(),
            limited_until=state.limited_until,
            limit_ends=state.limit_ends,
        )
        return self._move("trip", reason, after)

    def _move(self, cause: Cause, reason: str, after: _State) -> Transition:
        """The one place where a circuit moves: only as the table allows, and always into a new generation."""
        before = self._state
        circuit = MOVES[before.circuit, cause]
        if circuit == "closed":
            after = _State(limited_until=after.limited_until, limit_ends=after.limit_ends)
        self._state = replace(after, circuit=circuit, generation=before.generation + 1)
        self._window = _Window()
        self._granted = Admission(Permit(self._state.generation, probe=False))
        return Transition(before.circuit, circuit, reason, self._state.open_until)

    def _factor(self) -> float:
        return 1.0 if self._random is None else 1 + self._policy.jitter * self._random.uniform(-1, 1)

    def _early_s(self) -> float:
        """Always a little less than `early_probe_s`: together with the probe itself nobody is kept away for longer."""
        less = 0.0 if self._random is None else self._policy.jitter * self._random.uniform(1, 2)
        return self._policy.early_probe_s * (1 - less)

    @staticmethod
    def _show(state: _State) -> Snapshot:
        return Snapshot(
            circuit=state.circuit,
            failures=state.failures,
            open_until=state.open_until,
            isolated=state.isolated,
            reset_s=state.reset_s,
            successes=state.successes,
            limited_until=state.limited_until,
        )

    def _restore(self, kept: Snapshot) -> _State:
        """Wall times are trusted only as far as the policy allows: the clock may have been set meanwhile."""
        policy, wall, now = self._policy, self._clock.now(), self._clock.monotonic()
        limit_ends = None
        if kept.limited_until is not None and kept.limited_until > wall:
            limit_ends = now + min((kept.limited_until - wall).total_seconds(), MAX_LIMIT_S)
        limited_until = None if limit_ends is None else wall + timedelta(seconds=limit_ends - now)
        if kept.isolated:
            circuit: Circuit = "open"
            return _State(circuit, kept.failures, limited_until=limited_until, limit_ends=limit_ends, isolated=True)
        if kept.circuit == "closed":
            failures = min(kept.failures, policy.failure_threshold - 1)
            return _State(failures=failures, limited_until=limited_until, limit_ends=limit_ends)
        # A probe that was under way when the process ended is forgotten, so half open starts as due.
        reset_s = min(max(kept.reset_s, policy.reset_timeout_s), policy.longest_s)
        wait_s = 0.0
        if kept.circuit == "open" and kept.open_until is not None:
            most_s = min(reset_s * (1 + policy.jitter), policy.longest_s)
            wait_s = min(max((kept.open_until - wall).total_seconds(), 0.0), most_s)
        return _State(
            circuit="open",
            failures=kept.failures,
            open_until=wall + timedelta(seconds=wait_s),
            reopens_at=now + wait_s,
            reset_s=reset_s,
            limited_until=limited_until,
            limit_ends=limit_ends,
        )
