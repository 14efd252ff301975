"""When the same provider is asked again: only for what may pass, only seldom, and never in step with others."""

from __future__ import annotations

from random import Random
from typing import Final

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ErrorClass

MAX_RETRIES: Final = 2
"""In one request, over all providers."""

MAX_SAVED: Final = 10.0
MAX_LIMITED_S: Final = 10.0

MAY_PASS: Final = frozenset(
    {
        ErrorClass.CONNECTION,
        ErrorClass.SERVER,
        ErrorClass.OVERLOADED,
        ErrorClass.MALFORMED,
        ErrorClass.TRUNCATED,
        ErrorClass.EMPTY,
    }
)
"""A refused port, a silent provider and a fault of ours are the same a moment later."""

LONG_S: Final = 1.0
"""After such a pause even a refused port may be open."""

PATIENCE: Final = 4
"""Before a retry, a request waits for this part of what it has taken already, if that is more than the backoff."""


class RetryBudget:
    """Lets retries add no more than a share of the traffic, so that they cannot turn a bad day into a worse one.

    Every request earns a part of a retry; at most `MAX_SAVED` are saved up for a bad moment.

    Args:
        percent: how much traffic retries may add; 0 forbids them.
    """

    __slots__ = ("_percent", "_saved")

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self._saved = 1.0

    def follow(self, percent: int) -> None:
        """Go by another share from now on."""
        self._percent = percent

    def earn(self) -> None:
        """Take note of a request."""
        if self._saved < MAX_SAVED:
            self._saved += self._percent / 100

    def spend(self) -> bool:
        """Take one retry out if there is one."""
        # Ten times a tenth is a little less than one in binary fractions.
        if self._percent == 0 or self._saved < 1 - 1e-9:
            return False
        self._saved -= 1
        return True


def pause_s(
    error: ProviderError, retries: int, elapsed_s: float, remaining_s: float, backoff_s: float, random: Random
) -> float | None:
    """Return how long to wait before the provider that failed so is asked again; None where it is not.

    A request that was answered by faults alone at once is not kept waiting; one that sat before a silent provider for
    long waits a little longer, because meanwhile others may have come back.

    Args:
        error: its last failure in this request.
        retries: how many this request has had.
        elapsed_s: how much time it has taken.
        remaining_s: how much time it has left.
        backoff_s: what to wait before the first retry; doubles with each.
        random: so that callers who failed together do not come back together.
    """
    wait_s = max(backoff_s * 2.0**retries, min(elapsed_s / PATIENCE, remaining_s / 2)) * random.uniform(0.5, 1.5)
    if error.error_class == ErrorClass.RATE_LIMITED:
        asked_s = error.retry_after_s
        if asked_s is None or asked_s > min(MAX_LIMITED_S, remaining_s / 2):
            return None
        wait_s += asked_s
    elif error.error_class not in MAY_PASS and not (error.error_class == ErrorClass.REFUSED and wait_s >= LONG_S):
        return None
    return wait_s if wait_s < remaining_s else None
