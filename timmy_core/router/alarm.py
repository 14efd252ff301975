"""One timer for many waits in a row: what `asyncio.timeout` does, without setting and clearing a timer each time."""

from __future__ import annotations

import asyncio


class Alarm:
    """Ends waits that take too long by cancelling their task; for one wait at a time, on one event loop.

    The timer is not moved as long as it is due before the wait it watches: it looks when it rings, and sets itself
    anew. So a stream of a thousand pieces sets it a few times, and not a thousand times.

        alarm.set(limit_s)
        try:
            await something
        except asyncio.CancelledError:
            if alarm.rang(): ...  # the wait was too long; otherwise somebody else cancelled
            raise
        finally:
            alarm.clear()
    """

    __slots__ = ("_cancelling", "_due", "_loop", "_rang", "_task", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._cancelling = 0
        self._rang = False

    def set(self, limit_s: float) -> None:
        """Watch the wait that begins now."""
        self._task = task = asyncio.current_task()
        self._cancelling = 0 if task is None else task.cancelling()
        self._due = due = self._loop.time() + limit_s
        timer = self._timer
        if timer is None or timer.when() > due:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(due, self._ring)

    def rang(self) -> bool:
        """Return whether this wait was ended by the alarm alone."""
        if not self._rang or self._task is None:
            return False
        self._rang = False
        return self._task.uncancel() <= self._cancelling

    def clear(self) -> None:
        """Watch no longer; the wait is over."""
        if self._rang:
            # The wait ended otherwise in the moment of the alarm, which must not hit what comes after it.
            self.rang()
        self._task = None

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._task is None:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._ring)
            return
        self._rang = True
        self._task.cancel()
