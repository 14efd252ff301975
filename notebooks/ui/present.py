"""The time that the pages go by: that of the home they show, which in a demonstration is not the machine's.

A server shows one home, and so does an editor's kernel; the frame says which, before anything is drawn.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from timmy_core.clock import SystemClock

if TYPE_CHECKING:
    from timmy_core import Timmy


class _Tells(Protocol):
    def now(self) -> datetime: ...


_clocks: list[_Tells] = [SystemClock()]


def follow(timmy: Timmy | Any) -> None:
    """Go by the clock of this home from now on."""
    _clocks[0] = timmy.clock


def now() -> datetime:
    """Return the time, in UTC."""
    return _clocks[0].now()


def moved_ms(timmy: Timmy) -> int:
    """Return how much later it is at this home than in the browser, in milliseconds."""
    return round(timmy.settings.demo.moved.total_seconds() * 1000) if timmy.settings.demo else 0
