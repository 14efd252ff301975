"""How far long work is, for whoever looks: tests and landings tell it here, and pages read it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from timmy_core.clock import Clock
from timmy_core.upgrades.model import Progress


@dataclass(frozen=True, slots=True)
class Step:
    """What is being done about a proposal, how much of it (0 to 1) where that is known, and since when."""

    what: str
    done: float | None
    since: datetime


class Following:
    """What this process does about proposals just now; safe to use from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._steps: dict[str, Step] = {}

    @contextmanager
    def told(self, proposal_id: str) -> Iterator[Progress]:
        """Hand out whom to tell; it is forgotten when the work has ended."""
        since = self._clock.now()

        def tell(what: str, done: float | None) -> None:
            with self._lock:
                self._steps[proposal_id] = Step(what, done, since)

        tell("beginning", None)
        try:
            yield tell
        finally:
            with self._lock:
                self._steps.pop(proposal_id, None)

    def of(self, proposal_id: str) -> Step | None:
        """Return how far the work on a proposal is; None where this process does nothing about it."""
        with self._lock:
            return self._steps.get(proposal_id)
