"""When a circuit opens, for how long, and what closes it: the numbers that a breaker goes by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from timmy_core.router.chat import ErrorClass

CERTAIN: Final = frozenset({ErrorClass.REFUSED.value, ErrorClass.TIMEOUT.value})
"""Failures that leave little doubt: nobody is there, or nobody says a word. They open a circuit sooner."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When a circuit opens, for how long, and what closes it; times in seconds.

    Raises:
        ValueError: a number makes no sense.
    """

    failure_threshold: int = 5  # failures in a row
    reset_timeout_s: float = 60.0  # how long it stays open first; every failed probe doubles it
    limit_s: float = 5.0  # how long a rate limit holds when the provider does not say
    max_reset_s: float = 600.0
    jitter: float = 0.1  # so much a reset may be longer or shorter, so that providers do not come back in step
    certain_threshold: int = 2  # failures in a row of a class in CERTAIN
    failure_rate: float = 0.5  # of the last `window` results, slow ones included
    window: int = 20
    min_results: int = 5  # fewer say nothing about a rate
    successes_to_close: int = 2
    early_probe_s: float = 1.0  # between two probes of an open circuit when nobody else can be asked

    def __post_init__(self) -> None:
        for name in ("failure_threshold", "certain_threshold", "window", "min_results", "successes_to_close"):
            _expect(name, getattr(self, name), 1, math.inf)
        for name in ("reset_timeout_s", "max_reset_s", "early_probe_s", "limit_s"):
            _expect(name, getattr(self, name), 0, 86_400)
        _expect("failure_rate", self.failure_rate, 1e-6, 1)
        _expect("jitter", self.jitter, 0, 0.4)

    @property
    def longest_s(self) -> float:
        """The longest that a circuit stays open by itself."""
        return max(self.reset_timeout_s, self.max_reset_s)

    @property
    def enough(self) -> int:
        """How many results a rate needs; who allows more failures in a row waits for as many of them."""
        return min(self.window, max(self.min_results, self.failure_threshold))


def _expect(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        limit = f"at least {least:g}" if most == math.inf else f"a number from {least:g} to {most:g}"
        message = f"the breaker's {name} is {value}; expected {limit}"
        raise ValueError(message)
