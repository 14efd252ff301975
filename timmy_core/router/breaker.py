"""The circuit breaker: a table of allowed moves and an immutable state, with time as an argument and no I/O.

A caller asks `admit()` for a permit and hands it back with what became of the call: `succeed`, `fail`, `release`
(nothing is known: the caller cancelled, or the fault was ours) or `limit` (the provider asked to be left alone).
Every permit carries the generation it was given in. A result from an earlier generation is late and does not count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from timmy_core.clock import Clock
from timmy_core.router.chat import Circuit

Cause = Literal["trip", "probe", "recover"]
Refusal = Literal["open", "probing", "limited"]

MOVES: Final[dict[tuple[Circuit, Cause], Circuit]] = {
    ("closed", "trip"): "open",
    ("open", "probe"): "half_open",
    ("half_open", "recover"): "closed",
    ("half_open", "trip"): "open",
}

MAX_LIMIT_S: Final = 3600.0
"""A provider may ask to be left alone for longer; it is asked again after an hour all the same."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When a circuit opens, and for how long; times in seconds."""

    failure_threshold: int = 5
    reset_timeout_s: float = 60.0
    limit_s: float = 5.0  # how long a rate limit holds when the provider does not say


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What survives a restart; `open_until` is wall time."""

    circuit: Circuit = "closed"
    failures: int = 0
    open_until: datetime | None = None


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
class _State:
    circuit: Circuit = "closed"
    failures: int = 0
    generation: int = 0
    open_until: datetime | None = None  # wall time, to be shown and kept
    reopens_at: float = 0.0  # the same moment on the monotonic clock, which alone decides
    leased_until: float | None = None  # half open: when the one permit comes back by itself
    limited_until: float | None = None


class Breaker:
    """One circuit; for use on one event loop, its `snapshot` may be read from any thread."""

    def __init__(self, policy: Policy, clock: Clock, remembered: Snapshot | None = None) -> None:
        self._policy = policy
        self._clock = clock
        self._state = _State() if remembered is None else self._restore(remembered)

    @property
    def snapshot(self) -> Snapshot:
        """What is worth keeping and showing now."""
        state = self._state
        return Snapshot(state.circuit, state.failures, state.open_until)

    def _restore(self, kept: Snapshot) -> _State:
        """A probe that was under way when the process ended is forgotten, so half open starts as due."""
        if kept.circuit == "closed":
            return _State(failures=min(kept.failures, self._policy.failure_threshold - 1))
        wait_s = 0.0
        if kept.circuit == "open" and kept.open_until is not None:
            # A wall clock that was set back must not keep the circuit open for longer than one reset.
            wait_s = min(max((kept.open_until - self._clock.now()).total_seconds(), 0.0), self._policy.reset_timeout_s)
        until = kept.open_until or self._clock.now()
        return _State("open", kept.failures, 0, until, self._clock.monotonic() + wait_s)

    def refusal(self) -> tuple[Refusal, float] | None:
        """Return why `admit` would say no now and for how many seconds yet; None if it would say yes."""
        state, now = self._state, self._clock.monotonic()
        if state.circuit == "open" and now < state.reopens_at:
            return "open", state.reopens_at - now
        if state.leased_until is not None and now < state.leased_until:
            return "probing", state.leased_until - now
        if state.limited_until is not None and now < state.limited_until:
            return "limited", state.limited_until - now
        return None

    def admit(self, *, lease_s: float) -> Admission:
        """Ask for a permit; one for a probe is given to one caller at a time and comes back after `lease_s`."""
        refused = self.refusal()
        if refused is not None:
            return Admission(None, refusal=refused[0], retry_in_s=refused[1])
        state = self._state
        if state.circuit == "closed":
            return Admission(Permit(state.generation, probe=False))
        transition = None
        if state.circuit == "open":
            transition = self._move("probe", "the reset time is over; one call may try")
        # Here the permit is free or was never given back; a new generation keeps the lost one's result out.
        self._state = replace(
            self._state, generation=self._state.generation + 1, leased_until=self._clock.monotonic() + lease_s
        )
        return Admission(Permit(self._state.generation, probe=True), transition)

    def succeed(self, permit: Permit) -> Transition | None:
        """The call was answered: failures are forgotten, and a probe closes the circuit."""
        if permit.generation != self._state.generation:
            return None
        if self._state.circuit == "half_open":
            return self._move("recover", "the probe was answered")
        if self._state.failures or self._state.limited_until is not None:
            self._state = replace(self._state, failures=0, limited_until=None)
        return None

    def fail(self, permit: Permit, reason: str) -> Transition | None:
        """The call failed by the provider's fault: it is counted, and a probe opens the circuit again."""
        if permit.generation != self._state.generation:
            return None
        self._state = replace(self._state, failures=self._state.failures + 1)
        if self._state.circuit == "half_open":
            return self._move("trip", f"the probe failed: {reason}")
        if self._state.failures < self._policy.failure_threshold:
            return None
        return self._move("trip", f"{self._state.failures} failures in a row, the last: {reason}")

    def release(self, permit: Permit) -> None:
        """The call says nothing about the provider; a probe's permit is free for the next caller."""
        if permit.generation == self._state.generation and self._state.circuit == "half_open":
            self._state = replace(self._state, generation=self._state.generation + 1, leased_until=None)

    def limit(self, permit: Permit, retry_after_s: float | None) -> None:
        """The provider asked to be left alone: no failure, but nobody asks it until then."""
        wait_s = self._policy.limit_s if retry_after_s is None else min(max(retry_after_s, 0.0), MAX_LIMIT_S)
        until = self._clock.monotonic() + wait_s
        self._state = replace(self._state, limited_until=max(until, self._state.limited_until or until))
        self.release(permit)

    def _move(self, cause: Cause, reason: str) -> Transition:
        before = self._state.circuit
        after = MOVES[before, cause]
        open_until, reopens_at = None, 0.0
        if after == "open":
            open_until = self._clock.now() + timedelta(seconds=self._policy.reset_timeout_s)
            reopens_at = self._clock.monotonic() + self._policy.reset_timeout_s
        self._state = _State(
            circuit=after,
            failures=0 if after == "closed" else self._state.failures,
            generation=self._state.generation + 1,
            open_until=open_until,
            reopens_at=reopens_at,
            limited_until=self._state.limited_until,
        )
        return Transition(before, after, reason, open_until)
