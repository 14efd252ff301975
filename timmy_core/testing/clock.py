"""A clock that moves only when it is told to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A `Clock` for tests; both of its times advance together, and the wall time alone can be set.

    Args:
        start: the wall time at which it stands first.
    """

    def __init__(self, start: datetime = _START) -> None:
        self._now = start
        self._monotonic = 1000.0

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds since some fixed point."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ValueError: `seconds` is negative; time does not go back.
        """
        if seconds < 0:
            message = f"time cannot go back by {-seconds} s; use set_wall() to set the wall clock"
            raise ValueError(message)
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def set_wall(self, moment: datetime) -> None:
        """Set the wall clock, as a person or a time server does; the monotonic time does not notice."""
        self._now = moment
