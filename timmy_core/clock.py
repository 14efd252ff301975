"""Time, ids and randomness as arguments: what the real ones are, in one place."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Where code reads the time; tests hand in `timmy_core.testing.FakeClock`."""

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed point; never goes back."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some fixed point; never goes back."""
        return time.monotonic()


class MovedClock:
    """The machine's clock, moved by a fixed time: that of a demonstration, which goes on where its sample ends.

    Args:
        by: how much later it is here.
    """

    def __init__(self, by: timedelta) -> None:
        self._by = by

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
        return datetime.now(UTC) + self._by

    def monotonic(self) -> float:
        """Return seconds since some fixed point; never goes back."""
        return time.monotonic()


class StillClock:
    """A wall clock that stands still, so that what is shown can be compared; its seconds go on.

    Args:
        at: where it stands.
    """

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
        return self._at

    def monotonic(self) -> float:
        """Return seconds since some fixed point; never goes back."""
        return time.monotonic()


def new_id() -> str:
    """Return 32 hex digits: 48 bits of the time in ms, then 80 random bits, so ids sort by time."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def iso(moment: datetime) -> str:
    """Return an aware moment as ISO 8601 in UTC, with microseconds and a Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def to_us(moment: datetime) -> int:
    """Return the whole microseconds since 1970 of an aware moment, exactly.

    Raises:
        ValueError: the moment has no time zone.
    """
    if moment.tzinfo is None:
        message = f"a time without a zone was given ({moment.isoformat()}); add one, for instance tzinfo=UTC"
        raise ValueError(message)
    return (moment - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Return the UTC moment of whole microseconds since 1970, exactly."""
    return _EPOCH + timedelta(microseconds=us)
